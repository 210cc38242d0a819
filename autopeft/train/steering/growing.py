"""Ranks that grow while a trial is trained: IncreLoRA (Zhang et al. 2023, 2308.12043), TriAdaptLoRA (Liang et al. 2025, 2501.08008).

Notation:
    A, B    factors of a unit's LoRA, (R, inputs) and (outputs, R); R is the most ranks that it may come to have
    C       what stands between them while it is trained: dW = scale B C A
    r       ranks that the unit has by now, 1 at first: beyond them C is 0, so A and B have no gradients there

IncreLoRA has a diagonal C, TriAdaptLoRA a square one that grows by a row and a column (which are two triangles of its paper). Buffers have
their full width from the beginning, so that the optimiser never changes; what counts is r. In the end B C is folded into B, and what is
handed out is a plain LoRA of r ranks. Ranks are trained beyond the budget in one place only: IncreLoRA's reserves, one for each unit.

    IncreLoRA       worth of a unit: its reserve rank k has C_k = 1e-5, frozen, and I = |dL/dC_k| / sqrt(inputs outputs) is
                    smoothed (`allocate.ledger`). The paper has the mean of |dW dL/dW| over the matrix, which takes a dense
                    gradient for each unit and step; the reserve rank's own gradient says what a rank more would bring.
    TriAdaptLoRA    worth of a unit: by how much |C| / r has grown since the last round.

Both begin with normal A and B (deviation 0.02) and keep them near orthogonal, as AdaLoRA does. TriAdaptLoRA's public file has B = C = 0
at first, where every gradient is 0 for ever; here C alone is 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from autopeft.adapters.stack import Stack
from autopeft.allocate import growth
from autopeft.allocate.ledger import Smoothed
from autopeft.allocate.units import Dealt, Unit
from autopeft.train.steering.factors import Factors, check_plain, factors_of, loras, settled
from autopeft.train.steering.steering import Settled, Steered

_DEVIATION = 0.02
_RESERVE = 1e-5
_ORTHOGONAL = 0.1  # weight of the penalty: 0.1 to 0.3 in IncreLoRA's scripts, 0.5 in TriAdaptLoRA's


class Core(Protocol):
    """C of one unit."""

    values: nn.Parameter
    ranks: int

    def through(self, hidden: torch.Tensor) -> torch.Tensor:
        """C A x, of A x: (..., R) to (..., R)."""

    def observe(self) -> None:
        """Gradients are there."""

    def hold(self) -> None:
        """Ranks that the unit does not have lose their gradients."""

    def worth(self) -> float:
        """Of one rank more. Asked once a round."""

    def grow(self) -> None:
        """One rank more."""

    def folded(self, b: torch.Tensor) -> torch.Tensor:
        """B C of the ranks there are: (outputs, R) to (outputs, r)."""


@dataclass
class Diagonal:
    """IncreLoRA's."""

    values: nn.Parameter
    size: float
    ranks: int = 1
    seen: Smoothed = field(default_factory=Smoothed)

    def through(self, hidden: torch.Tensor) -> torch.Tensor:
        """C A x."""
        return hidden * self.values.to(hidden.dtype)

    def observe(self) -> None:
        """The reserve's gradient."""
        if self.values.grad is not None and self.ranks < len(self.values):
            self.seen.add(abs(float(self.values.grad[self.ranks])) / self.size)

    def hold(self) -> None:
        """The rest, the reserve among it, stays."""
        if self.values.grad is not None:
            self.values.grad[self.ranks :] = 0

    def worth(self) -> float:
        """Of the reserve."""
        return self.seen.worth

    def grow(self) -> None:
        """The reserve becomes a rank, and there is another one."""
        self.ranks += 1
        self.seen = Smoothed()
        with torch.no_grad():
            self.values[self.ranks : self.ranks + 1] = _RESERVE

    def folded(self, b: torch.Tensor) -> torch.Tensor:
        """B C."""
        return b[:, : self.ranks] * self.values[: self.ranks]


@dataclass
class Square:
    """TriAdaptLoRA's."""

    values: nn.Parameter
    ranks: int = 1
    before: float = 0.0

    def through(self, hidden: torch.Tensor) -> torch.Tensor:
        """C A x."""
        return hidden @ self.values.T.to(hidden.dtype)

    def observe(self) -> None:
        """Nothing."""

    def hold(self) -> None:
        """Rows and columns beyond stay 0."""
        if self.values.grad is not None:
            self.values.grad[self.ranks :] = 0
            self.values.grad[:, self.ranks :] = 0

    def worth(self) -> float:
        """By how much |C| / r has grown since it was asked last."""
        now = float(self.values.detach().norm()) / self.ranks
        gained, self.before = now - self.before, now
        return gained

    def grow(self) -> None:
        """A row and a column more."""
        self.ranks += 1

    def folded(self, b: torch.Tensor) -> torch.Tensor:
        """B C."""
        return b[:, : self.ranks] @ self.values[: self.ranks, : self.ranks]


@dataclass
class Growing:
    """A trial whose ranks grow.

    Attributes:
        steered: The trial.
        dealt: What may be dealt out.
        layers: peft's layer of each unit.
        cores: C of each.
        law: (progress of the rounds, parameters at first, parameters now, limit) to the parameters that may be there.
        rounds: Steps after whose gradients ranks grow.
    """

    steered: Steered
    dealt: Dealt
    layers: Mapping[Unit, Any]
    cores: Mapping[Unit, Core]
    law: Callable[[float, int, int, int], int]
    rounds: tuple[int, ...]
    handles: list[Any] = field(default_factory=list)

    def before(self, step: int) -> None:
        """Nothing."""

    def gradients(self, step: int) -> None:
        """Look, hold what is not there, and perhaps grow."""
        self._penalty().backward()
        for core in self.cores.values():
            core.observe()
            core.hold()
        if step in self.rounds:
            self._grow((self.rounds.index(step) + 1) / len(self.rounds))

    def parts(self) -> tuple[Settled, ...]:
        """Nothing besides."""
        return ()

    def finish(self) -> Settled:
        """A plain LoRA of the ranks there are."""
        for handle in self.handles:
            handle.remove()
        factors: dict[Unit, Factors] = {}
        for unit, core in self.cores.items():
            a, scaled = factors_of(self.layers[unit])
            factors[unit] = a[: core.ranks], core.folded(scaled).detach()
        allocation = dict(self.steered.configuration.allocation)
        return settled(self.steered, self.dealt, factors, allocation)

    def to_json(self) -> dict[str, Any]:
        """The ranks of each unit."""
        return {"ranks": [[unit.layer, unit.site, core.ranks] for unit, core in self.cores.items()]}

    def _grow(self, progress: float) -> None:
        prices = {unit: self.dealt.rank_cost(unit) for unit in self.cores}
        there = sum(self.dealt.lora_cost(unit, core.ranks) for unit, core in self.cores.items())
        first = sum(self.dealt.lora_cost(unit, 1) for unit in self.cores)
        worth = {unit: core.worth() for unit, core in self.cores.items() if core.ranks < len(core.values)}
        for unit in growth.grown(worth, prices, self.law(progress, first, there, self.dealt.cost) - there):
            self.cores[unit].grow()

    def _penalty(self) -> torch.Tensor:
        factors = []
        for unit, core in self.cores.items():
            layer = self.layers[unit]
            both = layer.lora_A["default"].weight, layer.lora_B["default"].weight.T
            factors += [factor[: core.ranks] for factor in both]
        return _ORTHOGONAL * Stack.unorthogonal(factors)


def find_increlora(steered: Steered, options: Mapping[str, Any]) -> Growing | None:
    """IncreLoRA's training of a trial that has its wide plan on; None where there is no LoRA.

    Raises:
        TrialError: The LoRA is not a plain one.
    """

    def diagonal(unit: Unit, dealt: Dealt, most: int) -> Diagonal:
        place, values = dealt.place(unit), torch.zeros(most)
        values[:2] = _RESERVE  # its rank, and its reserve
        return Diagonal(nn.Parameter(values), (place.inputs * place.outputs) ** 0.5)

    return _find(
        steered,
        "increlora",
        diagonal,
        lambda progress, first, there, limit: growth.evenly(progress, first, limit),
    )


def find_triadaptlora(steered: Steered, options: Mapping[str, Any]) -> Growing | None:
    """As `find_increlora`, of TriAdaptLoRA."""

    def square(unit: Unit, dealt: Dealt, most: int) -> Square:
        return Square(nn.Parameter(torch.zeros(most, most)))

    return _find(
        steered,
        "triadaptlora",
        square,
        lambda progress, first, there, limit: growth.faster(progress, there, limit),
    )


def _find(
    steered: Steered,
    kind: str,
    core: Callable[[Unit, Dealt, int], Core],
    law: Callable[[float, int, int, int], int],
) -> Growing | None:
    dealt = Dealt.of(steered.configuration, steered.layout.shape)
    if not dealt.units:
        return None
    check_plain(kind, dealt, dealt.units)
    layers = loras(steered.attached, steered.layout, dealt.units)
    cores, handles = {}, []
    for unit, layer in layers.items():
        a, b = layer.lora_A["default"], layer.lora_B["default"]
        nn.init.normal_(a.weight, std=_DEVIATION)
        nn.init.normal_(b.weight, std=_DEVIATION)
        cores[unit] = found = core(unit, dealt, len(a.weight))
        found.values.data = found.values.data.to(a.weight.device)

        def between(module: Any, args: Any, hidden: torch.Tensor, core: Core = found) -> torch.Tensor:
            return core.through(hidden)

        handles.append(a.register_forward_hook(between))
    steered.optimizer.add_param_group({"params": [c.values for c in cores.values()], "weight_decay": 0.0})
    rounds = growth.rounds(steered.steps)
    return Growing(steered, dealt, layers, cores, law, rounds, handles)
