"""DiffoRA: a gate at every module, trained beside it on other examples; where gates stay wide, modules are worth having.

After Jiang et al. 2025 (2502.08905). There is no public code, and the paper says less than is needed; what is not from it follows
DARTS (Liu et al. 2019, 1806.09055) and AutoLoRA (Zhang et al. 2024, 2403.09113), which relax choices in the same way:

    paper           one entry for each layer and module, relaxed, two levels, a share of the largest is kept, training anew
    reconstructed   gates sigma(a), each by itself; gates and modules take turns, first order; the examples that the gates are
                    trained on are a part of the training split; modules go first, because at B = 0 gates have no gradient;
                    weight sharing, if it is asked for: the paper speaks of it, and does not say what is shared. Here places
                    that lose their gate have one pair of matrices of rank 1 for all layers of a site, so that none is
                    without a module. Each counts as if its pair were its own: so it is stored

Notation:
    a_u         logit of the gate at unit u, 0 at first
    g_u         the gate, 2 sigma(a_u): 1 at first, so that modules begin as they are
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from autopeft.allocate.ranks import alike, evenly
from autopeft.allocate.rules import top
from autopeft.allocate.units import Dealt, Unit
from autopeft.errors import TrialError
from autopeft.nouns import Configuration
from autopeft.tasks.batches import epoch_order
from autopeft.train.allocating.short import forever, short_training, steps_of
from autopeft.train.running import Request, Running
from autopeft.train.steering.factors import loras

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench

_RATE = 0.02  # of the gates; DARTS has 3e-4 and fifty epochs, and here there is about one
_BETAS = (0.5, 0.999)  # DARTS, appendix A.1.1
_WARMUP = 0.2  # share of the steps in which modules are trained alone


@dataclass(frozen=True)
class Gates:
    """What training with gates has found.

    Attributes:
        plan: The modules of the widest gates, of one rank each, as large as the budget lets them be; with those that share
            it has its allocator, because training it without is another training.
        widths: g_u of every unit.
        shared: Groups of units that have one pair of matrices.
    """

    plan: Configuration
    widths: dict[Unit, float]
    shared: tuple[tuple[Unit, ...], ...] = ()


def open_gates(
    bench: "Workbench",
    dealt: Dealt,
    seed: int,
    *,
    keep: float,
    epochs: float,
    held: float,
    share: bool = False,
) -> Gates:
    """Train a configuration's LoRA with a gate at every place, and keep the widest.

    Args:
        bench: Backbone and data; the model has no modules on.
        dealt: What there is to deal out.
        seed: Of head, modules, and the order of examples.
        keep: Share of the places that keep their module.
        epochs: Passes over the examples that modules are trained on.
        held: Share of the training examples that the gates are trained on.
        share: Whether places that lose their gate have a module all the same, one for all layers of a site.

    Raises:
        TrialError: The loss is not finite, or memory ran out.
    """
    order = epoch_order(len(bench.data["train"]), seed, 0)
    kept_back = max(1, round(held * len(order)))
    for_gates, for_modules = order[:kept_back], order[kept_back:]
    whole = dealt.plan([dealt.lora(unit, rank) for unit, rank in dealt.ranks.items()])
    running = Running(bench, Request(whole, seed, None))
    try:
        logits = torch.zeros(len(dealt.units), device=bench.device, requires_grad=True)
        handles = _put_on(bench, running, dealt, logits)
        gates = torch.optim.Adam([logits], lr=_RATE, betas=_BETAS)
        steps = steps_of(running, epochs, len(for_modules))
        outer = forever(bench, for_gates, running.training.batch_size)

        def move_gates(number: int) -> None:
            if number >= _WARMUP * steps:
                logits.grad = _gradient(bench, running.attached.runner, next(outer), logits)
                gates.step()

        try:
            short_training(bench, running, for_modules, steps, after=move_gates)
        finally:
            for handle in handles:
                handle.remove()
    finally:
        running.attached.detach()
    widths = dict(zip(dealt.units, (2 * logits.detach().sigmoid()).tolist(), strict=True))
    kept = top(widths, max(1, math.ceil(keep * len(widths))))
    chosen = sorted(kept, key=lambda unit: -widths[unit])
    rest = [unit for unit in dealt.units if unit not in chosen] if share else []
    plan, shared = evenly(dealt, chosen, rest=rest), alike(dealt, rest)
    if shared:
        plan = replace(plan, allocation=dealt.configuration.allocation)
    return Gates(plan, widths, shared)


def _put_on(bench: "Workbench", running: Running, dealt: Dealt, logits: torch.Tensor) -> list[Any]:
    handles = []
    for number, layer in enumerate(loras(running.attached, bench.backbone.layout, dealt.units).values()):

        def widen(module: Any, args: Any, output: torch.Tensor, number: int = number) -> torch.Tensor:
            return output * (2 * logits[number].sigmoid()).to(output.dtype)

        handles.append(layer.lora_B["default"].register_forward_hook(widen))
    return handles


def _gradient(
    bench: "Workbench", runner: Any, batch: dict[str, torch.Tensor], logits: torch.Tensor
) -> torch.Tensor:
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    loss = bench.loss_of(bench.run(runner, inputs).logits, batch["labels"])
    if not loss.isfinite():
        raise TrialError(f"the loss of the modules with gates is {float(loss.detach()):g}.")
    (found,) = torch.autograd.grad(loss, [logits])
    return found
