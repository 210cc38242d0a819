import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.pareto import (
    REFERENCE_COST,
    cost_coordinate,
    front,
    hypervolume,
    knee,
    nearest_to_ideal,
    non_dominated,
)

# Few distinct values, so that ties and equal points come up.
scores = st.one_of(
    st.integers(0, 8).map(lambda n: n / 8), st.floats(-1, 1), st.sampled_from([math.nan, math.inf])
)
costs = st.one_of(st.integers(1, 8), st.integers(0, 10**9))
points_lists = st.lists(st.tuples(scores, costs), max_size=30)

SMALLEST, LIMIT = 10, 100_000


def dominates(a: tuple[float, int], b: tuple[float, int]) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a != b


def front_by_hand(points: list[tuple[float, int]]) -> list[int]:
    finite = [i for i in range(len(points)) if math.isfinite(points[i][0])]
    kept = [
        i
        for i in finite
        if not any(dominates(points[j], points[i]) for j in finite)
        and not any(points[j] == points[i] for j in finite if j < i)
    ]
    return sorted(kept, key=lambda i: points[i][1])


@given(points_lists)
def test_the_front_is_what_no_point_dominates(points: list[tuple[float, int]]) -> None:
    assert front(points) == front_by_hand(points)


@given(points_lists)
def test_both_score_and_cost_rise_along_the_front(points: list[tuple[float, int]]) -> None:
    members = [points[i] for i in front(points)]
    assert members == sorted(set(members), key=lambda p: p[1])
    assert [s for s, _ in members] == sorted({s for s, _ in members})


def test_the_first_of_equal_points_is_kept() -> None:
    assert front([(0.5, 7), (0.9, 7), (0.9, 7)]) == [1]


def test_a_score_that_is_not_a_number_is_never_on_the_front() -> None:
    assert front([(math.nan, 1), (math.inf, 2), (-math.inf, 1)]) == []


def test_cost_coordinates_are_logarithmic_and_stay_inside() -> None:
    assert cost_coordinate(10, 10, 1000) == 0
    assert cost_coordinate(100, 10, 1000) == pytest.approx(0.5)
    assert cost_coordinate(1000, 10, 1000) == 1
    assert cost_coordinate(0, 10, 1000) == 0  # the head only
    assert cost_coordinate(5000, 10, 1000) == 1
    assert cost_coordinate(10, 10, 10) == 0
    assert cost_coordinate(1, 0, 100) == 0


def test_hypervolume_of_one_point_is_a_rectangle() -> None:
    kwargs = {"reference_score": 0.5, "smallest": 10, "limit": 1000}
    assert hypervolume([(0.75, 10)], **kwargs) == pytest.approx(0.25 * REFERENCE_COST)
    assert hypervolume([(0.75, 1000)], **kwargs) == pytest.approx(0.25 * (REFERENCE_COST - 1))
    assert hypervolume([(0.5, 10), (0.1, 10), (math.nan, 10)], **kwargs) == 0
    assert hypervolume([], **kwargs) == 0


def test_hypervolume_needs_a_finite_reference() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        hypervolume([], reference_score=math.nan, smallest=1, limit=2)


@given(points_lists, st.tuples(scores, costs))
def test_hypervolume_never_falls_with_a_further_point(
    points: list[tuple[float, int]], further: tuple[float, int]
) -> None:
    kwargs = {"reference_score": 0.25, "smallest": SMALLEST, "limit": LIMIT}
    before = hypervolume(points, **kwargs)
    assert 0 <= before <= hypervolume([*points, further], **kwargs) + 1e-12


@settings(deadline=None, max_examples=50)  # the first example imports torch
@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(SMALLEST, LIMIT)), min_size=1, max_size=20))
def test_hypervolume_agrees_with_botorch(points: list[tuple[float, int]]) -> None:
    import torch
    from botorch.utils.multi_objective.hypervolume import Hypervolume

    outcomes = torch.tensor(
        [[score, -cost_coordinate(cost, SMALLEST, LIMIT)] for score, cost in points], dtype=torch.float64
    )
    reference = torch.tensor([0.25, -REFERENCE_COST], dtype=torch.float64)
    # botorch wants the non-dominated points only.
    expected = Hypervolume(reference).compute(outcomes[front(points)])
    found = hypervolume(points, reference_score=0.25, smallest=SMALLEST, limit=LIMIT)
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_knee_of_a_front_that_flattens() -> None:
    # Ten times the parameters for +0.3, then ten times for +0.02: the bend is at 100.
    assert knee([(0.92, 1000), (0.5, 10), (0.9, 100), (0.93, 10_000), (0.2, 5000)]) == 2


def test_the_knee_of_a_small_front_is_the_best_score() -> None:
    assert knee([]) is None
    assert knee([(math.nan, 3)]) is None
    assert knee([(0.1, 9), (0.5, 3)]) == 1
    assert knee([(0.5, 3), (0.9, 30)]) == 1


def test_without_a_bend_upwards_the_knee_is_the_best_score() -> None:
    assert knee([(0.0, 1), (0.01, 10), (1.0, 100)]) == 2
    assert knee([(0.1, 1), (0.2, 10), (0.3, 100)]) == 2


def farthest_by_hand(points: list[tuple[float, int]]) -> float:
    """The greatest distance above the chord, by the formula for the distance of a point to a line."""
    members = [points[i] for i in front_by_hand(points)]
    xs = [math.log(max(cost, 1)) for _, cost in members]
    ys = [score for score, _ in members]
    xs = [(x - xs[0]) / (xs[-1] - xs[0]) for x in xs]
    ys = [(y - ys[0]) / (ys[-1] - ys[0]) for y in ys]
    return max((y - x) / math.sqrt(2) for x, y in zip(xs, ys, strict=True))


@given(points_lists)
def test_the_knee_is_the_member_farthest_above_the_chord(points: list[tuple[float, int]]) -> None:
    members = front_by_hand(points)
    chosen = knee(points)
    if len(members) <= 2:
        assert chosen == (members[-1] if members else None)
        return
    assert chosen in members
    assert chosen is not None
    low, high = points[members[0]], points[members[-1]]
    x = math.log(max(points[chosen][1], 1) / max(low[1], 1)) / math.log(high[1] / max(low[1], 1))
    y = (points[chosen][0] - low[0]) / (high[0] - low[0])
    assert (y - x) / math.sqrt(2) == pytest.approx(farthest_by_hand(points), abs=1e-9)


# -- any number of objectives ------------------------------------------------------------------------------------------

coordinates = st.one_of(
    st.integers(0, 3).map(float), st.floats(-1, 1), st.sampled_from([math.nan, -math.inf])
)
many = st.integers(1, 4).flatmap(lambda k: st.lists(st.tuples(*[coordinates] * k), max_size=20))


@given(many)
def test_of_many_objectives_too_what_no_point_dominates(points: list[tuple[float, ...]]) -> None:
    finite = [i for i, point in enumerate(points) if all(map(math.isfinite, point))]

    def beaten(i: int) -> bool:
        better = (j for j in finite if points[j] != points[i])
        return any(all(a >= b for a, b in zip(points[j], points[i], strict=True)) for j in better)

    wanted = [i for i in finite if not beaten(i) and points[i] not in [points[j] for j in finite if j < i]]
    assert non_dominated(points) == wanted


@given(points_lists)
def test_of_two_objectives_both_fronts_are_one(points: list[tuple[float, int]]) -> None:
    found = non_dominated([(score, -float(cost)) for score, cost in points])
    assert sorted(found, key=lambda i: points[i][1]) == front(points)


def test_the_nearest_to_the_ideal() -> None:
    points = [(0.0, 1.0, 1.0), (0.9, 0.6, 0.6), (1.0, 0.0, 0.0), (0.2, 0.2, 0.2)]
    assert nearest_to_ideal(points) == 1
    # It is the shape that counts, not the units.
    assert nearest_to_ideal([(a, 1_000 * b, c - 7) for a, b, c in points]) == 1
    assert nearest_to_ideal([(1.0, 2.0)]) == 0
    assert nearest_to_ideal([(0.0, 1.0), (1.0, 0.0)]) == 0  # equally near: the first
    assert nearest_to_ideal([(math.nan, 1.0)]) is None
    assert nearest_to_ideal([]) is None


@given(many)
def test_the_nearest_to_the_ideal_is_on_the_front(points: list[tuple[float, ...]]) -> None:
    members = non_dominated(points)
    found = nearest_to_ideal(points)
    assert (found in members) if members else found is None
