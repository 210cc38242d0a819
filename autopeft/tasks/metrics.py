"""Scores of predictions. Every metric is better when it is higher."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import InputError, TrialError, unknown_name
from autopeft.tasks.task import Problem


@dataclass(frozen=True)
class Metric:
    """A score of a split's predictions.

    Attributes:
        name: As on the command line and in the database.
        problem: The problem it is for.
        title: For tables.
        score: (predictions, targets), each ``(n,)``, to a number: predicted classes or predicted values.
    """

    name: str
    problem: Problem
    title: str
    score: Callable[[NDArray[Any], NDArray[Any]], float]


def _accuracy(predicted: NDArray[Any], targets: NDArray[Any]) -> float:
    return float(np.mean(predicted == targets))


def _f1(predicted: NDArray[Any], targets: NDArray[Any]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(targets, predicted, average="macro", zero_division=0.0))


def _matthews(predicted: NDArray[Any], targets: NDArray[Any]) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, predicted))


def _pearson(predicted: NDArray[Any], targets: NDArray[Any]) -> float:
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        return float(stats.pearsonr(predicted, targets).statistic)


def _spearman(predicted: NDArray[Any], targets: NDArray[Any]) -> float:
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(stats.spearmanr(predicted, targets).statistic)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "classification", "Accuracy", _accuracy),
        Metric("f1", "classification", "F1 (macro)", _f1),
        Metric("matthews", "classification", "Matthews correlation", _matthews),
        Metric("pearson", "regression", "Pearson correlation", _pearson),
        Metric("spearman", "regression", "Spearman correlation", _spearman),
    )
}


def default_metric(problem: Problem) -> str:
    """The metric that is used when none is named: accuracy, or Pearson's correlation."""
    return "accuracy" if problem == "classification" else "pearson"


def check_metric(name: str, problem: Problem) -> None:
    """Refuse a metric that is not known, or not for this problem.

    Raises:
        UnknownNameError: No metric has this name.
        InputError: It is for the other problem.
    """
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    if METRICS[name].problem != problem:
        fitting = ", ".join(m.name for m in METRICS.values() if m.problem == problem)
        raise InputError(
            f"the metric '{name}' is for {METRICS[name].problem}, but this is a {problem}: use {fitting}."
        )


def compute(metric: str, predictions: NDArray[Any], targets: NDArray[Any]) -> float:
    """Score what a task head put out.

    A correlation of constant predictions is not defined; it counts as 0.0, no better than chance.

    Args:
        metric: A name of `METRICS`.
        predictions: ``(n, classes)`` logits, or ``(n, 1)`` values for a regression.
        targets: ``(n,)`` class indices or values.

    Raises:
        UnknownNameError: No metric has this name.
        TrialError: A prediction is not finite: the training has diverged.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    if not np.isfinite(predictions).all():
        raise TrialError("the model's predictions are not finite: the training has diverged.")
    if METRICS[metric].problem == "classification":
        score = METRICS[metric].score(predictions.argmax(axis=1), targets)
    else:
        score = METRICS[metric].score(predictions[:, 0].astype(np.float64), targets)
    return score if np.isfinite(score) else 0.0
