"""Suggesters: functions of (space, trials, seed) to the next configuration, with no state that is not in the trials."""

import random
from collections.abc import Callable, Sequence

import torch

from autopeft import pareto
from autopeft.dsl import Assignment, BoundSpace
from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.optimize.climb import climb
from autopeft.optimize.ehvi import log_ehvi
from autopeft.optimize.features import Features
from autopeft.optimize.observation import Observation, observations
from autopeft.optimize.start import fresh, generator, start, start_size
from autopeft.optimize.surrogate import Surrogate, fit_surrogate

Suggester = Callable[[BoundSpace, Sequence[Trial], int], Configuration]
"""(space, the study's trials, the study's seed) to a configuration that is not among the trials.

All trials are given, baselines too (but none of the confirmation), whatever their status: the complete ones teach, the
waiting and running ones are pending, the failed ones are not tried again. The space's budget is respected by construction.
"""

_ORIGINS = 6  # members of the front around which the search for the next point begins


def suggest_random(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
    """A random configuration inside the budget, roughly even in log cost."""
    return space.configuration(propose_random(space, observations(space, trials), seed))


def suggest_botorch(
    space: BoundSpace,
    trials: Sequence[Trial],
    seed: int,
    *,
    beliefs: Sequence[Surrogate] = (),
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
    beliefs: Sequence[Surrogate] = (),
    rates: tuple[float, float] = (0.0, 1.0),
) -> Assignment:
    """The point with the greatest noisy expected hypervolume improvement; at first, a start that is spread over cost.

    A function of its arguments: the same observations in the same order and the same seed give the same point. What is
    known, measured, pending or failed, is never proposed.

    Args:
        space: The space.
        seen: All observations so far, in the order in which they were proposed.
        seed: Of everything random.
        beliefs: Fitted to observations from elsewhere: of an earlier study, of a cheaper way to score (`believe`). How
            much each says here is learnt, so one that misleads costs little.
        rates: Where the start looks for the learning rate, as places in its range.

    Raises:
        UsedUpError: Every point is known.
    """
    if len(seen) < start_size(space, believing=bool(beliefs)) or sum(one.measured for one in seen) < 3:
        return start(space, seen, seed, rates, _opinion(beliefs) if beliefs else None)
    rng = generator(seed, len(seen))
    surrogate = fit_surrogate(Features(space), seen, beliefs)
    acquisition = log_ehvi(surrogate, seen, seed=rng.getrandbits(31))
    known = {one.assignment for one in seen}
    return climb(space, acquisition, known, _front(space, surrogate, seen, rng), rng)


def _opinion(beliefs: Sequence[Surrogate]) -> Callable[[Sequence[Assignment]], list[float]]:
    """What all beliefs together say, each as loud as the others."""

    def opinion(points: Sequence[Assignment]) -> list[float]:
        with torch.no_grad():
            told = [b.opinion(b.numbers(points)) for b in beliefs]
        return torch.stack(told).sum(0).tolist()

    return opinion


def believe(space: BoundSpace, told: Sequence[Sequence[Observation]]) -> list[Surrogate]:
    """Sets of observations from elsewhere, as `propose` takes them; empty ones are left out."""
    features = Features(space)
    return [fit_surrogate(features, one) for one in told if any(o.measured for o in one)]


def _front(
    space: BoundSpace, surrogate: Surrogate, seen: Sequence[Observation], rng: random.Random
) -> list[Assignment]:
    """Some members of the front, judged by what is thought of their scores: a lucky one is no member for its luck."""
    points = list(dict.fromkeys(one.assignment for one in seen if one.measured))
    with torch.no_grad():
        means = surrogate.mean(surrogate.numbers(points)).tolist()
    members = pareto.front([(mean, space.cost(p)) for mean, p in zip(means, points, strict=True)])
    return [points[i] for i in rng.sample(members, min(_ORIGINS, len(members)))]


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
