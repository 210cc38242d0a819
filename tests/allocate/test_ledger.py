"""What allocators keep of what they see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.allocate.ledger import Smoothed


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_is_the_papers_recursion(values: list[float]) -> None:
    seen, mean, wavering = Smoothed(), 0.0, 0.0
    for value in values:
        mean = 0.85 * mean + 0.15 * value
        wavering = 0.85 * wavering + 0.15 * abs(value - mean)
        seen.add(value)
    assert seen.worth == pytest.approx(mean * wavering)
    assert seen.worth >= 0


def test_nothing_seen_is_worth_nothing() -> None:
    assert Smoothed().worth == 0
