"""The trade-off between score (maximised) and trainable parameters (minimised), as pure functions; then that of any objectives.

Notation, used throughout:

    points      (score, trainable) of trials, in any order; indices in results are into this sequence
    trainable   exact trainable parameters, at least 0
    smallest    trainable parameters of the cheapest configuration that counts
    limit       the budget, in trainable parameters
    c           the cost coordinate of `cost_coordinate`: 0 at `smallest`, 1 at `limit`, logarithmic between

Costs are compared on a logarithmic scale, because a budget spans orders of magnitude: halving 1 000 000
parameters is worth as much as halving 1 000.
"""

import math
from collections.abc import Sequence

REFERENCE_COST = 1.1
"""Cost coordinate up to which hypervolume is counted: beyond 1, so that a trial at the very limit counts too."""

_ON_CHORD = 1e-12  # a front that is a straight line must not find a knee in its rounding


def front(points: Sequence[tuple[float, int]]) -> list[int]:
    """Indices of the points that no other point dominates, by ascending trainable parameters.

    A point dominates another when it has at least the score and at most the parameters, and is better in one
    of the two. Of exactly equal points the first is kept. A point whose score is not finite is never on the
    front. Takes O(n log n).

    >>> front([(0.7, 100), (0.9, 1000), (0.6, 500), (0.7, 100)])
    [0, 1]
    """
    finite = [i for i, (score, _) in enumerate(points) if math.isfinite(score)]
    finite.sort(key=lambda i: (points[i][1], -points[i][0], i))
    members: list[int] = []
    best = -math.inf
    for i in finite:
        if points[i][0] > best:
            members.append(i)
            best = points[i][0]
    return members


def cost_coordinate(trainable: int, smallest: int, limit: int) -> float:
    """Where a cost lies between `smallest` (0.0) and `limit` (1.0) on a logarithmic scale.

    Costs outside the two are moved to the nearer one; so a trial of the head only, with 0 trainable
    parameters, is at 0. Where `limit` is not above `smallest` there is no scale, and every cost is at 0.

    >>> cost_coordinate(1_000, 100, 10_000)
    0.5
    """
    smallest = max(smallest, 1)
    if limit <= smallest:
        return 0.0
    trainable = min(max(trainable, smallest), limit)
    return math.log(trainable / smallest) / math.log(limit / smallest)


def hypervolume(
    points: Sequence[tuple[float, int]], *, reference_score: float, smallest: int, limit: int
) -> float:
    """How much score above the reference, averaged over the orders of magnitude of the budget.

    For each budget from `smallest` to `limit`, take the best score that fits in it, less `reference_score`
    (0 where nothing better fits); the result is the area under this staircase over the cost coordinate, up
    to `REFERENCE_COST`. It is the hypervolume of (score, -c) with respect to the reference point
    (`reference_score`, -1.1), in units of the score. Points at or below the reference contribute nothing.

    The stretch from 1 to 1.1 weighs the best score inside the whole budget by a further tenth; without it, a
    trial that uses all of its budget would count for nothing.

    Returns:
        At least 0, and 0.0 for no points. Never falls when a point is added.

    Raises:
        ValueError: `reference_score` is not finite.

    References:
        Zitzler and Thiele (1998), "Multiobjective optimization using evolutionary algorithms", PPSN V.
    """
    if not math.isfinite(reference_score):
        raise ValueError(f"the reference score {reference_score} is not a finite number")
    area = 0.0
    height = reference_score
    for i in front(points):
        score, trainable = points[i]
        if score > height:
            area += (score - height) * (REFERENCE_COST - cost_coordinate(trainable, smallest, limit))
            height = score
    return area


def knee(points: Sequence[tuple[float, int]]) -> int | None:
    """Index of the front member after which more parameters buy the least further score.

    Scales the front to the unit square, log parameters across and score upwards, and takes the member
    farthest above the chord from the cheapest to the best member; of equally far ones the cheapest. Where no
    member is above the chord (one or two members, or a front that bends the other way) there is no such
    place, and the best score is taken.

    Returns:
        An index into `points`, or None when no point has a finite score.

    References:
        Satopaa, Albrecht, Irwin and Raghavan (2011), "Finding a 'Kneedle' in a haystack: detecting knee
        points in system behavior", ICDCS Workshops, section II: the distance to the chord, without the
        smoothing and the sensitivity that noisy curves need.
    """
    members = front(points)
    if not members:
        return None
    lowest, low_cost = points[members[0]]
    highest, high_cost = points[members[-1]]
    chosen, farthest = members[-1], _ON_CHORD
    for i in members[1:-1]:
        score, trainable = points[i]
        # Both are the same fraction along the chord, so their difference is √2 × the distance above it.
        upwards = (score - lowest) / (highest - lowest)
        across = math.log(max(trainable, 1) / max(low_cost, 1)) / math.log(high_cost / max(low_cost, 1))
        if upwards - across > farthest:
            chosen, farthest = i, upwards - across
    return chosen


# -- any number of objectives ------------------------------------------------------------------------------------------
#
#   coordinates   of a point: its objectives, each as a number of which larger is better


def non_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other point dominates, in their order.

    A point dominates another when it is at least as good in every objective, and better in one. Of exactly equal points
    the first is kept. A point with a coordinate that is not finite is never among them.

    Args:
        points: Coordinates, (n, K). Takes O(n^2 K).

    >>> non_dominated([(0.7, -1.0, 0.0), (0.9, -3.0, 0.0), (0.6, -2.0, 0.0), (0.7, -1.0, 0.0), (0.1, -9.0, 1.0)])
    [0, 1, 4]
    """
    finite = [i for i, point in enumerate(points) if all(map(math.isfinite, point))]
    members: list[int] = []
    # From the best in the first coordinate on, equals by the next: none is dominated by one that comes later.
    for i in sorted(finite, key=lambda i: (*(-x for x in points[i]), i)):
        if not any(all(a >= b for a, b in zip(points[j], points[i], strict=True)) for j in members):
            members.append(i)
    return sorted(members)


def nearest_to_ideal(points: Sequence[Sequence[float]]) -> int | None:
    """Index of the non-dominated point that is the least far from being the best in everything.

    Scales each coordinate of the non-dominated points to [0, 1], and takes the point with the least Euclidean distance
    to (1, ..., 1), which is there only if one point is the best in every objective; of equally near ones the first.

    Returns:
        An index into `points`, or None when no point has finite coordinates.

    References:
        Zeleny (1973), "Compromise programming", in Multiple Criteria Decision Making: the compromise solution for p = 2.
    """
    members = non_dominated(points)
    if not members:
        return None
    columns = list(zip(*(points[i] for i in members), strict=True))
    low, high = [min(column) for column in columns], [max(column) for column in columns]

    def distance(i: int) -> float:
        gaps = [(b - x) / (b - a) for x, a, b in zip(points[i], low, high, strict=True) if b > a]
        return round(math.hypot(*gaps), 12)  # equally near but for rounding: the first

    return min(members, key=lambda i: (distance(i), i))
