"""Peak memory of the worker during the trial: the device's allocator, or resident memory on a CPU."""

from autopeft.registry import Objective

OBJECTIVE = Objective(
    name="peak_memory_bytes", direction="minimize", unit="bytes", computed=False, title="Peak memory"
)
