"""Points of a space of plain decisions as the surrogate sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from autopeft.dsl import Assignment, Levels, PlainSpace
from autopeft.optimize.features import Group


@dataclass(frozen=True)
class PlainFeatures:
    """The numbers of points of a plain space, in [0, 1]: what `Features` is of a bound one.

    The columns are those of `PlainSpace.encode`. There is no cost that all such spaces have, nor layers: a column of
    zeros, between which there is no distance, stands where the kernel looks for the cost, and the amounts have no column.

    Attributes:
        space: The space.
    """

    space: PlainSpace

    def __call__(self, points: Sequence[Assignment]) -> Tensor:
        """(n, p), float64."""
        rows = [[*self.space.encode(point).vector, 0.0] for point in points]
        return torch.tensor(rows, dtype=torch.float64).view(len(points), self.cost + 1)

    @cached_property
    def cost(self) -> int:
        """The column of zeros."""
        return sum(decision.width for decision in self.space.decisions)

    @cached_property
    def amounts(self) -> Group:
        """No columns, behind all others."""
        return Group((self.cost + 1, self.cost + 1))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The columns of each decision."""
        found, at = [], 0
        for decision in self.space.decisions:
            found.append(Group((at, at + decision.width)))
            at += decision.width
        return tuple(found) or (Group((self.cost, self.cost + 1)),)

    @cached_property
    def switches(self) -> tuple[int, ...]:
        """Columns with two values only: truths, and one for each of several words."""
        return tuple(column for column, few in enumerate(self._few) if few)

    @cached_property
    def scales(self) -> tuple[int, ...]:
        """Columns with more values; the zeros where there is none, because the kernel has one at least."""
        return tuple(column for column, few in enumerate(self._few) if not few) or (self.cost,)

    @cached_property
    def _few(self) -> list[bool]:
        return [
            decision.width > 1 or (isinstance(decision, Levels) and len(decision.values) <= 2)
            for decision in self.space.decisions
            for _ in range(decision.width)
        ]
