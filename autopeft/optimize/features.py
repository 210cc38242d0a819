"""Points of a space as the surrogate sees them: the encoding, and how much there is in each layer.

Notation:
    n, p    points; numbers of each
    L       layers of the backbone
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from autopeft.dsl import Assignment, BoundSpace, Levels

_KEPT = 20_000  # points whose numbers are remembered


@functools.lru_cache(4)
def features_of(space: BoundSpace) -> "Features":
    """The features of a space, with all that they remember of its points."""
    return Features(space)


@dataclass(frozen=True)
class Group:
    """Columns that belong together, such as the switches of the layers.

    Attributes:
        columns: From the first to before the last.
        row: Whether they are in a row, so that neighbours are alike.
    """

    columns: tuple[int, int]
    row: bool = False

    @property
    def width(self) -> int:
        """How many columns."""
        return self.columns[1] - self.columns[0]

    @cached_property
    def alike(self) -> Tensor:
        """A, (d, d): |A (x - x')|^2 is the squared distance of two points in this group.

        Of a row, A is the Cholesky factor of exp(-(i - j)^2 / 2): a module moved by one layer is a smaller step than one
        moved by six.
        """
        if not self.row:
            return torch.eye(self.width, dtype=torch.float64)
        at = torch.arange(self.width, dtype=torch.float64)
        alike = torch.exp(-((at[:, None] - at) ** 2) / 2) + 1e-9 * torch.eye(self.width)
        root: Tensor = torch.linalg.cholesky(alike)
        return root.T


@dataclass(frozen=True)
class Features:
    """The numbers of points of a space, in [0, 1].

    The columns are those of `BoundSpace.encode`, the log cost among them, then the amount in each of the L layers: the places
    of the sizes of the modules there, summed over modules and averaged over sites. What a configuration is worth depends
    more on what it has where than on which decisions said so.

    Attributes:
        space: The space.
    """

    space: BoundSpace

    def __call__(self, points: Sequence[Assignment]) -> Tensor:
        """(n, p), float64."""
        rows = [self._row(point) for point in points]
        return torch.tensor(rows, dtype=torch.float64).view(len(points), self.amounts.columns[1])

    @cached_property
    def _row(self) -> Callable[[Assignment], list[float]]:
        return functools.lru_cache(_KEPT)(
            lambda point: [*self.space.encode(point).vector, *self._amounts(point)]
        )

    def _amounts(self, point: Assignment) -> list[float]:
        amounts = [0.0] * len(self.space.shape.layers)
        for number, part in enumerate(self.space.parts):
            if not part.there(point):
                continue
            for layer, index, weight in self._terms(
                number, part.layers.chosen(point), part.sites.chosen(point)
            ):
                place = 1.0 if index < 0 else self._places[index](point[index])
                amounts[layer] += weight * place
        return amounts

    @cached_property
    def _terms(self) -> Callable[..., list[tuple[int, int, float]]]:
        # Of what a part has in each layer: the layer, the decision about the size (-1: it is fixed), and a weight.
        @functools.lru_cache(_KEPT)
        def terms(number: int, layers: tuple[int, ...], sites: tuple[str, ...]) -> Any:
            part, found = self.space.parts[number], []
            for layer in layers:
                keys = dict.fromkeys(part.size.key(layer, site) for site in sites)
                for key in keys:
                    index = part.size.indices.get(key)
                    if index is not None or not part.size.indices:  # a layer may have none of the sites
                        share = len(sites) / max(1, len(part.sites.of)) / len(self.space.parts)
                        found.append((layer, -1 if index is None else index, share / len(keys)))
            return found

        return terms

    @cached_property
    def _places(self) -> list[Callable[[Any], float]]:
        return [functools.cache(decision.place) for decision in self.space.decisions]

    @cached_property
    def cost(self) -> int:
        """The column of the log cost."""
        return sum(decision.width for decision in self.space.decisions)

    @cached_property
    def amounts(self) -> Group:
        """The columns of the amounts."""
        return Group((self.cost + 1, self.cost + 1 + len(self.space.shape.layers)), row=True)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Every column in one group: choices of layers or sites, sizes layer by layer, single decisions, cost, amounts."""
        space = self.space
        found: list[Group] = []
        last: object = None
        at = 0
        for i, (decision, role) in enumerate(zip(space.decisions, space.roles, strict=True)):
            chooser = space.chooser_of.get(i)
            row = role.kind in ("layers", "own layers") if chooser else role.over == ("layer",)
            kind: object = i
            if chooser and not chooser.window:
                kind = ("chooser", chooser.first)
            elif role.key:  # one field of one module, place by place
                kind = ("field", role.part, role.kind, decision.name.split(".")[1])
            if kind == last:
                found[-1] = Group((found[-1].columns[0], at + decision.width), row)
            else:
                found.append(Group((at, at + decision.width), row and not isinstance(kind, int)))
            last, at = kind, at + decision.width
        return (*found, Group((self.cost, self.cost + 1)), self.amounts)

    @cached_property
    def switches(self) -> tuple[int, ...]:
        """Columns with two values only."""
        return tuple(c for c, few in self._columns if few)

    @cached_property
    def scales(self) -> tuple[int, ...]:
        """Columns with more values, the cost among them."""
        return (*(c for c, few in self._columns if not few), self.cost)

    @cached_property
    def _columns(self) -> list[tuple[int, bool]]:
        few: list[bool] = []
        for decision in self.space.decisions:
            words = decision.width > 1 or (isinstance(decision, Levels) and len(decision.values) <= 2)
            few += [words] * decision.width
        return list(enumerate(few))
