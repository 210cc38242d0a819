"""Which trials go on at a rung: successive halving on score and cost, one trial at a time.

A trial reports its validation score after every epoch. Some epochs are rungs: there it goes on only if it is among
the best third of the trials that have come so far. Nobody waits for anybody: a trial is judged, when it reports, by
those that have reached the rung by then.

A score at a rung says no more than it can: as much is added to the trial's own as trials with equal scores there end apart, by
the standard deviation of those that are complete (`autopeft.optimize.curves.doubt`). A suggester that knows where good
configurations are proposes many that differ by less than that, and the rule without it stops the best of them for their luck.

Notation:
    (s, c)       validation score and trainable parameters of a trial at the rung, n of them with the trial itself
    dominates    has at least the score and at most the parameters, and is better in one of the two
    similar      two trials whose costs differ by a factor of at most ten, with fewer than `_NEAR` others between them
    rank         of a trial: the non-dominated front it is in among those of similar cost, from 0
    crowding     of a trial: log c from the next cheaper to the next dearer trial of the same rank

A trial goes on if, with its doubt, no trial at all dominates it, or if fewer than n / eta others come before it by rank, then by
crowding, the least crowded first. Sorting by fronts over the whole of the costs would compare a trial of 500
parameters with few others and one of 50,000 with nearly all; among those of similar cost, each has as many to hold out
against. Only the order of costs and the ratios between them matter, so parameters may be counted in any unit.

References:
    Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht and Talwalkar (2020), "A system for massively parallel
    hyperparameter tuning", MLSys, arXiv 1810.05934: asynchronous successive halving.
    Schmucker, Donini, Zafar, Salinas and Archambeau (2021), "Multi-objective asynchronous successive halving", arXiv
    2106.12639: the same by non-dominated fronts.
    Deb, Pratap, Agarwal and Meyarivan (2002), "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
    Transactions on Evolutionary Computation 6(2), section III: fronts, and crowding within a front.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from autopeft.nouns import Trial, TrialKind
from autopeft.optimize.curves import doubt

ETA = 3
"""Of the trials at a rung about one in so many goes on, and a rung has so many times the epochs of the one before."""

_NEAR = 8
_FACTOR = 10
_FEWEST = 3  # others at a rung, below which nothing is said

Point = tuple[float, int]
"""Score and trainable parameters."""


def rungs(epochs: int, eta: int = ETA) -> tuple[int, ...]:
    """The epochs at which a trial of so many epochs may be stopped, ascending.

    Counted from the end, so that the last step, which costs most, is a whole one: epochs / eta, epochs / eta^2, ...,
    rounded, down to the first epoch. No rungs for a trial of one epoch.

    >>> [rungs(epochs) for epochs in (1, 2, 3, 6, 10, 27)]
    [(), (1,), (1,), (1, 2), (1, 3), (1, 3, 9)]
    """
    found: list[int] = []
    left = epochs / eta
    while epochs > 1 and 1 not in found:
        found.append(max(1, round(left)))
        left /= eta
    return tuple(reversed(found))


def goes_on(trial: Trial, epoch: int, trials: Sequence[Trial], at: Sequence[int]) -> bool:
    """Whether a trial is trained further, now that it has reported its score after an epoch.

    Points of the search alone are stopped, and are judged by each other alone. One that has come further before it was
    interrupted is not asked twice.

    Args:
        trial: With its scores so far.
        epoch: The epoch that it has reported.
        trials: The trials of its study, itself among them or not.
        at: The rungs.
    """
    if trial.kind is not TrialKind.SEARCH or epoch not in at or epoch not in trial.scores:
        return True
    if max(trial.scores) > epoch:
        return True
    others = [
        (other.scores[epoch], other.trainable)
        for other in trials
        if other.id != trial.id and other.kind is TrialKind.SEARCH and epoch in other.scores
    ]
    known = [*(other for other in trials if other.id != trial.id), trial]
    return continues((trial.scores[epoch] + doubt(known, epoch), trial.trainable), others)


def continues(point: Point, others: Sequence[Point], eta: int = ETA) -> bool:
    """Whether a trial goes on from a rung.

    Args:
        point: Its score at the rung, and its cost.
        others: Those of the trials that have reached the rung, in any order. Scores are finite.
        eta: About one in so many goes on.

    >>> others = [(0.7, 100), (0.8, 1_000), (0.9, 10_000), (0.6, 900), (0.85, 9_000)]
    >>> continues((0.75, 500), others), continues((0.5, 950), others)
    (True, False)
    """
    if len(others) < _FEWEST or not any(_dominates(other, point) for other in others):
        return True
    points = [point, *others]
    ranks = _ranks(points)
    room = len(points) // eta
    before = sum(rank < ranks[0] for rank in ranks[1:])
    level = [cost for (_, cost), rank in zip(others, ranks[1:], strict=True) if rank == ranks[0]]
    if before >= room or before + len(level) < room:
        return before < room
    # As many come before as are at most so crowded: of two that are equal, neither is let through for the other.
    costs = [point[1], *level]
    own = _crowding(costs, 0)
    return before + sum(_crowding(costs, i) >= own for i in range(1, len(costs))) < room


def _dominates(one: Point, other: Point) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one != other


def _ranks(points: Sequence[Point]) -> list[int]:
    """Of each point, the non-dominated front that it is in among those of similar cost."""
    order = sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0]))
    costs = [points[i][1] for i in order]
    ranks = [0] * len(points)
    for i in order:
        cost = points[i][1]
        first, after = bisect_left(costs, cost), bisect_right(costs, cost)
        # Those dearer than the point cannot dominate it, so their rank does not matter to its own.
        cheapest = max(costs[max(0, first - _NEAR)], cost / _FACTOR)
        near = [points[j] for j in order[bisect_left(costs, cheapest) : after]]
        ranks[i] = _depth(points[i], near)
    return ranks


def _depth(point: Point, near: Sequence[Point]) -> int:
    """The length of the longest chain of points that dominate one another and, in the end, the point.

    Args:
        point: The point.
        near: Sorted by cost, of equal cost the best first; the point may be among them.
    """
    chains: list[tuple[Point, int]] = []
    for other in near:
        if _dominates(other, point):
            before = (length for earlier, length in chains if _dominates(earlier, other))
            chains.append((other, 1 + max(before, default=0)))
    return max((length for _, length in chains), default=0)


def _crowding(costs: Sequence[int], i: int) -> float:
    """The log cost from the next cheaper to the next dearer of the costs; infinite at the ends."""
    rest = [*costs[:i], *costs[i + 1 :]]
    cheaper = max((cost for cost in rest if cost <= costs[i]), default=0)
    dearer = min((cost for cost in rest if cost >= costs[i]), default=0)
    if not cheaper or not dearer:
        return math.inf
    return round(math.log(dearer / cheaper), 9)
