"""Tables of real trainings: what `benchmarks/search_quality.py` searches.

    python benchmarks/peft_table/make.py images     # 4,494 trainings, about 80 minutes on two quiet cores
    python benchmarks/peft_table/make.py text --model MINILM --data sst2/train.tsv    # 360 trainings, about an hour

Every training is a trial as a search would run it (`autopeft.train.Workbench`), scored on validation and on test after
every epoch. Each finished training is a line of `<name>.jsonl` in --work, and the same command goes on from there; when
all are there, `<name>.parquet` is written, a row an epoch. README.md says what the columns mean.
"""

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from autopeft.dsl import BoundSpace, Levels, read_space, trainable_parameters
from autopeft.errors import TrialError
from autopeft.nouns import BackboneShape, Configuration
from autopeft.tasks.batches import Encoded, EncodedImages, EncodedText
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Table:
    """What is trained.

    Attributes:
        backbone, data: As of a search; empty where they are given by --model and --data.
        overrides: Fields of the backbone's configuration that are changed.
        examples: How many of each split are used: the first ones. Data without a test split lend it the validation
            examples behind those.
        training: Of every trial.
        sample: Configurations drawn from the space; None for all of it.
        seeds: Of every configuration.
        more_seeds: Of a random tenth of them.
    """

    backbone: str
    overrides: dict[str, Any]
    data: str
    examples: dict[str, int]
    training: Training
    sample: int | None
    seeds: tuple[int, ...]
    more_seeds: tuple[int, ...]


TABLES = {
    "images": Table(
        backbone="starter",
        overrides={},
        data="starter",
        examples={"train": 192, "validation": 200, "test": 100},
        training=Training(epochs=6, batch_size=32),
        sample=None,
        seeds=(0, 1),
        more_seeds=(2, 3, 4),
    ),
    "text": Table(
        backbone="",
        overrides={"num_hidden_layers": 2},
        data="",
        examples={"train": 512, "validation": 300, "test": 100},
        training=Training(epochs=3, batch_size=16),
        sample=300,
        seeds=(0,),
        more_seeds=(1, 2),
    ),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a table's model and data are, if they do not ship with autopeft: folders and files, as of a search."""

    model: str | None = None
    data: str | None = None


def prepare(name: str, source: Source = Source()) -> tuple[Workbench, BoundSpace]:
    """The backbone with the data on it, and the space without a budget: all of it is trained."""
    table = TABLES[name]
    torch.set_num_threads(1)
    task = resolve_task(source.data or table.data, validation_fraction=0.02, split_seed=0, max_length=48)
    backbone = source.model or table.backbone
    bench = Workbench.prepare(backbone, table.overrides, task.settings, table.training)
    n, whole = table.examples, dict(bench.data)
    bench.data = {split: part(data, 0, n[split]) for split, data in whole.items()}
    if "test" not in whole:
        bench.data["test"] = part(whole["validation"], n["validation"], n["validation"] + n["test"])
    shape = bench.backbone.layout.shape
    space = read_space((HERE / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")
    return bench, space.bind(shape, shape.parameters)


def part(data: Encoded, begin: int, end: int) -> Encoded:
    """The examples of a split from one to before another."""
    if isinstance(data, EncodedImages):
        return EncodedImages(data.pixel_values[begin:end], data.labels[begin:end])
    features = {name: rows[begin:end] for name, rows in data.features.items()}
    return EncodedText(features, data.labels[begin:end], data.tokenizer)


def configurations(name: str, space: BoundSpace) -> list[Configuration]:
    """The table's configurations in an order that the seed 0 has drawn, so that a part of them is a sample."""
    rng = random.Random(0)
    sample = TABLES[name].sample
    if sample is None:
        levels = [d.values if isinstance(d, Levels) else (d.low,) for d in space.decisions]
        points = {space.canonical(assignment): None for assignment in itertools.product(*levels)}
        found = [space.configuration(point) for point in points]
        rng.shuffle(found)
        return found
    drawn: dict[str, Configuration] = {}
    while len(drawn) < sample:
        one = space.configuration(space.sample(rng, 1)[0])
        drawn[one.key] = one
    return list(drawn.values())


def jobs(name: str, space: BoundSpace) -> Iterator[tuple[Configuration, int]]:
    """Every training: the first seed of all, then the next, then the further seeds of a tenth."""
    table = TABLES[name]
    all_of_them = configurations(name, space)
    yield from itertools.product(all_of_them, table.seeds[:1])
    for seed in table.seeds[1:]:
        yield from itertools.product(all_of_them, (seed,))
    for seed in table.more_seeds:
        yield from itertools.product(all_of_them[: len(all_of_them) // 10], (seed,))


_bench: Workbench


def begin(name: str, source: Source) -> None:
    """A worker process: backbone and data once."""
    global _bench
    _bench, _ = prepare(name, source)


def train(configuration: dict[str, Any], seed: int) -> dict[str, Any]:
    """One training, as a line of the log."""
    found = Configuration.from_json(configuration)
    began, epochs, reason, peak = time.process_time(), [], "", None
    try:
        for report in _bench.trial(found, seed, None, whole_rungs=True):
            values = report.values
            epochs.append(
                {
                    "epoch": report.rung,
                    "validation": values["score"],
                    "test": values["test_score"],
                    "train_loss": values["train_loss"],
                    "seconds": time.process_time() - began,
                }
            )
            peak = values.get("peak_memory_bytes", peak)
    except TrialError as error:
        reason = str(error)
    return {
        "key": found.key,
        "seed": seed,
        "configuration": configuration,
        "trainable": trainable_parameters(found, _bench.backbone.layout.shape),
        "reason": reason,
        "peak_memory_bytes": peak,
        "epochs": epochs,
    }


def write(name: str, log: Path, shape: BackboneShape) -> Path:
    """The log as a table: a row an epoch; of a failed training, a row with its reason. The backbone's shape is beside it."""
    rows = []
    for line in log.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        same = {
            "configuration": json.dumps(one["configuration"], sort_keys=True),
            "trainable": one["trainable"],
            "seed": one["seed"],
            "status": "failed" if one["reason"] else "complete",
            "reason": one["reason"],
            "peak_memory_bytes": one["peak_memory_bytes"],
        }
        nothing = dict.fromkeys(("validation", "test", "train_loss", "seconds"))
        rows += [{**same, **epoch} for epoch in one["epochs"] or [{"epoch": 0, **nothing}]]
    rows.sort(key=lambda row: (row["trainable"], row["configuration"], row["seed"], row["epoch"]))
    path = HERE / f"{name}.parquet"
    written = pa.Table.from_pylist(rows).replace_schema_metadata({"shape": json.dumps(shape.to_json())})
    pq.write_table(written, path, compression="zstd")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=TABLES)
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder of the log")
    parser.add_argument("--model", help="folder of the backbone, where the table has none of its own")
    parser.add_argument("--data", help="training file, where the table has none of its own")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only-write", action="store_true", help="write the table from what is there")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / f"{args.name}.jsonl"
    log.touch()
    source = Source(args.model, args.data)
    if not (TABLES[args.name].data or (source.model and source.data)):
        parser.error(f"the table of {args.name} needs --model and --data")
    _, space = prepare(args.name, source)
    if not args.only_write:
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        there = {(one["key"], one["seed"]) for one in lines}
        left = [(c, seed) for c, seed in jobs(args.name, space) if (c.key, seed) not in there]
        total, began = len(there) + len(left), time.monotonic()
        print(f"{len(there)} of {total} trainings are there", flush=True)
        with (
            log.open("a", encoding="utf-8") as out,
            ProcessPoolExecutor(
                args.workers, multiprocessing.get_context("spawn"), begin, (args.name, source)
            ) as pool,
        ):
            futures = [pool.submit(train, c.to_json(), seed) for c, seed in left]
            for done, future in enumerate(as_completed(futures), start=1):
                out.write(json.dumps(future.result()) + "\n")
                out.flush()
                if done % 50 == 0:
                    rate = done / (time.monotonic() - began)
                    print(
                        f"{len(there) + done} of {total}, {(len(left) - done) / rate / 60:.0f} minutes left",
                        flush=True,
                    )
    path = write(args.name, log, space.shape)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
