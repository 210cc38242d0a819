"""Scores against values worked out by hand, and their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from autopeft.errors import InputError, TrialError, UnknownNameError
from autopeft.tasks.metrics import METRICS, check_metric, compute, default_metric

LOGITS = np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 2.0]])  # predicts 0, 1, 0, 1
TARGETS = np.array([0, 1, 1, 1])


@pytest.mark.parametrize(
    ("metric", "score"),
    [
        ("accuracy", 3 / 4),
        ("f1", (2 / 3 + 4 / 5) / 2),
        ("matthews", (1 * 2 - 0 * 1) / np.sqrt(2 * 3 * 1 * 2)),
    ],
)
def test_classification(metric: str, score: float) -> None:
    assert compute(metric, LOGITS, TARGETS) == pytest.approx(score)


def test_regression() -> None:
    targets = np.array([1.0, 2.0, 3.0, 4.0])
    predictions = np.array([[1.0], [8.0], [27.0], [64.0]], dtype=np.float32)
    assert compute("spearman", predictions, targets) == pytest.approx(1.0)
    assert compute("pearson", predictions, targets) == pytest.approx(
        np.corrcoef(predictions[:, 0], targets)[0, 1]
    )


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("value", [0.0, 1e6, 0.1])
def test_constant_predictions_count_as_chance(metric: str, value: float) -> None:
    assert compute(metric, np.full((5, 1), value), np.arange(5.0)) == pytest.approx(0.0)


def test_constant_classes_are_chance_for_matthews() -> None:
    assert compute("matthews", np.tile([1.0, 0.0], (4, 1)), TARGETS) == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_diverged_predictions_fail_the_trial(value: float) -> None:
    with pytest.raises(TrialError, match="diverged"):
        compute("accuracy", np.array([[value, 1.0]]), np.array([0]))


@given(
    arrays.arrays(np.float32, (7, 1), elements=st.floats(-1e6, 1e6, width=32)),
    arrays.arrays(np.float64, 7, elements=st.floats(0, 5)),
)
def test_every_regression_score_is_finite(predictions: np.ndarray, targets: np.ndarray) -> None:
    for metric in ("pearson", "spearman"):
        assert -1.000001 <= compute(metric, predictions, targets) <= 1.000001


def test_names() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name
        assert (metric.score is None) != (metric.measure is None)
        for problem in metric.problems:
            check_metric(name, problem, ("O", "B-PER"))
    assert {default_metric("classification"), default_metric("regression")} == {"accuracy", "pearson"}
    with pytest.raises(UnknownNameError, match="Did you mean 'pearson'"):
        check_metric("person", "regression")
    with pytest.raises(InputError, match="use pearson, spearman"):
        check_metric("f1", "regression")
    with pytest.raises(UnknownNameError):
        compute("kappa", LOGITS, TARGETS)
