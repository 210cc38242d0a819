"""Time that the adapted model takes for one example: the median of 30 passes, after 5 that are not counted.

The example is the validation example of median length, alone in its batch, and the same for every trial. One thread on
a CPU. The adapter is beside the backbone, as `autopeft.load_adapter` and peft load it: one that could be merged into the
weights is not. Other workers are busy meanwhile, which a median mostly sees past; `--workers 1` sees past it altogether.
"""

import statistics
import time
from typing import TYPE_CHECKING

from autopeft.registry import Objective

if TYPE_CHECKING:
    from autopeft.train.trained import Trained

_WARM_UP = 5
_PASSES = 30


def measure(trained: "Trained") -> float:
    """Seconds an example."""
    import torch

    inputs, runner = trained.example(), trained.attached.runner

    def once() -> float:
        began = time.perf_counter()
        trained.bench.run(runner, inputs)
        if trained.bench.device.type == "cuda":
            torch.cuda.synchronize(trained.bench.device)
        return time.perf_counter() - began

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return statistics.median([once() for _ in range(_WARM_UP + _PASSES)][_WARM_UP:])
    finally:
        torch.set_num_threads(threads)


OBJECTIVE = Objective(
    name="latency_seconds",
    direction="minimize",
    unit="s",
    title="Latency",
    short="latency",
    log=True,
    measure=measure,
)
