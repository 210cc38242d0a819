"""How well a surrogate of the table of text knows configurations that were not trained: cross-validation.

    python benchmarks/text_surrogate.py           # ten folds, under a minute; writes results/text_surrogate.json
    python benchmarks/text_surrogate.py --table   # the results as markdown

A table of a sample of a large space can stand in for all of it, as far as a surrogate that was fitted to it is right. This
one is the product's own Gaussian process (`autopeft.optimize.surrogate`), fitted to all trainings of nine tenths of the
configurations and asked for the mean score of the others. Beside it what it is to be held against: always saying the mean,
a straight line in the log of the cost, and how far trainings of one configuration with other seeds are from each other. Beside
it also the same process without each term of its kernel, and all of them once more from one tenth for the other nine: a search
knows about as many trials as that.
"""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from peers.ours import WITHOUT
from peft_table.table import Entry, load_text
from scipy.stats import spearmanr

from autopeft.dsl import BoundSpace
from autopeft.optimize.features import features_of
from autopeft.optimize.observation import Observation
from autopeft.optimize.surrogate import fit_surrogate

RESULTS = Path(__file__).parent / "results" / "text_surrogate.json"
FOLDS = 10

Predictor = Callable[[BoundSpace, Sequence[Entry], Sequence[Entry]], list[float]]
"""(space, what is known, what is asked) to what is thought of the scores of the latter."""


def by_surrogate(space: BoundSpace, known: Sequence[Entry], asked: Sequence[Entry]) -> list[float]:
    """Posterior means."""
    seen = [
        Observation(space.assignment(entry.configuration), curve.validation[-1])
        for entry in known
        for curve in entry.curves.values()
    ]
    surrogate = fit_surrogate(features_of(space), seen)
    points = [space.assignment(entry.configuration) for entry in asked]
    with torch.no_grad():
        means: list[float] = surrogate.mean(surrogate.numbers(points)).tolist()
    return means


def by_cost(space: BoundSpace, known: Sequence[Entry], asked: Sequence[Entry]) -> list[float]:
    """A straight line in the log of the cost."""
    slope, intercept = np.polyfit(np.log([e.trainable for e in known]), [e.truth for e in known], 1)
    return [float(slope * np.log(e.trainable) + intercept) for e in asked]


def by_mean(space: BoundSpace, known: Sequence[Entry], asked: Sequence[Entry]) -> list[float]:
    """Always the mean."""
    mean = statistics.fmean(e.truth for e in known)
    return [mean for _ in asked]


def without(term: str) -> Predictor:
    """The surrogate without a term of its kernel, a key of `peers.ours.WITHOUT`."""
    holder, name, value = WITHOUT[term]

    def predict(space: BoundSpace, known: Sequence[Entry], asked: Sequence[Entry]) -> list[float]:
        with patch.object(holder, name, value):
            return by_surrogate(space, known, asked)

    return predict


PREDICTORS: Mapping[str, Predictor] = {
    "surrogate": by_surrogate,
    "without the terms of single decisions": without("alone"),
    "without the term of all together": without("together"),
    "without the trends": without("trend"),
    "layers not in a row": without("rows"),
    "cost alone": by_cost,
    "mean": by_mean,
}


def cross_validated(
    space: BoundSpace, entries: Sequence[Entry], predict: Predictor
) -> dict[str, float | None]:
    """Root mean square error, share of the variance that is explained, and rank correlation, over held-out tenths.

    With `rmse_from_a_tenth`, where a tenth is known and the others are asked: the root of the mean over all ten tenths.
    """
    order = list(range(len(entries)))
    random.Random(0).shuffle(order)
    truth = np.array([entry.truth for entry in entries])
    found, errors = np.zeros(len(entries)), []
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        others = sorted(set(order) - set(held))
        found[held] = predict(space, [entries[i] for i in others], [entries[i] for i in held])
        from_few = predict(space, [entries[i] for i in held], [entries[i] for i in others])
        errors.append(np.mean((np.array(from_few) - truth[others]) ** 2))
    ranks = float(spearmanr(found, truth).statistic) if len(set(found)) > FOLDS else None
    return {
        "rmse": round(float(np.sqrt(np.mean((found - truth) ** 2))), 4),
        "explained": round(float(1 - np.mean((found - truth) ** 2) / truth.var()), 3),
        "spearman": None if ranks is None else round(ranks, 3),
        "rmse_from_a_tenth": round(float(np.sqrt(np.mean(errors))), 4),
    }


def seed_deviation(entries: Sequence[Entry]) -> float:
    """Standard deviation of one configuration's last score over seeds, pooled over those with several."""
    variances = [
        statistics.variance([curve.validation[-1] for curve in entry.curves.values()])
        for entry in entries
        if len(entry.curves) > 1
    ]
    return statistics.fmean(variances) ** 0.5


def markdown(record: Mapping[str, Any]) -> str:
    """The record as docs/results.md has it."""
    lines = [
        "| prediction by | error (RMSE) | variance explained | rank correlation | error from a tenth |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in record["predictors"].items():
        ranks = "" if row["spearman"] is None else f"{row['spearman']:.2f}"
        lines.append(
            f"| {name} | {row['rmse']:.4f} | {row['explained']:.0%} | {ranks} | {row['rmse_from_a_tenth']:.4f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="only print the results that are there")
    if parser.parse_args().table:
        print(markdown(json.loads(RESULTS.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    space, by_key = load_text()
    entries = sorted(by_key.values(), key=lambda entry: entry.configuration.key)
    record = {
        "configurations": len(entries),
        "trainings": sum(len(entry.curves) for entry in entries),
        "folds": FOLDS,
        "deviation_over_configurations": round(statistics.stdev(e.truth for e in entries), 4),
        "deviation_over_seeds": round(seed_deviation(entries), 4),
        "predictors": {
            name: cross_validated(space, entries, predict) for name, predict in PREDICTORS.items()
        },
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("autopeft", "torch", "scipy")},
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(markdown(record))


if __name__ == "__main__":
    main()
