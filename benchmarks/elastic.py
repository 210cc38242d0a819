"""How well a super-adapter ranks configurations that it was never trained for.

    python benchmarks/elastic.py                         # about two minutes on a quiet core
    python benchmarks/elastic.py --table                 # the results as markdown

Every ranking is held against the table of real trainings (`peft_table/images.parquet`): Spearman's correlation with the
mean last validation score of all training seeds but 0, plain and given the cost, which means after a cubic spline in the
log of trainable parameters is taken out of both. The cost alone ranks well, and a search knows it anyway. Beside the two
rankings of `autopeft.train.elastic`, and the gradients weighed by kind of module as a search begins with them: the cost, and
what a real training of every configuration (seed 0) has after each epoch, the last of which is as good as a ranking can
be. Seconds are counted in units of one full training on the same machine, loaded backbone and data left out as a warm
worker has them. Writes benchmarks/results/elastic.json.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from peft_table.make import prepare
from peft_table.table import Entry, load_images
from scipy.stats import spearmanr

from autopeft.dsl import BoundSpace
from autopeft.nouns import Configuration
from autopeft.optimize.probed import believe_gradients
from autopeft.train import Workbench
from autopeft.train.elastic import Ranking, elastic_scores, gradient_scores

RESULTS = Path(__file__).parent / "results" / "elastic.json"
SEEDS = (0, 1, 2)


def without_cost(costs: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """What a cubic spline in the log of the cost, with four knots, leaves of some values."""
    x = np.log(costs)
    x = (x - x.mean()) / x.std()
    knots = np.quantile(x, [0.2, 0.4, 0.6, 0.8])
    columns = [x**power for power in range(4)] + [np.maximum(x - knot, 0) ** 3 for knot in knots]
    basis, y = np.column_stack(columns), np.asarray(values, dtype=float)
    return y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]


def correlations(entries: Sequence[Entry], values: Sequence[float]) -> dict[str, float]:
    """Spearman's, with the mean last score of the seeds but 0."""
    targets = [
        statistics.fmean(curve.validation[-1] for seed, curve in entry.curves.items() if seed)
        for entry in entries
    ]
    costs = [entry.trainable for entry in entries]
    given = spearmanr(without_cost(costs, values), without_cost(costs, targets))
    return {
        "configurations": len(entries),
        "plain": round(float(spearmanr(values, targets).statistic), 3),
        "given_cost": round(float(given.statistic), 3),
    }


def held_against(entries: Mapping[str, Entry], space: BoundSpace, ranking: Ranking) -> dict[str, float]:
    """The correlations of one ranking, with the configurations that it has."""
    scores = {space.configuration(point).key: score for point, score in ranking.scores}
    known = [entries[key] for key in scores if key in entries]
    return correlations(known, [scores[entry.configuration.key] for entry in known])


def training_seconds(bench: Workbench, entries: Sequence[Entry]) -> float:
    """Median of full trainings, as a search makes them."""
    chosen = [entries[i * len(entries) // 5].configuration for i in range(5)]
    return statistics.median(seconds(bench, one) for one in chosen)


def seconds(bench: Workbench, configuration: Configuration) -> float:
    began = time.process_time()
    for _ in bench.trial(configuration, 0, None):
        pass
    return time.process_time() - began


def measure(bench: Workbench, space: BoundSpace, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """All rankings. Entries without a second seed are left out."""
    entries = {key: entry for key, entry in entries.items() if 0 in entry.curves and len(entry.curves) > 1}
    every = sorted(entries.values(), key=lambda entry: entry.trainable)
    unit = training_seconds(bench, every)
    found: dict[str, Any] = {
        "cost": {**correlations(every, [float(e.trainable) for e in every]), "trainings": 0}
    }
    epochs = len(every[0].curves[0].validation)
    for epoch in range(epochs):
        values = [entry.curves[0].validation[epoch] for entry in every]
        trainings = round(len(every) * (epoch + 1) / epochs)
        found[f"real_epoch_{epoch + 1}"] = {**correlations(every, values), "trainings": trainings}
    runs: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS:
        for name, rank in (("gradient", gradient_scores), ("elastic", elastic_scores)):
            began = time.process_time()
            ranking = rank(bench, space, seed)
            trainings = round((time.process_time() - began) / unit, 2)
            one = {**held_against(entries, space, ranking), "trainings": trainings}
            runs.setdefault(name, []).append(one)
            if ranking.gradients is not None:
                beliefs = believe_gradients(space, ranking.gradients)
                points = [space.assignment(entry.configuration) for entry in every]
                told = sum(belief(points) for belief in beliefs).tolist()
                runs.setdefault("gradient_by_kind", []).append(
                    {**correlations(every, told), "trainings": trainings}
                )
            print(seed, name, one, flush=True)
    for name, of_seeds in runs.items():
        found[name] = {
            **{key: round(statistics.fmean(run[key] for run in of_seeds), 3) for key in of_seeds[0]},
            "of_each_seed": of_seeds,
        }
    return {"seconds_of_a_training": round(unit, 2), "rankings": found}


def table(record: Mapping[str, Any]) -> str:
    """The record as markdown."""
    lines = [
        "| ranking | correlation | given the cost | costs as much as so many trainings |",
        "| --- " * 4 + "|",
    ]
    for name, row in record["rankings"].items():
        lines.append(f"| {name} | {row['plain']:.2f} | {row['given_cost']:.2f} | {row['trainings']:g} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="print the committed results as markdown")
    if parser.parse_args().table:
        print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))
        return
    bench, space = prepare("images")
    known = load_images()
    record = {
        **measure(bench, space, known.entries),
        "table": known.digest,
        "machine": f"{platform.machine()}, one core",
        "versions": {name: version(name) for name in ("autopeft", "torch", "scipy")},
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(table(record))


if __name__ == "__main__":
    sys.exit(main())
