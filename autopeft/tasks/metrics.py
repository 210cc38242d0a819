"""What predictions are measured by."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import InputError, TrialError, unknown_name
from autopeft.nouns import Problem
from autopeft.tasks.direction import direction
from autopeft.tasks.seq2seq import bleu, chrf
from autopeft.tasks.sequences import Batches, Known, Measure, mean_token_loss, perplexity
from autopeft.tasks.token_classification import entity_f1, names_entities, token_accuracy


@dataclass(frozen=True)
class Metric:
    """A number that says how good a split's predictions are.

    Attributes:
        name: As on the command line and in the database.
        problems: The problems it is for.
        title: For tables.
        score: Of a class or a value of each example: (predictions, targets), each ``(n,)``, to a number.
        measure: Of a number for each token: from the model itself.
    """

    name: str
    problems: tuple[Problem, ...]
    title: str
    score: Callable[[NDArray[Any], NDArray[Any]], float] | None = None
    measure: Measure | None = None

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Which way is better."""
        return direction(self.name)


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
        Metric("accuracy", ("classification",), "Accuracy", _accuracy),
        Metric("f1", ("classification",), "F1 (macro)", _f1),
        Metric("matthews", ("classification",), "Matthews correlation", _matthews),
        Metric("pearson", ("regression",), "Pearson correlation", _pearson),
        Metric("spearman", ("regression",), "Spearman correlation", _spearman),
        Metric("loss", ("causal-lm", "seq2seq"), "Loss (nats a token)", measure=mean_token_loss),
        Metric("perplexity", ("causal-lm", "seq2seq"), "Perplexity", measure=perplexity),
        Metric("entity_f1", ("token-classification",), "Entity F1", measure=entity_f1),
        Metric("token_accuracy", ("token-classification",), "Accuracy of words", measure=token_accuracy),
        Metric("bleu", ("seq2seq",), "BLEU", measure=bleu),
        Metric("chrf", ("seq2seq",), "chrF", measure=chrf),
    )
}

_DEFAULTS: dict[Problem, str] = {
    "classification": "accuracy",
    "regression": "pearson",
    "causal-lm": "loss",
    "seq2seq": "loss",
}


def default_metric(problem: Problem, labels: Sequence[str] = ()) -> str:
    """The metric that is used when none is named; for tags it is that of entities, if the tags name entities."""
    if problem == "token-classification":
        return "entity_f1" if names_entities(labels) else "token_accuracy"
    return _DEFAULTS[problem]


def check_metric(name: str, problem: Problem, labels: Sequence[str] = ()) -> None:
    """Refuse a metric that is not known, or not for this problem or these labels.

    Raises:
        UnknownNameError: No metric has this name.
        InputError: It is for another problem, or for tags that name entities, which these do not.
    """
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    if problem not in METRICS[name].problems:
        fitting = ", ".join(m.name for m in METRICS.values() if problem in m.problems)
        raise InputError(
            f"the metric '{name}' is for {' and '.join(METRICS[name].problems)}, but this is {problem}: use {fitting}."
        )
    if name == "entity_f1" and not names_entities(labels):
        raise InputError(
            f"the metric 'entity_f1' is for tags such as B-PER, I-PER and O, but these are {', '.join(labels[:5])}: "
            "use token_accuracy."
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
    found = METRICS[metric]
    if found.score is None:
        raise ValueError(f"the metric '{metric}' is not one of predictions for whole examples")
    of_classes = "classification" in found.problems
    predicted = predictions.argmax(axis=1) if of_classes else predictions[:, 0].astype(np.float64)
    score = found.score(predicted, targets)
    return score if np.isfinite(score) else 0.0


def measured(measure: Measure, model: Any, batches: Batches, known: Known) -> float:
    """Score a model by a metric of token by token.

    Raises:
        TrialError: The number is not finite: the training has diverged.
    """
    try:
        value = measure(model, batches, known)
    except FloatingPointError:
        value = float("nan")
    if not np.isfinite(value):
        raise TrialError("the model's predictions are not finite: the training has diverged.")
    return value
