"""The front by what is thought of the scores: the posterior means of the surrogate, instead of single noisy scores.

A front of measured scores holds those that were lucky, and lacks those that they have driven off. A score says something
of its neighbours too, so the means are nearer to the truth.
"""

from collections.abc import Sequence

import torch

from autopeft import pareto
from autopeft.dsl import Assignment, BoundSpace
from autopeft.nouns import Trial
from autopeft.optimize.features import features_of
from autopeft.optimize.observation import observations, searched
from autopeft.optimize.probed import probed
from autopeft.optimize.surrogate import Surrogate, fit_surrogate

_FEWEST = 3  # scores, below which a surrogate says nothing


def members(space: BoundSpace, surrogate: Surrogate, points: Sequence[Assignment]) -> list[int]:
    """Indices of the points that are not dominated, by posterior mean and cost; by ascending cost."""
    with torch.no_grad():
        means = surrogate.mean(surrogate.numbers(points)).tolist()
    return pareto.front([(mean, space.cost(p)) for mean, p in zip(means, points, strict=True)])


def expected_front(space: BoundSpace, trials: Sequence[Trial]) -> list[Trial]:
    """The complete trials of the search that are not dominated by posterior mean and cost; by ascending cost.

    Trials that were stopped, and the probe, take part in the surrogate. Empty while there are fewer than three scores.

    Args:
        space: The study's.
        trials: All of the study.
    """
    complete = [trial for trial in searched(trials) if trial.score is not None]
    if len(complete) < _FEWEST:
        return []
    surrogate = fit_surrogate(features_of(space), observations(space, trials), probed(space, trials))
    points = [space.assignment(trial.configuration) for trial in complete]
    return [complete[i] for i in members(space, surrogate, points)]
