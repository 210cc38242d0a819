"""The points before there is a surrogate."""

import itertools
import statistics

import pytest

from autopeft.dsl import Assignment, BoundSpace
from autopeft.optimize.observation import Observation
from autopeft.optimize.start import fresh, generator, start

from . import problem
from .problem import tiny


def test_fresh_gives_what_there_is() -> None:
    bound = tiny()
    assert len(set(fresh(bound, set(), generator(0, 0), 256))) == 6


def started(bound: BoundSpace, seed: int, n: int) -> list[Assignment]:
    seen: list[Observation] = []
    for _ in range(n):
        seen.append(Observation(start(bound, seen, seed), 0.5))
    return [one.assignment for one in seen]


@pytest.mark.parametrize("seed", range(5))
def test_the_start_is_spread_over_cost_and_learning_rate(seed: int) -> None:
    """Of nine points no two rates are close, neither range has a wide gap, and one does not follow the other."""
    bound = problem.space()
    vectors = [bound.encode(a).vector for a in started(bound, seed, 9)]
    rates = sorted(v[-2] for v in vectors)
    assert all(b - a > 0.06 for a, b in itertools.pairwise(rates))
    assert max(b - a for a, b in itertools.pairwise([0.0, *rates, 1.0])) < 0.3
    costs = sorted(v[-1] for v in vectors)
    assert max(b - a for a, b in itertools.pairwise([0.0, *costs, 1.0])) < 0.5
    correlation = statistics.correlation([v[-2] for v in vectors], [v[-1] for v in vectors])
    assert abs(correlation) < 0.7


def test_the_start_is_not_at_the_ends_of_the_learning_rate() -> None:
    bound = problem.space()
    places = [bound.encode(a).vector[-2] for s in range(10) for a in started(bound, s, 8)]
    assert 0.05 < statistics.mean(p < 0.1 or p > 0.9 for p in places) < 0.35
    assert statistics.quantiles(places, n=4) == pytest.approx([0.25, 0.5, 0.75], abs=0.1)


def test_the_start_never_repeats_a_trial() -> None:
    assert len(set(started(tiny(), 0, 6))) == 6
