from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.nouns import Configuration, Module, Trial, TrialKind, TrialStatus
from autopeft.optimize.halving import ETA, Point, continues, goes_on, rungs

# Coarse, so that equal scores and equal costs occur, as accuracies and sizes do.
points = st.tuples(st.integers(0, 12).map(lambda n: n / 12), st.integers(0, 40).map(lambda n: n * 96))
unhurried = settings(deadline=None, max_examples=60)  # the machine may be busy
at_a_rung = st.lists(points, max_size=40)


def dominated(point: Point, others: list[Point]) -> bool:
    return any(o[0] >= point[0] and o[1] <= point[1] and o != point for o in others)


def survivors(found: list[Point]) -> list[bool]:
    return [continues(p, [*found[:i], *found[i + 1 :]]) for i, p in enumerate(found)]


@unhurried
@given(points, at_a_rung)
def test_what_nothing_dominates_goes_on(point: Point, others: list[Point]) -> None:
    assert dominated(point, others) or continues(point, others)


@unhurried
@given(points, at_a_rung, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(point: Point, others: list[Point], rng: object) -> None:
    shuffled = list(others)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert continues(point, others) == continues(point, shuffled)


@unhurried
@given(st.lists(points, min_size=4, max_size=40), st.integers(2, 4))
def test_about_one_in_eta_goes_on_beside_the_front(found: list[Point], eta: int) -> None:
    alive = [
        p
        for i, p in enumerate(found)
        if continues(p, [*found[:i], *found[i + 1 :]], eta) and dominated(p, found)
    ]
    assert len(alive) <= len(found) // eta


@unhurried
@given(st.lists(points, min_size=1, max_size=30), st.sampled_from([2, 3, 10, 1_000]))
def test_the_unit_of_cost_does_not_matter(found: list[Point], unit: int) -> None:
    there = [(score, cost + 96) for score, cost in found]  # a cost of 0 has no logarithm, and counts as one
    assert survivors(there) == survivors([(score, cost * unit) for score, cost in there])


@unhurried
@given(st.lists(points, min_size=1, max_size=30))
def test_only_the_order_of_scores_matters(found: list[Point]) -> None:
    assert survivors(found) == survivors([(3 * score - 7, cost) for score, cost in found])


@unhurried
@given(at_a_rung, points)
def test_a_better_score_is_never_worse(others: list[Point], point: Point) -> None:
    if continues(point, others):
        best = max((score for score, _ in others), default=0.0)
        assert continues((max(best, point[0]) + 1, point[1]), others)


def test_few_others_say_nothing() -> None:
    assert continues((0.1, 900), [(0.9, 100), (0.8, 100)])
    assert not continues((0.1, 900), [(0.9, 100), (0.8, 100), (0.7, 100)])


def test_small_ones_are_not_stopped_for_being_small_nor_large_ones_for_being_large() -> None:
    """Two clusters of equal merit, one with higher scores: about as many go on in both."""
    small = [(0.50 + 0.01 * (7 * i % 15), 100 + 7 * i) for i in range(15)]
    large = [(0.80 + 0.01 * (7 * i % 15), 50_000 + 3_500 * i) for i in range(15)]
    alive = survivors(small + large)
    assert abs(sum(alive[:15]) - sum(alive[15:])) <= 3


def test_large_ones_below_all_small_ones_are_judged_among_themselves() -> None:
    """Large modules that learn slowly: all are dominated by the small ones, and yet the best of them go on."""
    scores = [0.05 * (5 * i % 12) / 12 for i in range(12)]
    small = [(0.8 + score, 100 + i) for i, score in enumerate(scores)]
    large = [(0.6 + score, 90_000 + 100 * i) for i, score in enumerate(scores)]
    alive = survivors(small + large)
    assert sum(alive[12:]) >= 2
    assert not all(alive[12:])
    assert [alive[12 + i] for i in (5, 10)] == [False, False]  # the worst among the large


def test_rungs_count_from_the_end() -> None:
    assert rungs(0) == rungs(1) == ()
    assert rungs(3) == rungs(4) == (1,)
    assert rungs(6) == (1, 2)
    assert rungs(81) == (1, 3, 9, 27)
    for epochs in range(2, 200):
        found = rungs(epochs)
        assert found[0] == 1
        assert list(found) == sorted(set(found))
        assert found[-1] <= epochs / 2


def trial(
    number: int, scores: dict[int, float], cost: int = 100, kind: TrialKind = TrialKind.SEARCH
) -> Trial:
    module = Module("lora", number + 1, (0,), (("sites", ("q",)),))
    return Trial(
        number, number, kind, Configuration.of([module], 1e-3), cost, 0, TrialStatus.RUNNING, scores=scores
    )


def test_only_points_of_the_search_are_stopped_and_only_at_rungs() -> None:
    others = [trial(n, {1: 0.9, 2: 0.9}) for n in range(9)]
    weak = trial(9, {1: 0.1})
    assert not goes_on(weak, 1, [*others, weak], (1,))
    assert goes_on(weak, 1, others, ())
    assert goes_on(trial(9, {1: 0.1, 2: 0.1}), 2, others, (1,))
    for kind in TrialKind:
        assert goes_on(trial(9, {1: 0.1}, kind=kind), 1, others, (1,)) == (kind is not TrialKind.SEARCH)
    assert goes_on(trial(9, {}), 1, others, (1,))  # a score that was no number


def test_baselines_stop_nobody() -> None:
    heads = [trial(n, {1: 0.9}, kind=TrialKind.HEAD_ONLY) for n in range(9)]
    assert goes_on(trial(9, {1: 0.1}), 1, heads, (1,))


def test_what_has_come_further_before_is_not_asked_again() -> None:
    others = [trial(n, {1: 0.9}) for n in range(9)]
    assert goes_on(trial(9, {1: 0.1, 2: 0.2}), 1, others, (1, 3))


def test_eta_is_a_third() -> None:
    equal_cost = [(n / 30, 100) for n in range(30)]
    assert sum(survivors(equal_cost)) == 30 // ETA
    assert survivors(equal_cost)[-10:] == [True] * 10


def test_what_is_behind_by_less_than_its_end_may_differ_goes_on() -> None:
    """Trainings that were equal at the first rung and have ended 0.1 apart: 0.05 at that rung says nothing."""

    def complete(number: int, end: float) -> Trial:
        return replace(trial(number, {1: 0.6, 2: end}), status=TrialStatus.COMPLETE)

    apart = [complete(n, 0.6 + 0.1 * (-1) ** n) for n in range(12)]
    alike = [complete(n, 0.6) for n in range(12)]
    near, far = trial(20, {1: 0.55}), trial(21, {1: 0.2})
    assert goes_on(near, 1, apart, (1,))
    assert not goes_on(near, 1, alike, (1,))
    assert not goes_on(far, 1, apart, (1,))
