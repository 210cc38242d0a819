"""Suggesters: functions of (space, trials, seed) to the next configuration, with no state that is not in the trials."""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from autopeft.dsl import Assignment, BoundSpace
from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.optimize.climb import climb
from autopeft.optimize.ehvi import log_ehvi
from autopeft.optimize.features import features_of
from autopeft.optimize.judged import members
from autopeft.optimize.observation import Observation, observations
from autopeft.optimize.start import fresh, generator, spread, start, start_size
from autopeft.optimize.surrogate import Belief, Surrogate, fit_surrogate

Suggester = Callable[[BoundSpace, Sequence[Trial], int], Configuration]
"""(space, the study's trials, the study's seed) to a configuration that is not among the trials.

All trials are given, baselines too (but none of the confirmation), whatever their status: the complete ones teach, the
waiting and running ones are pending, the failed ones are not tried again. The space's budget is respected by construction.
"""

_ORIGINS = 6  # members of the front around which the search for the next point begins
# Costs of a start with beliefs, as places on the log scale: the middle first, then what halves the rest, the smallest last.
_PLACES = (0.5, 0.25, 0.75, 0.0)
_SAMPLES = 24  # points at such a cost around which the search for what is liked best begins
_STARTS = 12  # and from how many of the best of them it goes uphill: a belief is cheap to ask
# How much worse a point is thought to be that costs more than it may, for the whole range of costs.
_DEAR = 1e3


def suggest_random(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
    """A random configuration inside the budget, roughly even in log cost."""
    return space.configuration(propose_random(space, observations(space, trials), seed))


def suggest_botorch(
    space: BoundSpace,
    trials: Sequence[Trial],
    seed: int,
    *,
    beliefs: Sequence[Belief] = (),
) -> Configuration:
    """What `propose` says, with a start at learning rates near the baselines' best."""
    rates = tuned_rates(space, trials)
    seen = observations(space, trials)
    return space.configuration(propose(space, seen, seed, beliefs=beliefs, rates=rates))


def propose_random(space: BoundSpace, seen: Sequence[Observation], seed: int) -> Assignment:
    """A random point that is not known.

    Raises:
        UsedUpError: Every point is known.
    """
    return fresh(space, {one.assignment for one in seen}, generator(seed, len(seen)), 1)[0]


def propose(
    space: BoundSpace,
    seen: Sequence[Observation],
    seed: int,
    *,
    beliefs: Sequence[Belief] = (),
    rates: tuple[float, float] = (0.0, 1.0),
) -> Assignment:
    """The point with the greatest noisy expected hypervolume improvement; at first, a start that is spread over cost.

    A function of its arguments: the same observations in the same order and the same seed give the same point. What is
    known, measured, pending or failed, is never proposed.

    Args:
        space: The space.
        seen: All observations so far, in the order in which they were proposed.
        seed: Of everything random.
        beliefs: What is thought of points beforehand: by an earlier study (`believe`), by a probe
            (`autopeft.optimize.probed`). How much each says here is learnt, so one that misleads costs little.
        rates: Where the start looks for the learning rate, as places in its range.

    Raises:
        UsedUpError: Every point is known.
    """
    size = len(_PLACES) if beliefs else start_size(space)
    if len(seen) < size or sum(one.measured for one in seen) < 3:
        if beliefs:
            return _thought_best(space, seen, seed, beliefs, rates)
        return start(space, seen, seed, rates)
    rng = generator(seed, len(seen))
    surrogate = fit_surrogate(features_of(space), seen, beliefs)
    acquisition = log_ehvi(surrogate, seen, seed=rng.getrandbits(31))
    known = {one.assignment for one in seen}
    return climb(space, acquisition, known, _front(space, surrogate, seen, rng), rng)


def _thought_best(
    space: BoundSpace,
    seen: Sequence[Observation],
    seed: int,
    beliefs: Sequence[Belief],
    rates: tuple[float, float],
) -> Assignment:
    """The next point of a start with beliefs: what all of them together like best at a cost, each as loud as the others.

    Learning rates are spread as they are without: a probe knows nothing of them, and another task's may be others.
    """
    place = _PLACES[len(seen) % len(_PLACES)]
    most = place * space.cost_coordinate(min(space.limit, space.largest))
    known = {one.assignment for one in seen}
    rng = generator(seed, len(seen))

    def opinion(points: Sequence[Assignment]) -> Tensor:
        told = torch.stack([belief(points) for belief in beliefs]).mean(0)
        costs = torch.tensor([space.cost_coordinate(space.cost(p)) for p in points], dtype=torch.float64)
        beyond = costs - most
        return torch.where(beyond > 1e-9, -_DEAR * beyond, told)

    origins = [space.canonical(space.sample_at(rng, place)) for _ in range(_SAMPLES)]
    best = climb(space, opinion, known, origins, rng, _STARTS)
    _, rate = spread(space, seen, seed, rates)
    at_rate = space.canonical((*best[:-1], rate))
    return at_rate if at_rate not in known else best


def believe(space: BoundSpace, told: Sequence[Observation]) -> Belief:
    """Observations from elsewhere as `propose` takes them; at least one of them is measured."""
    return fit_surrogate(features_of(space), told).opinion


def _front(
    space: BoundSpace, surrogate: Surrogate, seen: Sequence[Observation], rng: random.Random
) -> list[Assignment]:
    """Some members of the front, judged by what is thought of their scores: a lucky one is no member for its luck."""
    points = list(dict.fromkeys(one.assignment for one in seen if one.measured))
    front = members(space, surrogate, points)
    return [points[i] for i in rng.sample(front, min(_ORIGINS, len(front)))]


def tuned_rates(space: BoundSpace, trials: Sequence[Trial]) -> tuple[float, float]:
    """Where to look for a learning rate first: half of its range, around the rate of the best baseline.

    Baselines are tuned over the whole range before the search begins, so what they say of this backbone and these
    data costs nothing. A baseline speaks once all its rates are through: they are trained in order, and the best of the
    first few is no optimum. Places in [0, 1]; the whole range where no baseline is through.
    """
    rate = space.decisions[-1]
    under_way = {t.kind for t in trials if t.status in (TrialStatus.WAITING, TrialStatus.RUNNING)}
    baselines = {TrialKind.HEAD_ONLY, TrialKind.LORA_QV} - under_way
    told = [t for t in trials if t.kind in baselines and t.score is not None]
    if not told:
        return 0.0, 1.0
    best = rate.place(max(told, key=lambda t: t.score or 0.0).configuration.learning_rate)
    return max(0.0, best - 0.25), min(1.0, best + 0.25)
