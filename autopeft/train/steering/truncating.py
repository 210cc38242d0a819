"""DyLoRA: one training whose every first part is a LoRA of its own. Valipour et al. 2023 (2210.07558).

Notation:
    R_u         rank of the configuration at unit u; R the largest
    b           rank of a step, drawn from 1 to R; unit u has b_u = ceil(b R_u / R) ranks at that step

A step goes through the first b_u ranks of each unit alone, whose update counts R_u / b_u times, so that its scale is that of a LoRA of
this rank (the paper has the root of it on either factor), and trains them all. The paper's other mode, in which a step trains rank b_u
alone, is cheaper for hundreds of ranks; on the starter it came out at 0.74 where this has 0.80 (R = 4). In the end each share of the ranks can be handed out: the first ones, with that factor in B.
"""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from autopeft.allocate.gradients import some_sizes
from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl.types import options_of
from autopeft.nouns import rounded
from autopeft.train.steering.factors import Factors, check_plain, factors_of, loras, settled
from autopeft.train.steering.steering import Settled, Steered

_MOST_PARTS = 8
"""Ranks that are scored besides, once the training is over."""


@dataclass
class Truncating:
    """A trial with a rank of its own at each step.

    Attributes:
        steered: The trial.
        dealt: The LoRA.
        layers: peft's layer of each unit.
        keep: Share of the ranks that is handed out.
        rng: Of all draws.
        rank: Of the step that is under way; 0 between steps, when all ranks are there.
    """

    steered: Steered
    dealt: Dealt
    layers: Mapping[Unit, Any]
    keep: float
    rng: random.Random
    rank: int = 0
    handles: list[Any] = field(default_factory=list)

    @property
    def most(self) -> int:
        """R."""
        return max(self.dealt.ranks.values())

    def of(self, unit: Unit, rank: int) -> int:
        """b_u."""
        return math.ceil(rank * self.dealt.ranks[unit] / self.most)

    def through(self, unit: Unit, hidden: torch.Tensor) -> torch.Tensor:
        """What goes from A to B: (..., R_u) to the same, 0 beyond b_u."""
        if not self.rank:
            return hidden
        here = self.of(unit, self.rank)
        kept = torch.arange(hidden.shape[-1], device=hidden.device) < here
        return hidden * kept * self._factor(unit, here)

    def before(self, step: int) -> None:
        """Draw the step's rank."""
        self.rank = self.rng.randint(1, self.most)

    def gradients(self, step: int) -> None:
        """All ranks are there again."""
        self.rank = 0

    def finish(self) -> Settled:
        """The share of the ranks that is to be handed out."""
        for handle in self.handles:
            handle.remove()
        return self._settled(max(1, round(self.keep * self.most)), self.keep)

    def parts(self) -> Iterator[Settled]:
        """What else the training can hand out: fewer ranks, as configurations of their own. Nothing where fewer were asked for."""
        if self.keep == 1:
            for rank in some_sizes(self.most, _MOST_PARTS)[:-1]:
                yield self._settled(rank, rounded(rank / self.most))

    def to_json(self) -> dict[str, Any]:
        """Nothing besides the plan."""
        return {}

    def _factor(self, unit: Unit, rank: int) -> float:
        # alpha stays, so its share of fewer ranks is larger; with rsLoRA of their root.
        power = 0.5 if options_of(self.dealt.lora(unit, 1))["rslora"] else 1.0
        return float((self.dealt.ranks[unit] / rank) ** power)

    def _settled(self, rank: int, keep: float) -> Settled:
        ranks = {unit: self.of(unit, rank) for unit in self.dealt.units}
        factors: dict[Unit, Factors] = {}
        for unit, layer in self.layers.items():
            (a, scaled), here = factors_of(layer), ranks[unit]
            factors[unit] = a[:here], scaled[:, :here] * self._factor(unit, here)
        allocation = {**dict(self.steered.configuration.allocation), "keep": keep}
        if keep == 1:
            del allocation["keep"]
        return settled(self.steered, self.dealt, factors, allocation)


def find_parts(steered: Steered, options: Mapping[str, Any]) -> Truncating | None:
    """DyLoRA's training of a trial; None where there is no LoRA.

    Args:
        steered: The trial.
        options: `keep`.

    Raises:
        TrialError: The LoRA is not a plain one.
    """
    dealt = Dealt.of(steered.configuration, steered.layout.shape)
    if not dealt.units:
        return None
    check_plain("dylora", dealt, dealt.units)
    layers = loras(steered.attached, steered.layout, dealt.units)
    found = Truncating(steered, dealt, layers, options["keep"], random.Random(steered.seed))
    for unit, layer in layers.items():

        def cut(module: Any, args: Any, hidden: torch.Tensor, unit: Unit = unit) -> torch.Tensor:
            return found.through(unit, hidden)

        found.handles.append(layer.lora_A["default"].register_forward_hook(cut))
    return found
