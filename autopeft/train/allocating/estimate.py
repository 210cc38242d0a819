"""Light-PEFT's early estimate: which modules, and which of their ranks, a short training shows to matter.

After Gu et al. 2024 (2406.03792) and its code. Two differences. The paper prunes heads and neurons of the backbone
too, by masks that it trains beside the modules; here the backbone stays as it is. And the paper goes on from the weights that it
has estimated with; here they are thrown away, so that the plan is a LoRA like any other: a script can train it again, from its seed.

Notation:
    x           what goes into a linear map at one token that is not padding
    W x         what the frozen weight makes of it, without the bias
    dW x        what the module adds: s B A x
    A_k, B_k    k-th row of A, k-th column of B; n and m numbers each
    L           loss of a batch

    place       mean over tokens of |dW x| / |W x|
    rank k      |mean_j A_kj dL/dA_kj| + |mean_i B_ik dL/dB_ik|: the mean comes before the absolute value

Both are means over the steps of the second half. What is no number (a token that W makes 0 of) counts as 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from autopeft.allocate.units import Dealt, Unit
from autopeft.tasks.batches import epoch_order
from autopeft.train.allocating.short import short_training, steps_of
from autopeft.train.allocating.signals import maps_of, rows_of
from autopeft.train.running import Request, Running
from autopeft.train.steering.factors import loras

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench


@dataclass(frozen=True)
class Estimate:
    """What the short training has shown.

    Attributes:
        places: Score of each unit's module.
        ranks: Score of each rank there.
    """

    places: dict[Unit, float]
    ranks: dict[Unit, tuple[float, ...]]


def estimate(bench: "Workbench", dealt: Dealt, seed: int, *, times: float, epochs: float) -> Estimate:
    """Train a configuration's LoRA with more ranks for a while, and look.

    Every LoRA begins with B = 0 here, whatever its `init`: else dW x would be what it began with, not what it has learnt.

    Args:
        bench: Backbone and data; the model has no modules on.
        dealt: What there is to deal out.
        seed: Of head, modules, and the order of examples.
        times: Ranks that are looked at, in ranks of the configuration, as far as the place can have them.
        epochs: Passes over the training split.

    Raises:
        TrialError: The loss is not finite, or memory ran out.
    """
    maps = maps_of(bench, dealt.units)
    wide = [dealt.lora(unit, _rank(dealt, unit, times), plain_start=True) for unit in dealt.units]
    running = Running(bench, Request(dealt.plan(wide), seed, None))
    try:
        examples = epoch_order(len(bench.data["train"]), seed, 0)
        steps = steps_of(running, epochs, len(examples))
        looking = _Looking(
            maps, loras(running.attached, bench.backbone.layout, dealt.units), first=steps // 2
        )
        handles = looking.put_on(running.attached.model)
        try:
            short_training(bench, running, examples, steps, looked=looking.look)
        finally:
            for handle in handles:
                handle.remove()
    finally:
        running.attached.detach()
    return looking.estimate(steps)


def _rank(dealt: Dealt, unit: Unit, times: float) -> int:
    place = dealt.place(unit)
    return max(1, min(round(dealt.ranks[unit] * times), place.inputs, place.outputs))


@dataclass
class _Looking:
    """The sums of both scores, and what adds to them: hooks while a batch goes through, `look` when it has its gradients.

    Attributes:
        maps, loras: The frozen linear map of each unit, and peft's layer around it.
        first: The step from which on it looks.
    """

    maps: Mapping[Unit, nn.Module]
    loras: Mapping[Unit, Any]
    first: int
    _on: bool = False
    _mask: torch.Tensor | None = None
    _ratios: dict[Unit, tuple[torch.Tensor, int]] = field(default_factory=dict)  # of this step: sum, tokens
    _places: dict[Unit, torch.Tensor] = field(default_factory=dict)
    _ranks: dict[Unit, torch.Tensor] = field(default_factory=dict)

    def put_on(self, model: nn.Module) -> list[Any]:
        """Hooks; the mask is taken where a batch enters the model, which may be a part of one."""

        def enter(module: nn.Module, args: Any, inputs: Mapping[str, Any]) -> None:
            mask = inputs.get("attention_mask")
            self._mask = None if mask is None else mask.bool()

        return [
            model.register_forward_pre_hook(enter, with_kwargs=True),
            *(linear.register_forward_hook(self._note(unit)) for unit, linear in self.maps.items()),
        ]

    def _note(self, unit: Unit) -> Any:
        @torch.no_grad()
        def hook(linear: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if not self._on:
                return
            a, b, scale = _factors(self.loras[unit])
            x, y = rows_of(args[0], self._mask).to(a.dtype), rows_of(output, self._mask).to(a.dtype)
            bias = getattr(linear, "bias", None)
            frozen = y if bias is None else y - bias
            change = scale * functional.linear(functional.linear(x, a), b)
            ratios = change.norm(dim=-1) / frozen.norm(dim=-1)
            total, tokens = self._ratios.get(unit, (torch.zeros((), device=x.device), 0))
            self._ratios[unit] = total + _numbers(ratios).sum(), tokens + len(ratios)

        return hook

    @torch.no_grad()
    def look(self, number: int) -> None:
        """Add what a step has shown, its gradients being there; counted from 0."""
        self._on = number + 1 >= self.first
        if number < self.first:
            return
        for unit, layer in self.loras.items():
            total, tokens = self._ratios.pop(unit, (torch.zeros(()), 0))
            self._places[unit] = self._places.get(unit, 0) + total / max(1, tokens)
            a, b, _ = _factors(layer)
            of_a = torch.zeros(len(a)).to(a) if a.grad is None else (a * a.grad).mean(dim=1)
            of_b = torch.zeros(len(a)).to(a) if b.grad is None else (b * b.grad).mean(dim=0)
            self._ranks[unit] = self._ranks.get(unit, 0) + _numbers(of_a.abs() + of_b.abs())

    def estimate(self, steps: int) -> Estimate:
        """The means, after so many steps."""
        count = steps - self.first
        return Estimate(
            {unit: float(total) / count for unit, total in self._places.items()},
            {unit: tuple((total / count).tolist()) for unit, total in self._ranks.items()},
        )


def _factors(layer: Any) -> tuple[nn.Parameter, nn.Parameter, float]:
    return layer.lora_A["default"].weight, layer.lora_B["default"].weight, float(layer.scaling["default"])


def _numbers(values: torch.Tensor) -> torch.Tensor:
    return values.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
