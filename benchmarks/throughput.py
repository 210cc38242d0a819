"""Trials per hour: ours against what a person writes with Ray Tune, transformers' Trainer and peft.

    python benchmarks/throughput.py                                     # the starter, about 40 minutes on a quiet machine
    python benchmarks/throughput.py --minilm FOLDER --data sst2/train.tsv --trials 8 --merge     # MiniLM's six layers on text
    python benchmarks/throughput.py --table                             # the results as markdown

The same 24 configurations of LoRA (random layers, sites, ranks and rates), data, steps, batch size and thread for every row, one
trial at a time:

    peer        Ray Tune starts a process for each trial, which loads model and data and trains with Trainer
    trainer     Trainer in one process, on one backbone that stays loaded
    solo        ours: a database, Ray Tune, a warm worker
    prefix      the same, with what the frozen first layers make of the data kept: as a search does it
    packed      the same again, four trials at once on the backbone
    bound       the matrix products of these trials alone, one after another

Every row runs in a process of its own, Ray being up before its time begins. Scores are those of the validation split at the end.
The machine is not quiet, so all rows are run one after another, and then once more: of each the faster counts. Rows are to be
compared within one run. Writes benchmarks/results/throughput.json.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from trainers.trials import Row, Setting, sample

RESULTS = Path(__file__).parent / "results" / "throughput.json"
ROWS = ("peer", "trainer", "solo", "prefix", "packed", "bound")
_PACK = 4
PACKAGES = ("autopeft", "torch", "transformers", "peft", "ray", "datasets")
_EXAMPLES = {"train": 384, "validation": 256}  # of text: the first ones


def prepare(backbone: str, folder: Path, model: str | None, data: str | None) -> Setting:
    """Write the data of a backbone as files that every row reads; what all its trials share."""
    from autopeft.backbones import load_backbone, model_path
    from autopeft.export.data import write_splits
    from autopeft.tasks.load import resolve_task

    task = resolve_task(data or "starter")
    splits = {"train": task.train, "validation": task.validation}
    if data is not None:
        splits = {name: _first(split, _EXAMPLES[name]) for name, split in splits.items()}
    write_splits(dataclasses.replace(task, **splits, confirmation=None, test=None), folder / "data")
    path = model_path(model or "starter")
    loaded = load_backbone(
        path,
        modality=task.settings.modality,
        num_labels=task.num_labels,
        problem="classification",
        config_overrides={},
    )
    return Setting(
        model=path,
        overrides={},
        head=loaded.head,
        modality=task.settings.modality,
        num_labels=task.num_labels,
        folder=str(folder),
    )


def _first(split: Any, n: int) -> Any:
    return dataclasses.replace(split, inputs=split.inputs[:n], targets=split.targets[:n])


def run_row(name: str, backbone: str, setting: Setting, trials: int) -> Row:
    """One row, in this process."""
    from autopeft.backbones import load_backbone

    loaded = load_backbone(
        setting.model,
        modality=setting.modality,  # type: ignore[arg-type]
        num_labels=setting.num_labels,
        problem="classification",
        config_overrides=setting.overrides,
    )
    chosen = sample(len(loaded.layout.layers), trials)
    from trainers import ours

    if name == "bound":
        from trainers import products

        seconds, steps = products.run(setting, chosen)
        return Row(name, backbone, seconds, steps, 0)
    if name in ("solo", "prefix", "packed"):
        pack = _PACK if name == "packed" else 1
        seconds, found = ours.run(setting, chosen, cache=name != "solo", pack=pack)
    else:
        from trainers import peer

        configs = [
            {
                "rank": trial.rank,
                "target_modules": trial.paths(loaded.layout),
                "learning_rate": trial.learning_rate,
            }
            for trial in chosen
        ]
        if name == "peer":
            import ray

            ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
        began = time.monotonic()
        found = (peer.run_with_ray if name == "peer" else peer.run_in_one_process)(setting, configs)
        seconds = time.monotonic() - began
    in_turn = name in ("solo", "prefix")
    return Row(
        name,
        backbone,
        round(seconds, 1),
        int(sum(one["steps"] for one in found)),
        int(max(one["peak_bytes"] for one in found)),
        tuple(round(one["score"], 4) for one in found),
        round(sum(one["seconds"] for one in found), 1) if in_turn else None,
        round(ours.between(found), 3) if in_turn else None,
    )


def measure(
    backbone: str, model: str | None, data: str | None, trials: int, rows: Sequence[str], repeats: int
) -> list[Row]:
    """All rows of a backbone, each in a process of its own; of repeats the fastest."""
    found: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as temporary:
        setting = prepare(backbone, Path(temporary), model, data)
        described = Path(temporary) / "setting.json"
        described.write_text(json.dumps(dataclasses.asdict(setting)), encoding="utf-8")
        for _, name in itertools.product(range(repeats), rows):
            answer = Path(temporary) / f"{name}.json"
            arguments = ["--row", name, "--backbone", backbone, "--trials", str(trials)]
            files = ["--setting", str(described), "--answer", str(answer)]
            command = [sys.executable, __file__, *arguments, *files]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            row = Row(**json.loads(answer.read_text(encoding="utf-8")))
            print(f"{backbone}, {name}: {row.seconds:.0f} s", flush=True)
            if name not in found or row.seconds < found[name].seconds:
                found[name] = row
    return [found[name] for name in rows]


def record(rows: Sequence[Row], trials: int, repeats: int, command: str) -> dict[str, Any]:
    """The results file."""
    scores = {(row.backbone, row.name): row.scores for row in rows}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "machine": f"{platform.machine()}, one core of {os.cpu_count()}, no GPU",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "repeats": repeats,
        "rows": [
            {
                "name": row.name,
                "backbone": row.backbone,
                "trials": trials,
                "device": row.device,
                "trials_per_hour": round(3600 * trials / row.seconds, 1),
                "seconds_per_step": round(row.seconds / row.steps, 4),
                "peak_bytes": row.peak_bytes or None,
                "score": round(statistics.fmean(row.scores), 4) if row.scores else None,
                "scores": row.scores,
                "busy": None if row.busy_seconds is None else round(row.busy_seconds / row.seconds, 3),
                "between_seconds": row.between_seconds,
                "counts": _counts(row.scores, scores.get((row.backbone, "peer"), ())),
            }
            for row in rows
        ],
    }


def _counts(scores: Sequence[float], peers: Sequence[float]) -> bool:
    """Whether a row has done the same work: its scores are the peer's, on average, within two standard errors of their differences."""
    if len(scores) < 2 or len(peers) < 2:
        return True
    apart = [a - b for a, b in zip(scores, peers, strict=True)]
    return abs(statistics.fmean(apart)) <= 2 * statistics.stdev(apart) / len(apart) ** 0.5


def markdown(results: Mapping[str, Any]) -> str:
    """The results as docs/results.md has them."""
    lines = [
        "| backbone | row | trials | an hour | of the peer's | seconds a step | peak memory | mean score |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    peers = {row["backbone"]: row["trials_per_hour"] for row in results["rows"] if row["name"] == "peer"}
    for row in results["rows"]:
        ratio = f"{row['trials_per_hour'] / peers[row['backbone']]:.1f}" if row["backbone"] in peers else ""
        peak = f"{row['peak_bytes'] / 2**20:,.0f} MiB" if row["peak_bytes"] else ""
        score = f"{row['score']:.3f}" if row["score"] is not None else ""
        lines.append(
            f"| {row['backbone']} | {row['name']} | {row['trials']} | {row['trials_per_hour']:,.0f} | {ratio} | {row['seconds_per_step']:.4f} | "
            f"{peak} | {score}{'' if row['counts'] else ' (does not count)'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minilm", help="folder of MiniLM; then the rows of text are measured")
    parser.add_argument("--data", help="training file of text, with a validation file beside it")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument(
        "--repeats", type=int, default=2, help="times that each row is run; the fastest counts"
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME")
    parser.add_argument("--merge", action="store_true", help="keep the rows of other backbones and names")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the results that are there")
    for internal in ("--row", "--backbone", "--setting", "--answer"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.table:
        print(markdown(json.loads(args.results.read_text(encoding="utf-8"))))
        return
    if args.row:
        setting = Setting(**json.loads(Path(args.setting).read_text(encoding="utf-8")))
        row = run_row(args.row, args.backbone, setting, args.trials)
        Path(args.answer).write_text(json.dumps(dataclasses.asdict(row)), encoding="utf-8")
        return
    if bool(args.minilm) != bool(args.data):
        parser.error("text needs both: --minilm FOLDER --data FILE")
    backbone = "minilm" if args.minilm else "starter"
    command = " ".join(["python", "benchmarks/throughput.py", *sys.argv[1:]])
    found = measure(backbone, args.minilm, args.data, args.trials, args.rows, args.repeats)
    results = record(found, args.trials, args.repeats, command)
    if args.merge and args.results.exists():
        new = {(row["backbone"], row["name"]) for row in results["rows"]}
        there = json.loads(args.results.read_text(encoding="utf-8"))["rows"]
        results["rows"] = [row for row in there if (row["backbone"], row["name"]) not in new] + results[
            "rows"
        ]
    args.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(markdown(results))


if __name__ == "__main__":
    main()
