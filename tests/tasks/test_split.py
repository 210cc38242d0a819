"""Holding out: disjoint, complete, repeatable, stratified."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.errors import DataError
from autopeft.tasks.split import SMALLEST, hold_out


@given(
    targets=st.lists(st.integers(0, 5), min_size=4, max_size=60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_disjoint_complete_and_repeatable(targets: list[int], fraction: float, seed: int) -> None:
    values = np.array(targets)
    train, validation = hold_out(values, "classification", fraction, seed)
    assert sorted([*train, *validation]) == list(range(len(targets)))
    assert min(len(train), len(validation)) >= SMALLEST
    again = hold_out(values, "classification", fraction, seed)
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(validation, again[1])


@given(values=st.lists(st.floats(-1, 1), min_size=4, max_size=60), seed=st.integers(0, 100))
def test_regression(values: list[float], seed: int) -> None:
    train, validation = hold_out(np.array(values), "regression", 0.25, seed)
    assert sorted([*train, *validation]) == list(range(len(values)))


def test_stratified() -> None:
    targets = np.repeat([0, 1, 2], [100, 50, 10])
    _, validation = hold_out(targets, "classification", 0.2, 0)
    np.testing.assert_array_equal(np.bincount(targets[validation]), [20, 10, 2])


@given(
    groups=st.lists(st.integers(0, 30), min_size=40, max_size=80),
    fraction=st.floats(0.1, 0.9),
    seed=st.integers(0, 100),
)
def test_groups_stay_together(groups: list[int], fraction: float, seed: int) -> None:
    of = np.array([*groups, 0, 1, 2, 3])  # four groups at least
    kept, out = hold_out(of % 3, "classification", fraction, seed, of)
    assert sorted([*kept, *out]) == list(range(len(of)))
    assert not set(of[kept]) & set(of[out])
    names = np.unique(of)
    held_out = min(max(round(len(names) * fraction), SMALLEST), len(names) - SMALLEST)
    assert len(np.unique(of[out])) == held_out


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match="3 rows are too few"):
        hold_out(np.array([0, 1, 0]), "classification", 0.5, 0)
