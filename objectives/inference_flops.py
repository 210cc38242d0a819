"""Floating-point operations of the adapted model for one example, counted by PyTorch's `FlopCounterMode`.

Matrix products, convolutions and attention count, a multiplication and an addition as two; what works entry by entry does
not, nor do the Fourier transforms of `c3a` and `fourierft`. The example is the validation example of median length, alone
in its batch. The adapter is beside the backbone, as it is loaded: one that could be merged into the weights, and would
then cost nothing, counts as what it is before.
"""

from typing import TYPE_CHECKING

from autopeft.registry import Objective

if TYPE_CHECKING:
    from autopeft.train.trained import Trained


def measure(trained: "Trained") -> float:
    """FLOPs an example."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # A CPU's fused attention has no entry in PyTorch's table: taken apart it is two matrix products, as on any device.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        trained.bench.run(trained.attached.runner, trained.example())
    return float(counter.get_total_flops())


OBJECTIVE = Objective(
    name="inference_flops",
    direction="minimize",
    unit="FLOPs",
    title="Inference FLOPs",
    short="flops",
    log=True,
    measure=measure,
)
