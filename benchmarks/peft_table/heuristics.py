"""LoRA on query and value, trained as the table's configurations are: what a search has to be better than.

    python benchmarks/peft_table/heuristics.py       # 48 trainings, two minutes on one core

Ranks 1, 2, 4 and 8, in every layer with alpha twice the rank, at six learning rates and with the table's two first seeds;
the same examples and epochs. Writes heuristics.json; `peers.heuristics.lora_front` picks each rank's best learning rate.
"""

import datetime
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch
from make import HERE, TABLES, prepare

from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Module

NAME = "images"
RANKS = (1, 2, 4, 8)
# The range of the product's default space, even on its log scale: an untuned baseline is no baseline.
RATES = (1e-4, 4e-4, 1.6e-3, 6.3e-3, 2.5e-2, 1e-1)
RESULTS = HERE / "heuristics.json"


def lora(rank: int, rate: float, layers: int) -> Configuration:
    """LoRA on query and value in every layer."""
    options = (("alpha", 2.0 * rank), ("sites", ("q", "v")))
    return Configuration.of([Module("lora", rank, tuple(range(layers)), options)], rate)


def main(path: Path = RESULTS) -> None:
    bench, space = prepare(NAME)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for rank, rate in itertools.product(RANKS, RATES):
        configuration = lora(rank, rate, len(space.shape.layers))
        seeds: dict[str, dict[str, list[float]]] = {}
        for seed in TABLES[NAME].seeds:
            began = time.process_time()
            curve: dict[str, list[float]] = {"validation": [], "test": [], "seconds": []}
            for report in bench.trial(configuration, seed, None, whole_rungs=True):
                curve["validation"].append(report.values["score"])
                curve["test"].append(report.values["test_score"])
                curve["seconds"].append(round(time.process_time() - began, 3))
            seeds[str(seed)] = curve
        rows.append(
            {
                "rank": rank,
                "learning_rate": rate,
                "configuration": configuration.to_json(),
                "trainable": trainable_parameters(configuration, space.shape),
                "seeds": seeds,
            }
        )
        print(rank, rate, [curve["validation"][-1] for curve in seeds.values()], flush=True)
    record = {
        "command": "python benchmarks/peft_table/heuristics.py",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "configurations": rows,
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
