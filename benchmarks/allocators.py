"""Allocators at equal cost: who deals a budget out best, on the starter and on MiniLM with real text.

    python benchmarks/allocators.py                                               # the starter, five seeds
    python benchmarks/allocators.py --minilm FOLDER --data sst2/train.tsv --merge
    python benchmarks/allocators.py --table                                       # the results as markdown

The rows of one kind of module are trained from one configuration, the same size everywhere: with no allocator (uniform), and with each
allocator at its defaults, so that all have at most the same trainable parameters, and the same epochs, rate and seeds. Bottlenecks and
single entries are as large as costs no more than the LoRA. A method is to be held against its control: `random` deals the same cost out
by chance, `rst` trains layers by chance, and of other modules it is their own uniform row. An allocator's seconds are told by
themselves; memory is what one step keeps for its backward pass, with the optimiser's moments. Writes benchmarks/results/allocators.json.
"""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Module
from autopeft.registry import find_objective
from autopeft.tasks.batches import EncodedText
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench

RESULTS = Path(__file__).parent / "results" / "allocators.json"
SITES = ("q", "v", "up", "down")
RANK = 2
RATE = 5e-3


@dataclasses.dataclass(frozen=True)
class Method:
    """A row.

    Attributes:
        modules: Kind of module that there is to deal out: `lora`, `bottleneck` or `sparse`.
        allocator: What deals it out.
        control: The row that it is held against; empty for those that are held against.
    """

    modules: str
    allocator: str
    control: str = ""


METHODS = {
    "uniform": Method("lora", "uniform"),
    "random": Method("lora", "random"),
    **{
        name: Method("lora", name, "random")
        for name in (
            "spt",
            "knapsack",
            "diffora",
            "eva",
            "adalora",
            "light-peft",
            "increlora",
            "triadaptlora",
            "dylora",
        )
    },
    "rst": Method("lora", "rst"),
    "ist": Method("lora", "ist", "rst"),
    "bottleneck": Method("bottleneck", "uniform"),
    "spt-adapter": Method("bottleneck", "spt", "bottleneck"),
    "magnitude": Method("sparse", "uniform"),
    "id3": Method("sparse", "id3", "magnitude"),
    "spiel": Method("sparse", "spiel", "magnitude"),
}
_EXAMPLES = {"train": 512, "validation": 512}  # of text: the first ones
PACKAGES = ("autopeft", "torch", "transformers", "peft")


def prepare(model: str | None, data: str | None) -> Workbench:
    """A worker of the benchmark."""
    torch.set_num_threads(1)
    task = resolve_task(data or "starter", max_length=64)
    bench = Workbench.prepare(model or "starter", {}, task.settings, Training(epochs=3))
    if data is not None:
        for split, most in _EXAMPLES.items():
            whole = bench.data[split]
            assert isinstance(whole, EncodedText)
            features = {name: rows[:most] for name, rows in whole.features.items()}
            bench.data[split] = EncodedText(features, whole.labels[:most], whole.tokenizer)
    return bench


def configuration(bench: Workbench, method: Method) -> Configuration:
    """Modules of one size at every layer that cost no more than LoRA of rank 2, dealt out by an allocator."""
    shape = bench.backbone.layout.shape
    layers = tuple(range(len(shape.layers)))
    lora = Module("lora", RANK, layers, (("alpha", 2 * RANK), ("sites", SITES)))
    limit = trainable_parameters(Configuration.of([lora], RATE), shape)
    makes: dict[str, Callable[[int], Module]] = {
        "lora": lambda size: lora,
        "bottleneck": lambda size: Module(
            "bottleneck", size, layers, (("position", "serial"), ("sites", ("attention", "ffn")))
        ),
        "sparse": lambda size: Module(
            "sparse", size / 1_000, layers, (("mask", "magnitude"), ("sites", SITES))
        ),
    }
    make, size = makes[method.modules], 1
    while (
        method.modules != "lora"
        and trainable_parameters(Configuration.of([make(size + 1)], RATE), shape) <= limit
    ):
        size += 1
    allocation = {"type": method.allocator} if method.allocator != "uniform" else None
    return Configuration.of([make(size)], RATE, None, allocation)


def measure(bench: Workbench, backbone: str, names: Sequence[str], seeds: int) -> Iterator[dict[str, Any]]:
    """A row for each method."""
    memory = find_objective("memory")
    for name in names:
        chosen = configuration(bench, METHODS[name])
        runs = []
        for seed in range(seeds):
            *_, last = bench.trial(chosen, seed, None, objectives=(memory,))
            dealt = last.details.get("allocation", {})
            runs.append(
                {
                    "score": last.values["score"],
                    "trainable": dealt.get(
                        "trainable", trainable_parameters(chosen, bench.backbone.layout.shape)
                    ),
                    "memory_bytes": last.values[memory.name],
                    "allocator_seconds": dealt.get("seconds", 0.0),
                    "seconds": last.values["seconds"],
                }
            )
        scores = [run["score"] for run in runs]
        print(f"{backbone}, {name}: {statistics.fmean(scores):.4f}", flush=True)
        yield (
            {
                "backbone": backbone,
                "method": name,
                "score": round(statistics.fmean(scores), 4),
                "standard_error": round(statistics.stdev(scores) / seeds**0.5, 4),
                "scores": [round(score, 4) for score in scores],
                **{
                    figure: round(statistics.fmean(run[figure] for run in runs), 2)
                    for figure in ("trainable", "memory_bytes", "allocator_seconds", "seconds")
                },
            }
        )


def against(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any], control: str) -> str:
    """How much better than a control, by pairs of seeds: the mean difference, its standard error, and how many seeds are better."""
    there = {(one["backbone"], one["method"]): one["scores"] for one in rows}
    theirs = there.get((row["backbone"], control))
    if theirs is None or control == row["method"]:
        return ""
    differences = [a - b for a, b in zip(row["scores"], theirs, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    better = sum(difference > 0 for difference in differences)
    return f"{statistics.fmean(differences):+.3f} ± {error:.3f} ({better} of {len(differences)})"


def markdown(results: Mapping[str, Any]) -> str:
    """The results as docs/results.md has them."""
    lines = [
        "| backbone | method | score | than uniform | than its control | parameters | memory | seconds of the allocator, of the trial |",
        "| --- " * 8 + "|",
    ]
    rows = results["rows"]
    for row in rows:
        method = METHODS[row["method"]]
        lines.append(
            f"| {row['backbone']} | {row['method']} | {row['score']:.3f} ± {row['standard_error']:.3f} | "
            f"{against(rows, row, 'uniform')} | {against(rows, row, method.control)} | "
            f"{row['trainable']:,.0f} | {row['memory_bytes'] / 2**20:.1f} MiB | "
            f"{row['allocator_seconds']:.1f} of {row['seconds']:.1f} |"
        )
    return "\n".join(lines)


def record(rows: Sequence[Mapping[str, Any]], seeds: int) -> dict[str, Any]:
    """What is written: the rows, and on what they were measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python", "benchmarks/allocators.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, one core of {os.cpu_count()}, no GPU",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "seeds": seeds,
        "rows": list(rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minilm", help="folder of MiniLM; then the rows of text are measured")
    parser.add_argument("--data", help="training file of text, with a validation file beside it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--merge", action="store_true", help="keep the rows of other backbones and methods")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the results that are there")
    args = parser.parse_args()
    if args.table:
        print(markdown(json.loads(args.results.read_text(encoding="utf-8"))))
        return
    if bool(args.minilm) != bool(args.data):
        parser.error("text needs both: --minilm FOLDER --data FILE")
    backbone = "minilm" if args.minilm else "starter"
    rows = (
        json.loads(args.results.read_text(encoding="utf-8"))["rows"]
        if args.merge and args.results.exists()
        else []
    )
    for row in measure(prepare(args.minilm, args.data), backbone, args.methods, args.seeds):
        where = backbone, row["method"]
        rows = [one for one in rows if (one["backbone"], one["method"]) != where] + [row]
        order = list(METHODS)
        rows.sort(key=lambda one: (one["backbone"] != "starter", order.index(one["method"])))
        args.results.write_text(json.dumps(record(rows, args.seeds), indent=1) + "\n", encoding="utf-8")
    print(markdown({"rows": rows}))


if __name__ == "__main__":
    main()
