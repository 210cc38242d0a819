"""What a suggester is, and what all of them share: fresh samples, the start, the trials as numbers."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autopeft.dsl import Assignment, BoundSpace
from autopeft.errors import UsedUpError
from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus

Suggester = Callable[[BoundSpace, Sequence[Trial], int], Configuration]
"""(space, the study's trials, the study's seed) to a configuration that is not among the trials.

All trials are given, baselines too, whatever their status: the complete ones teach, the waiting and running ones are pending,
the failed ones are not tried again. The space's budget is respected by construction.
"""

_MISSES = 1_000  # known samples in a row after which a space counts as used up
_ASKS = 20  # samples at one cost, before another will do
# Steps of the start through cost and learning rate. Multiples of the golden ratio and of the root of three keep
# apart on either axis; together no two of the first fifteen points are closer than 0.15.
_START_STEPS = ((5**0.5 - 1) / 2, 3**0.5 - 1)


def suggest_random(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
    """A random configuration inside the budget, roughly even in log cost."""
    search = searched(trials)
    return space.configuration(fresh(space, search, generator(seed, search), 1)[0])


def searched(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that are points of the space: all but the baselines."""
    return [trial for trial in trials if trial.kind is TrialKind.SEARCH]


def tuned_rates(space: BoundSpace, trials: Sequence[Trial]) -> tuple[float, float]:
    """Where to look for a learning rate first: half of its range, around the rate of the best baseline.

    Baselines are tuned over the whole range before the search begins, so what they say of this backbone and these
    data costs nothing. A baseline speaks once all its rates are through: they are trained in order, and the best of the
    first few is no optimum. Places in [0, 1]; the whole range where no baseline is through.
    """
    rate = space.decisions[-1]
    under_way = {t.kind for t in trials if t.status in (TrialStatus.WAITING, TrialStatus.RUNNING)}
    told = [t for t in trials if t.kind not in (TrialKind.SEARCH, *under_way) and t.score is not None]
    if not told:
        return 0.0, 1.0
    best = rate.place(max(told, key=lambda t: t.score or 0.0).configuration.learning_rate)
    return max(0.0, best - 0.25), min(1.0, best + 0.25)


def generator(seed: int, trials: Sequence[Trial]) -> random.Random:
    """The generator for the next suggestion: a function of the seed and of how many trials there are."""
    return random.Random(f"{seed}/{len(trials)}")


def fresh(space: BoundSpace, trials: Sequence[Trial], rng: random.Random, n: int) -> list[Assignment]:
    """Up to n canonical samples that are no trial's configuration and differ from each other; at least one.

    Raises:
        UsedUpError: So many samples in a row were all known that the space is used up.
    """
    known = known_assignments(space, trials)
    found: list[Assignment] = []
    misses = 0
    while len(found) < n and misses < _MISSES:
        assignment = space.canonical(space.sample(rng, 1)[0])
        if assignment in known:
            misses += 1
        else:
            known.add(assignment)
            found.append(assignment)
            misses = 0
    if not found:
        raise UsedUpError("every configuration of the space has been tried.")
    return found


def known_assignments(space: BoundSpace, trials: Sequence[Trial]) -> set[Assignment]:
    """The canonical assignments of the trials: two assignments mean one configuration if these are equal."""
    return {space.assignment(trial.configuration) for trial in trials}


def spread(
    space: BoundSpace, trials: Sequence[Trial], seed: int, rates: tuple[float, float] = (0.0, 1.0)
) -> Configuration:
    """The next point of a start that is spread over cost and learning rate, the two that matter most.

    With k trials there, both come from point k of a Kronecker sequence whose origin the seed draws: the first n
    points are evenly spread whatever n is, and no state is needed. All other decisions are a random sample at that
    cost. A point that is already known gives way to a random one.

    Args:
        space: The space.
        trials: The search trials there are.
        seed: The study's.
        rates: The part of the learning rate's range to spread over, as places in [0, 1].

    References:
        Kuipers and Niederreiter (1974), "Uniform distribution of sequences", chapter 2, section 3: multiples of
        numbers with bounded partial quotients have low discrepancy.
    """
    origin = random.Random(f"{seed}/start")
    place, rate_place = ((origin.random() + len(trials) * step) % 1.0 for step in _START_STEPS)
    low, high = rates
    rng = generator(seed, trials)
    known = known_assignments(space, trials)
    rate = space.decisions[-1]
    for _ in range(_ASKS):
        sample = space.sample_at(rng, place)
        assignment = space.canonical((*sample[:-1], rate.at(low + rate_place * (high - low))))
        if assignment not in known:
            return space.configuration(assignment)
    return space.configuration(fresh(space, trials, rng, 1)[0])


@dataclass(frozen=True)
class Observed:
    """The trials as a surrogate takes them.

    Attributes:
        complete: Encoded points (n, d + 1) with a score.
        scores: (n,) validation scores.
        costs: (n,) cost coordinates in [0, 1].
        pending: Encoded points that are waiting or running.
        pending_costs: Their cost coordinates.
    """

    complete: list[list[float]]
    scores: list[float]
    costs: list[float]
    pending: list[list[float]]
    pending_costs: list[float]


def observe(space: BoundSpace, trials: Sequence[Trial]) -> Observed:
    """Encode the trials of a study; failed ones, and scores that are no number, are left out."""
    complete, scores, costs, pending, pending_costs = [], [], [], [], []
    for trial in trials:
        vector = space.encode(space.assignment(trial.configuration)).vector
        if trial.score is not None and math.isfinite(trial.score):
            complete.append(vector)
            scores.append(trial.score)
            costs.append(vector[-1])
        elif trial.status in (TrialStatus.WAITING, TrialStatus.RUNNING):
            pending.append(vector)
            pending_costs.append(vector[-1])
    return Observed(complete, scores, costs, pending, pending_costs)
