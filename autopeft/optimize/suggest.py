"""What a suggester is, and the suggesters by name."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autopeft.dsl import Assignment, BoundSpace
from autopeft.errors import unknown_name
from autopeft.nouns import Configuration, Trial, TrialStatus

Suggester = Callable[[BoundSpace, Sequence[Trial], int], Configuration]
"""(space, the study's search trials, the study's seed) to a configuration that is not among the trials.

All trials are given, whatever their status: the complete ones teach, the waiting and running ones are pending,
the failed ones are not tried again. The space's budget is respected by construction.
"""

SAMPLERS = ("botorch", "random", "optuna:tpe", "optuna:nsgaii", "optuna:gp")


def find_suggester(name: str) -> Suggester:
    """The suggester with this name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    # Imported on demand: BoTorch and Optuna take seconds, and only one of them is needed.
    if name == "botorch":
        from autopeft.optimize.ehvi import suggest_botorch

        return suggest_botorch
    if name == "random":
        return suggest_random
    import functools

    from autopeft.optimize.optuna import suggest_optuna

    return functools.partial(suggest_optuna, name.partition(":")[2])


def suggest_random(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
    """A random configuration inside the budget, roughly even in log cost."""
    rng = generator(seed, trials)
    return space.configuration(fresh(space, trials, rng, 1)[0])


def generator(seed: int, trials: Sequence[Trial]) -> random.Random:
    """The generator for the next suggestion: a function of the seed and of how many trials there are."""
    return random.Random(f"{seed}/{len(trials)}")


def fresh(space: BoundSpace, trials: Sequence[Trial], rng: random.Random, n: int) -> list[Assignment]:
    """Up to n samples that are no trial's configuration and differ from each other; at least one.

    Raises:
        RuntimeError: A thousand samples in a row were all known: the space is used up.
    """
    known = {trial.configuration.key for trial in trials}
    found: list[Assignment] = []
    for _ in range(1_000):
        for assignment in space.sample(rng, n - len(found)):
            key = space.configuration(assignment).key
            if key not in known:
                known.add(key)
                found.append(assignment)
        if len(found) == n:
            break
    if not found:
        raise RuntimeError("every configuration of the space has been tried")
    return found


def spread(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
    """The next point of a space-filling start: of 64 samples even in log cost, the farthest from all trials.

    A maximin design, built one point at a time, so that it needs no state. Distances are Euclidean in the
    encoded space, with the log cost and the learning rate weighted as much as all the other decisions together.
    """
    rng = generator(seed, trials)
    pool = fresh(space, trials, rng, 64)
    taken = [_coordinates(space, space.assignment(t.configuration)) for t in trials]
    if not taken:
        return space.configuration(pool[0])

    def distance(assignment: Assignment) -> float:
        point = _coordinates(space, assignment)
        return min(sum((a - b) ** 2 for a, b in zip(point, other, strict=True)) for other in taken)

    return space.configuration(max(pool, key=distance))


def _coordinates(space: BoundSpace, assignment: Assignment) -> list[float]:
    vector = space.encode(assignment)
    others = max(1, len(vector) - 2)
    return [*(x / others**0.5 for x in vector[:-2]), vector[-2], vector[-1]]


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
    """Encode the trials of a study; failed ones are left out."""
    complete, scores, costs, pending, pending_costs = [], [], [], [], []
    for trial in trials:
        vector = space.encode(space.assignment(trial.configuration))
        if trial.score is not None:
            complete.append(vector)
            scores.append(trial.score)
            costs.append(vector[-1])
        elif trial.status in (TrialStatus.WAITING, TrialStatus.RUNNING):
            pending.append(vector)
            pending_costs.append(vector[-1])
    return Observed(complete, scores, costs, pending, pending_costs)
