"""Peak memory of the worker during the trial: the device's allocator, or resident memory on a CPU.

A warm worker keeps what earlier trials needed, so on a CPU this says how large the worker is, and little of the trial:
`training_memory_bytes` does.
"""

from autopeft.registry import Objective

OBJECTIVE = Objective(
    name="peak_memory_bytes", direction="minimize", unit="bytes", title="Peak memory", searchable=False
)
