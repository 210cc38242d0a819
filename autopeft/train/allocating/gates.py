"""DiffoRA: a gate at every module, trained beside it on other examples; where gates stay wide, modules are worth having.

After Jiang et al. 2025 (2502.08905). There is no public code, and the paper says less than is needed; what is not from it follows
DARTS (Liu et al. 2019, 1806.09055) and AutoLoRA (Zhang et al. 2024, 2403.09113), which relax choices in the same way:

    paper           one entry for each layer and module, relaxed, two levels, a share of the largest is kept, training anew
    reconstructed   gates sigma(a), each by itself; gates and modules take turns, first order; the examples that the gates are
                    trained on are a part of the training split; modules go first, because at B = 0 gates have no gradient

Notation:
    a_u         logit of the gate at unit u, 0 at first
    g_u         the gate, 2 sigma(a_u): 1 at first, so that modules begin as they are
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from autopeft.allocate.ranks import evenly
from autopeft.allocate.rules import top
from autopeft.allocate.units import Dealt, Unit
from autopeft.errors import TrialError
from autopeft.nouns import Configuration
from autopeft.tasks.batches import epoch_order
from autopeft.train.loop import step
from autopeft.train.running import Request, Running

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench

_RATE = 0.02  # of the gates; DARTS has 3e-4 and fifty epochs, and here there is about one
_BETAS = (0.5, 0.999)  # DARTS, appendix A.1.1
_WARMUP = 0.2  # share of the steps in which modules are trained alone


@dataclass(frozen=True)
class Gates:
    """What training with gates has found.

    Attributes:
        plan: The modules of the widest gates, of one rank each, as large as the budget lets them be.
        widths: g_u of every unit.
    """

    plan: Configuration
    widths: dict[Unit, float]


def open_gates(
    bench: "Workbench", dealt: Dealt, seed: int, *, keep: float, epochs: float, held: float
) -> Gates:
    """Train a configuration's LoRA with a gate at every place, and keep the widest.

    Args:
        bench: Backbone and data; the model has no modules on.
        dealt: What there is to deal out.
        seed: Of head, modules, and the order of examples.
        keep: Share of the places that keep their module.
        epochs: Passes over the examples that modules are trained on.
        held: Share of the training examples that the gates are trained on.

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
        size = running.training.batch_size
        steps = max(2, round(epochs * len(for_modules) / size))
        outer, inner = _forever(bench, for_gates, size), _forever(bench, for_modules, size)
        parameters = running.attached.trainable()
        runner = running.attached.runner.eval()
        try:
            for number in range(steps):
                _backward(bench, runner, next(inner), parameters)
                step(running.optimizer, running.schedule, running.training.max_grad_norm)
                if number >= _WARMUP * steps:
                    _backward(bench, runner, next(outer), [logits])
                    gates.step()
                    gates.zero_grad()
        finally:
            for handle in handles:
                handle.remove()
    finally:
        running.attached.detach()
    widths = dict(zip(dealt.units, (2 * logits.detach().sigmoid()).tolist(), strict=True))
    chosen = top(widths, max(1, math.ceil(keep * len(widths))))
    return Gates(evenly(dealt, chosen), widths)


def _put_on(bench: "Workbench", running: Running, dealt: Dealt, logits: torch.Tensor) -> list[Any]:
    layers = bench.backbone.layout.layers
    handles = []
    for number, unit in enumerate(dealt.units):
        path = layers[unit.layer].sites[unit.site]
        layer = next(a.layers[path] for a in running.attached.stack.adapters if path in a.layers)

        def widen(module: Any, args: Any, output: torch.Tensor, number: int = number) -> torch.Tensor:
            return output * (2 * logits[number].sigmoid()).to(output.dtype)

        handles.append(layer.lora_B["default"].register_forward_hook(widen))
    return handles


def _forever(bench: "Workbench", examples: torch.Tensor, size: int) -> Iterator[dict[str, torch.Tensor]]:
    for epoch in itertools.count():
        order = examples[epoch_order(len(examples), 0, epoch)]
        yield from bench.batches("train", order, size)


def _backward(
    bench: "Workbench", runner: Any, batch: dict[str, torch.Tensor], wanted: Sequence[torch.Tensor]
) -> None:
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    loss = bench.loss_of(bench.run(runner, inputs).logits, batch["labels"])
    if not loss.isfinite():
        raise TrialError(f"the loss of the modules with gates is {float(loss.detach()):g}.")
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    for parameter, gradient in zip(wanted, found, strict=True):
        parameter.grad = gradient
