"""Rules, each against what it says in words."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.allocate.rules import draw, knapsack, top

options = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=4)


@given(st.lists(options, min_size=1, max_size=4), st.integers(0, 40))
def test_a_knapsack_is_the_best_that_fits(units: list[list[tuple[int, int]]], limit: int) -> None:
    values = [[value for value, _ in unit] for unit in units]
    costs = [[cost for _, cost in unit] for unit in units]
    every = itertools.product(*(range(len(unit)) for unit in units))
    fitting = [
        sum(v[i] for v, i in zip(values, chosen, strict=True))
        for chosen in every
        if sum(c[i] for c, i in zip(costs, chosen, strict=True)) <= limit
    ]
    if not fitting:
        with pytest.raises(ValueError, match="not even the cheapest"):
            knapsack(values, costs, limit)
        return
    found = knapsack(values, costs, limit)
    assert sum(c[i] for c, i in zip(costs, found, strict=True)) <= limit
    assert sum(v[i] for v, i in zip(values, found, strict=True)) == max(fitting)


@given(st.dictionaries(st.integers(), st.floats(-5, 5), max_size=8), st.integers(0, 9))
def test_top_takes_the_largest_and_of_equal_ones_the_first(scores: dict[int, float], count: int) -> None:
    found = top(scores, count)
    assert len(found) == min(count, len(scores))
    left = [score for key, score in scores.items() if key not in found]
    assert not found or not left or min(scores[key] for key in found) >= max(left)
    assert top(dict.fromkeys("abc", 1.0), 2) == ("a", "b")


def test_what_is_drawn_is_drawn_by_its_weight() -> None:
    rng = random.Random(0)
    counts = [0, 0, 0]
    for _ in range(2_000):
        (chosen,) = draw([1.0, 3.0, 0.0], 1, rng)
        counts[chosen] += 1
    assert counts[2] == 0
    assert counts[1] / 2_000 == pytest.approx(0.75, abs=0.03)


def test_what_has_no_weight_comes_last() -> None:
    rng = random.Random(0)
    assert all(0 in draw([1.0, 0.0, 0.0], 2, rng) for _ in range(50))
    assert draw([1.0, 2.0], 5, rng) == (0, 1)
    assert draw([], 3, rng) == ()
