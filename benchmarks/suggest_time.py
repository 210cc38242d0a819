"""How long a suggestion takes, on a space of sixty decisions, with 25, 100 and 500 observations.

    python benchmarks/suggest_time.py
    python benchmarks/suggest_time.py --methods optuna-gp --asks 3 --merge

The space: LoRA ranks for each of five sites of twelve layers, one of seven values each, and five learning rates, on the
shape of BERT-base. Observations are random points with a synthetic score, and the probe of ours is made up. Each suggestion is timed on one thread, with the
telling of the one before, which is where some searchers do their work; the first, which may compile, is not counted.
Writes benchmarks/results/suggest.json.
"""

import argparse
import datetime
import json
import math
import os
import platform
import random
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from peers import METHODS, Method
from peers.lattice import Lattice
from space_cost import bert

from autopeft.allocate.gradients import Gradients, some_sizes
from autopeft.allocate.spots import cuts
from autopeft.dsl import BoundSpace, read_space
from autopeft.nouns import Configuration
from autopeft.train.elastic import super_adapter

RESULTS = Path(__file__).parent / "results" / "suggest.json"
OBSERVATIONS = (25, 100, 500)
SPACE = """
name: ranks-60
modules:
  lora:
    type: lora
    sites: [q, k, v, o, up]
    rank: {per: [layer, site], of: {choice: [0, 1, 2, 4, 8, 16, 32]}}
training: {learning_rate: {choice: [0.0003, 0.001, 0.003, 0.01, 0.03]}}
"""


def bound_space() -> BoundSpace:
    """Without a budget that binds: which of the searchers handle one is another matter."""
    shape = bert()
    space = read_space(SPACE, "ranks-60").bind(shape, shape.parameters)
    return replace(space, limit=space.largest)


def score(space: BoundSpace, configuration: Configuration, rng: random.Random) -> float:
    """Like an accuracy: grows with the log of the cost, prefers late layers, and has noise."""
    cost = space.cost_coordinate(space.cost(space.assignment(configuration)))
    late = sum(layer for module in configuration.modules for layer in module.layers)
    places = sum(len(module.layers) for module in configuration.modules)
    return 0.6 + 0.2 * cost + 0.01 * late / max(1, places) + rng.gauss(0, 0.01)


class Begun:
    """A searcher that has been told of so many points, which it has not asked for."""

    def __init__(self, method: Method, space: BoundSpace, observations: int) -> None:
        self.space = space
        self.rng = random.Random(0)
        self.peer: Any = method.make(space, 0, observations + 100)
        for configuration in random_points(space, observations, self.rng):
            self.peer.tell(configuration, {"score": score(space, configuration, self.rng)})

    def next(self) -> float:
        """CPU seconds of one more suggestion."""
        began = time.process_time()
        (configuration,) = self.peer.ask(1)
        spent = time.process_time() - began
        values = {"score": score(self.space, configuration, self.rng)}
        began = time.process_time()
        self.peer.tell(configuration, values)
        return spent + time.process_time() - began


def on_this_space(method: Method) -> Method:
    """Ours with a probe of this space, made up; any other method as it is."""
    if not method.preparation:
        return method
    space = bound_space()
    largest = cuts(super_adapter(space), space.shape)
    squares = {
        spot: (some_sizes(cut.size), tuple((1 + spot.layer) * math.log1p(w) for w in some_sizes(cut.size)))
        for spot, cut in largest.items()
    }
    return replace(method, settings={**method.settings, "gradients": Gradients(largest, squares)})


def random_points(space: BoundSpace, n: int, rng: random.Random) -> list[Configuration]:
    """Different points, evenly over log cost."""
    lattice, found = Lattice(space), {}
    while len(found) < n:
        point = lattice.point(space.canonical(space.sample(rng, 1)[0]))
        found[point] = space.configuration(lattice.assignment(point))
    return list(found.values())


def measure(method: Method, observations: int, asks: int) -> dict[str, float]:
    """Median and 90 % of the CPU seconds of some suggestions."""
    begun = Begun(method, bound_space(), observations)
    begun.next()
    seconds = [begun.next() for _ in range(asks)]
    return {
        "median": round(float(np.median(seconds)), 4),
        "90%": round(float(np.quantile(seconds, 0.9)), 4),
        "asks": asks,
    }


def table(record: dict[str, Any]) -> str:
    """The record as docs/results.md has it."""
    lines = [
        f"| method | {' | '.join(f'{n} observations' for n in OBSERVATIONS)} |",
        "| --- " * (len(OBSERVATIONS) + 1) + "|",
    ]
    for name, found in record["seconds"].items():
        cells = [
            f"{found[str(n)]['median']:.2g} ({found[str(n)]['90%']:.2g})" if str(n) in found else ""
            for n in OBSERVATIONS
        ]
        lines.append(f"| {METHODS[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = [name for name, m in METHODS.items() if m.standard or name in ("botorch", "autopeft-paper")]
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=usual)
    parser.add_argument("--asks", type=int, default=9, help="suggestions that are timed")
    parser.add_argument("--observations", type=int, nargs="+", default=OBSERVATIONS)
    parser.add_argument("--merge", action="store_true", help="keep the methods that were measured before")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    seconds: dict[str, dict[str, Any]] = {}
    if args.merge and args.results.exists():
        seconds = json.loads(args.results.read_text(encoding="utf-8"))["seconds"]
    for name in args.methods:
        method = on_this_space(METHODS[name])
        for observations in args.observations:
            found = measure(method, observations, args.asks)
            seconds.setdefault(name, {})[str(observations)] = found
            print(name, observations, found, flush=True)
    record = {
        "unit": "CPU seconds a suggestion, one thread",
        "space": f"{len(bound_space().decisions)} decisions",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("autopeft", "botorch", "optuna", "torch")},
        "seconds": {name: seconds[name] for name in METHODS if name in seconds},
    }
    args.results.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(record))


if __name__ == "__main__":
    main()
