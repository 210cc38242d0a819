"""What a probe's gradients say of the points of a space."""

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autopeft.allocate.gradients import Gradients
from autopeft.dsl import Assignment, BoundSpace
from autopeft.nouns import Trial, TrialKind, TrialStatus
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
    """Points to their gradients' norms, (n, 1 + kinds): G(c), then G(c, k) for each kind of module."""

    def __init__(self, space: BoundSpace, gradients: Gradients) -> None:
        @functools.lru_cache(_KEPT)
        def row(point: Assignment) -> list[float]:
            parts = gradients.parts(space.configuration(point), space.shape)
            return [math.hypot(*parts), *parts]

        self._row = row

    def __call__(self, points: Sequence[Assignment]) -> Tensor:
        return torch.tensor([self._row(point) for point in points], dtype=torch.float64)


@dataclass(frozen=True)
class _Column:
    norms: _Norms
    index: int
    mean: float
    spread: float

    def __call__(self, points: Sequence[Assignment]) -> Tensor:
        return (self.norms(points)[:, self.index] - self.mean) / self.spread
