"""What a probe's gradients say of the points of a space."""

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autopeft.allocate.gradients import Gradients
from autopeft.allocate.spots import cuts
from autopeft.dsl import Assignment, BoundSpace
from autopeft.dsl.parts import Part
from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.optimize.surrogate import Belief

_SAMPLE = 200  # random points, to know what is much and what is little in this space
_KEPT = 20_000  # points whose norms are remembered


def probed(space: BoundSpace, trials: Sequence[Trial]) -> list[Belief]:
    """The beliefs that the study's probe gives rise to; none before it is complete."""
    for trial in trials:
        if trial.kind is TrialKind.PROBE and trial.status is TrialStatus.COMPLETE:
            return believe_gradients(space, Gradients.from_json(trial.details["gradients"]))
    return []


def believe_gradients(space: BoundSpace, gradients: Gradients) -> list[Belief]:
    """Norms of gradients as beliefs: of the whole configuration, then of each kind of module, if there are several.

    Args:
        space: The space of the super-adapter whose gradients they are.
        gradients: What the probe found.
    """
    norms = _Norms(space, gradients)
    sample = norms(list(dict.fromkeys(space.sample(random.Random(0), _SAMPLE))))
    columns = range(1 if len(gradients.kinds) == 1 else sample.shape[1])
    spread = sample.std(0).clamp_min(1e-9)
    return [_Column(norms, i, float(sample[:, i].mean()), float(spread[i])) for i in columns]


class _Norms:
    """Points to their gradients' norms, (n, 1 + kinds): G(c), then G(c, k) for each kind of module.

    As `Gradients.parts`, without a configuration being made of every point: what a module adds at a place is looked up.
    """

    def __init__(self, space: BoundSpace, gradients: Gradients) -> None:
        self._space = space
        self._gradients = gradients
        self._kinds = {kind: i for i, kind in enumerate(gradients.kinds)}
        self._added: dict[Any, tuple[int, float]] = {}
        self._places = functools.lru_cache(_KEPT)(self._find_places)
        self._row = functools.lru_cache(_KEPT)(self._norms)

    def __call__(self, points: Sequence[Assignment]) -> Tensor:
        return torch.tensor([self._row(point) for point in points], dtype=torch.float64)

    def _norms(self, point: Assignment) -> list[float]:
        squares = [0.0] * len(self._kinds)
        for index, part in enumerate(self._space.parts):
            if not part.there(point):
                continue
            alike = not any(slot.over for _, slot in part.options)
            options = tuple([slot.value(point) for _, slot in part.options]) if alike else ()
            for layer, site, decision in self._places(
                index, part.layers.chosen(point), part.sites.chosen(point)
            ):
                size = point[decision] if decision >= 0 else part.size.value(point, layer, site)
                if not size:
                    continue
                if not alike:
                    options = tuple([slot.value(point, layer, site) for _, slot in part.options])
                key = (index, layer, site, size, options)
                added = self._added.get(key)
                if added is None:
                    added = self._added[key] = self._find(part, point, layer, site)
                squares[added[0]] += added[1]
        return [math.sqrt(sum(squares)), *map(math.sqrt, squares)]

    def _find_places(
        self, index: int, layers: tuple[int, ...], sites: tuple[str, ...]
    ) -> list[tuple[int, str, int]]:
        """Where a part is, and the decision about its size there; -1 where it is not the decision's value alone."""
        size, there = self._space.parts[index].size, self._space.costs.there
        plain = size.indices and not size.needs and size.times is None
        return [
            (layer, site, size.indices[size.key(layer, site)] if plain else -1)
            for layer in layers
            for site in sites
            if site in there[layer]
        ]

    def _find(self, part: Part, point: Assignment, layer: int, site: str) -> tuple[int, float]:
        """The index of a part's kind, and what it adds to the square at a place."""
        module = part.module(point, (layer,), (site,))
        ((spot, cut),) = cuts(Configuration.of([module], 1.0), self._space.shape).items()
        return self._kinds[spot.kind], self._gradients.square(spot, cut)


@dataclass(frozen=True)
class _Column:
    norms: _Norms
    index: int
    mean: float
    spread: float

    def __call__(self, points: Sequence[Assignment]) -> Tensor:
        return (self.norms(points)[:, self.index] - self.mean) / self.spread
