"""Values, places, numbers and neighbours of single decisions."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.dsl.decisions import Interval, Levels, Needs

SIZES = Levels("size", (0, 1, 4, 16), default=1)
WORDS = Levels("init", ("default", "pissa", "olora"), ordered=False, default="default")
SWITCH = Levels("layers.0", (False, True), default=False)
LONG = Levels("tokens", tuple(range(1, 101)), default=1)
RATE = Interval("rate", 1e-4, 1e-1, log=True)
COUNT = Interval("count", 1, 5000, log=True, whole=True)


@pytest.mark.parametrize("levels", [SIZES, WORDS, SWITCH, LONG])
def test_every_value_is_encoded_and_read_back(levels: Levels) -> None:
    for value in levels.values:
        numbers = levels.encode(value)
        assert len(numbers) == levels.width
        assert all(0 <= n <= 1 for n in numbers)
        assert levels.decode(numbers) == value


def test_words_have_no_order() -> None:
    assert (SIZES.width, SWITCH.width, WORDS.width) == (1, 1, 3)
    assert WORDS.encode("pissa") == [0.0, 1.0, 0.0]
    assert SIZES.encode(4) == [2 / 3]


def test_a_log_scale_of_whole_numbers() -> None:
    levels = Levels("n", (1, 2, 4, 8), log=True, default=1)
    assert levels.places == (0.0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0)


@given(st.floats(0, 1))
def test_an_interval_is_read_back_to_three_digits(place: float) -> None:
    for interval in (RATE, COUNT):
        value = interval.at(place)
        assert interval.holds(value)
        assert interval.decode(interval.encode(value)) == value


def test_three_digits_may_lie_just_outside() -> None:
    interval = Interval("rate", 1.2345e-4, 0.0299)
    assert interval.at(0.0) == 1.23e-4
    assert interval.holds(1.23e-4)
    assert not interval.holds(1.2e-4)
    assert not COUNT.holds(0)
    assert not RATE.holds(True)


def test_neighbours_are_near_and_far_but_never_the_value_itself() -> None:
    assert SIZES.neighbours(4) == [0, 1, 16]
    near = LONG.neighbours(50)
    assert {49, 51, 20, 80} <= set(near)
    assert 50 not in near
    assert len(near) < 20
    assert all(RATE.holds(v) and v != 1e-2 for v in RATE.neighbours(1e-2))
    assert Interval("fixed", 2.0, 2.0).neighbours(2.0) == []


def test_weights_decide_how_often_a_value_is_drawn() -> None:
    levels = Levels("n", (1, 2), weights=(9.0, 1.0), default=1)
    rng = random.Random(0)
    drawn = [levels.draw(rng) for _ in range(2000)]
    assert 0.87 < drawn.count(1) / 2000 < 0.93


@pytest.mark.parametrize(
    ("needs", "passing"),
    [
        (Needs(0, "in", (1, 4)), {1, 4}),
        (Needs(0, "!=", (0,)), {1, 4, 16}),
        (Needs(0, "<", (4,)), {0, 1}),
        (Needs(0, "<=", (4,)), {0, 1, 4}),
        (Needs(0, ">", (4,)), {16}),
        (Needs(0, ">=", (4,)), {4, 16}),
    ],
)
def test_conditions(needs: Needs, passing: set[int]) -> None:
    assert {v for v in SIZES.values if needs.holds(v)} == passing
