"""Scores and values."""

import pytest

from autopeft.tasks.direction import direction, oriented
from autopeft.tasks.metrics import METRICS


@pytest.mark.parametrize("name", METRICS)
def test_there_and_back(name: str) -> None:
    assert oriented(name, oriented(name, 0.7)) == 0.7
    assert oriented(name, None) is None
    assert METRICS[name].direction == direction(name)
    assert (oriented(name, 0.7) > oriented(name, 0.8)) == (direction(name) == "minimize")


def test_losses_are_better_when_they_are_lower() -> None:
    assert [name for name in METRICS if direction(name) == "minimize"] == ["loss", "perplexity"]
