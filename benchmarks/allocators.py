"""Allocators at equal cost: who deals a budget of LoRA out best, on the starter and on MiniLM with real text.

    python benchmarks/allocators.py                                               # the starter, five seeds, about ten minutes
    python benchmarks/allocators.py --minilm FOLDER --data sst2/train.tsv --merge
    python benchmarks/allocators.py --table                                       # the results as markdown

Every row is trained from one configuration, LoRA of one rank at four sites of every layer: with no allocator (uniform), and with each
allocator at its defaults, so that all have at most the same trainable parameters, and the same epochs, rate and seeds. `random` deals the
same cost out by chance, and `rst` trains layers by chance: a method is to be held against its control. An allocator's seconds are told by
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
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from scipy.stats import wilcoxon

from autopeft.dsl import ALLOCATORS, trainable_parameters
from autopeft.nouns import Configuration, Module
from autopeft.registry import find_objective
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench

RESULTS = Path(__file__).parent / "results" / "allocators.json"
SITES = ("q", "v", "up", "down")
RANK = 2
RATE = 5e-3
CONTROLS = {"ist": "rst"}
"""What each is held against, if not `random` and `uniform`."""
_EXAMPLES = {"train": 1_024, "validation": 512}  # of text: the first ones
PACKAGES = ("autopeft", "torch", "transformers", "peft")


def prepare(model: str | None, data: str | None) -> Workbench:
    """A worker of the benchmark."""
    torch.set_num_threads(1)
    task = resolve_task(data or "starter", max_length=64)
    bench = Workbench.prepare(model or "starter", {}, task.settings, Training(epochs=3))
    if data is not None:
        for split, most in _EXAMPLES.items():
            whole = bench.data[split]
            fields = {f.name: getattr(whole, f.name)[:most] for f in dataclasses.fields(whole)}  # type: ignore[arg-type]
            bench.data[split] = dataclasses.replace(whole, **fields)  # type: ignore[type-var]
    return bench


def configuration(bench: Workbench, kind: str) -> Configuration:
    """LoRA at every layer, dealt out by an allocator."""
    layers = tuple(range(len(bench.backbone.layout.layers)))
    lora = Module("lora", RANK, layers, (("alpha", 2 * RANK), ("sites", SITES)))
    return Configuration.of([lora], RATE, None, {"type": kind} if kind != "uniform" else None)


def measure(bench: Workbench, backbone: str, kinds: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    """A row for each allocator."""
    memory = find_objective("memory")
    rows = []
    for kind in kinds:
        chosen = configuration(bench, kind)
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
        rows.append(
            {
                "backbone": backbone,
                "allocator": kind,
                "score": round(statistics.fmean(scores), 4),
                "standard_error": round(statistics.stdev(scores) / seeds**0.5, 4),
                "scores": [round(score, 4) for score in scores],
                **{
                    name: round(statistics.fmean(run[name] for run in runs), 2)
                    for name in ("trainable", "memory_bytes", "allocator_seconds", "seconds")
                },
            }
        )
        print(f"{backbone}, {kind}: {rows[-1]['score']:.4f} ± {rows[-1]['standard_error']:.4f}", flush=True)
    return rows


def against(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any], control: str) -> str:
    """How much better than a control, by pairs of seeds, with the p-value of Wilcoxon's signed-rank test."""
    there = {(one["backbone"], one["allocator"]): one["scores"] for one in rows}
    theirs = there.get((row["backbone"], control))
    if theirs is None or control == row["allocator"]:
        return ""
    differences = [a - b for a, b in zip(row["scores"], theirs, strict=True)]
    p = wilcoxon(differences).pvalue if any(differences) else 1.0
    return f"{statistics.fmean(differences):+.4f} (p = {p:.2g})"


def markdown(results: Mapping[str, Any]) -> str:
    """The results as docs/results.md has them."""
    lines = [
        "| backbone | allocator | score | than uniform | than its control | parameters | memory | its seconds, of the trial's |",
        "| --- " * 8 + "|",
    ]
    rows = results["rows"]
    for row in rows:
        control = CONTROLS.get(row["allocator"], "random")
        lines.append(
            f"| {row['backbone']} | {row['allocator']} | {row['score']:.4f} ± {row['standard_error']:.4f} | "
            f"{against(rows, row, 'uniform')} | "
            f"{against(rows, row, control) if row['allocator'] not in ('uniform', 'random', 'rst') else ''} | "
            f"{row['trainable']:,.0f} | {row['memory_bytes'] / 2**20:.1f} MiB | "
            f"{row['allocator_seconds']:.1f} of {row['seconds']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minilm", help="folder of MiniLM; then the rows of text are measured")
    parser.add_argument("--data", help="training file of text, with a validation file beside it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--allocators", nargs="+", choices=ALLOCATORS, default=list(ALLOCATORS), metavar="NAME"
    )
    parser.add_argument(
        "--merge", action="store_true", help="keep the rows of other backbones and allocators"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the results that are there")
    args = parser.parse_args()
    if args.table:
        print(markdown(json.loads(args.results.read_text(encoding="utf-8"))))
        return
    if bool(args.minilm) != bool(args.data):
        parser.error("text needs both: --minilm FOLDER --data FILE")
    backbone = "minilm" if args.minilm else "starter"
    rows = measure(prepare(args.minilm, args.data), backbone, args.allocators, args.seeds)
    if args.merge and args.results.exists():
        new = {(row["backbone"], row["allocator"]) for row in rows}
        there = json.loads(args.results.read_text(encoding="utf-8"))["rows"]
        rows = [row for row in there if (row["backbone"], row["allocator"]) not in new] + rows
    results = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python", "benchmarks/allocators.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, one core of {os.cpu_count()}, no GPU",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "seeds": args.seeds,
        "rows": rows,
    }
    args.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(markdown(results))


if __name__ == "__main__":
    main()
