"""How long a large study keeps a person waiting: the front, the list of studies, the page of a trial.

    python benchmarks/store.py            # about five minutes: most of them make the database
    python benchmarks/store.py --table    # the record as markdown

An SQLite file with one study of 100,000 trials, each with three objectives at five rungs, and twenty studies of a hundred trials.
The front's members have been trained anew with one seed. What is timed is what `autopeft front`, `autopeft studies` and
`autopeft show` do once they have started: from an open database to plain data. The median of a few calls counts, the first among
them. Writes benchmarks/results/store.json.
"""

import argparse
import datetime
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from autopeft.confirmation import search_front
from autopeft.nouns import Configuration, Module, Study, TrialKind, TrialStatus
from autopeft.report import studies_table, summarise, trial_record
from autopeft.store import Repository
from autopeft.store.tables import ArtifactRow, MeasurementRow, TrialRow

RESULTS = Path(__file__).parent / "results" / "store.json"
TRIALS, RUNGS, OBJECTIVES = 100_000, 5, ("score", "train_loss", "seconds")
SMALL_STUDIES, SMALL_TRIALS = 20, 100
CALLS = 15
WANTED_MS = 50.0
_LIMIT = 1_000_000
_AT = "2026-01-01T00:00:00.000+00:00"
_SETTINGS: dict[str, Any] = {
    "model": "starter",
    "budget": "1000k",
    "backbone": {"path": "starter", "parameters": 10**8, "layers": 12, "smallest": 64},
    "task": {"data": "starter", "metric": "accuracy"},
    "space": {"name": "autopeft", "text": "name: autopeft"},
    "sampler": "random",
    "seed": 0,
    "training": {"epochs": RUNGS},
}


def fill(repository: Repository, name: str, trials: int) -> Study:
    """A study of so many complete trials, with its front stored and confirmed, in one transaction by the table."""
    study = repository.create_study(name, {**_SETTINGS, "name": name}, _LIMIT, "autopeft")
    draw = random.Random(name)
    with repository._writer.begin() as connection:
        first = int(connection.exec_driver_sql("SELECT coalesce(max(id), 0) + 1 FROM trial").scalar() or 1)
        for begin in range(0, trials, 5_000):
            some = range(begin, min(trials, begin + 5_000))
            rows, measured = [], []
            for number in some:
                configuration = _configuration(draw)
                cost = draw.randrange(64, _LIMIT)
                best = 0.5 + 0.4 * (cost / _LIMIT) ** 0.2 + draw.gauss(0.0, 0.02)
                rows.append(
                    {
                        "id": first + number,
                        "study_id": study.id,
                        "number": number,
                        "kind": TrialKind.SEARCH,
                        "configuration": configuration.to_json(),
                        "configuration_key": configuration.key,
                        "trainable": cost,
                        "seed": number,  # so that equal configurations are no obstacle
                        "status": TrialStatus.COMPLETE,
                        "attempt": 1,
                        "reason": "",
                        "details": {"threads": 1, "device": "cpu"},
                        "created_at": _AT,
                        "started_at": _AT,
                        "finished_at": _AT,
                        "losses": 0,
                    }
                )
                measured += [
                    {
                        "trial_id": first + number,
                        "objective": objective,
                        "rung": rung,
                        "value": best * rung / RUNGS,
                    }
                    for objective in OBJECTIVES
                    for rung in range(1, RUNGS + 1)
                ]
            connection.execute(insert(TrialRow), rows)
            connection.execute(insert(MeasurementRow), measured)
            artifacts = [
                {"trial_id": first + number, "folder": f"/a/{number}", "created_at": _AT} for number in some
            ]
            connection.execute(insert(ArtifactRow), artifacts)
    front = search_front(repository.trials(study.id))
    for member in front:
        trial = repository.add_trial(
            study.id, TrialKind.CONFIRM, member.configuration, member.trainable, 10**7
        )
        repository.report(trial.id, RUNGS, {"score": (member.score or 0.0) - 0.01})
        repository.complete(trial.id, {"seconds": 1.0}, {})
    repository.set_reference_score(study.id, 0.5)
    complete = trials + len(front)
    numbers = [member.number for member in front]
    repository.record_front(study.id, numbers[-1], numbers, 0.3, complete=complete)
    return repository.get_study(name)


def _configuration(draw: random.Random) -> Configuration:
    modules = [
        Module("lora", draw.choice((1, 2, 4, 8)), (layer,), (("alpha", 16), ("sites", ("q", "v"))))
        for layer in draw.sample(range(12), 6)
    ]
    return Configuration.of(modules, 10 ** draw.uniform(-5, -2))


def milliseconds(call: Callable[[int], object], calls: int = CALLS) -> dict[str, float]:
    """The median and the longest of so many calls, each with its number."""
    took = []
    for number in range(calls):
        began = time.perf_counter()
        call(number)
        took.append((time.perf_counter() - began) * 1_000)
    return {"median_ms": round(statistics.median(took), 1), "longest_ms": round(max(took), 1)}


def measure(trials: int, small_studies: int = SMALL_STUDIES, made: Path | None = None) -> dict[str, Any]:
    """The record of a study of so many trials.

    Args:
        trials: Of the large study.
        small_studies: How many others there are.
        made: A database that was made before; by default one is made, and goes.
    """
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        path = made or Path(folder) / "studies.db"
        with Repository.open(f"sqlite:///{path}") as repository:
            if made is None:
                fill(repository, "large", trials)
                for n in range(small_studies):
                    fill(repository, f"small {n}", SMALL_TRIALS)
            study = repository.get_study("large")
            bytes_ = path.stat().st_size
            rows = {
                "front": milliseconds(lambda _: summarise(repository, study)),
                "study list": milliseconds(lambda _: studies_table(repository)),
                "trial page": milliseconds(lambda _: trial_record(repository, study, draw.randrange(trials))),
            }
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("autopeft", "sqlalchemy")},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "trials": trials,
        "objectives": len(OBJECTIVES),
        "rungs": RUNGS,
        "database_bytes": bytes_,
        "wanted_ms": WANTED_MS,
        "rows": rows,
    }


def markdown(record: dict[str, Any]) -> str:
    """The record as a table."""
    lines = ["| query | median | longest |", "| --- | --- | --- |"]
    lines += [
        f"| {name} | {row['median_ms']:.1f} ms | {row['longest_ms']:.1f} ms |"
        for name, row in record["rows"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and record, or print the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="print the record as markdown")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument(
        "--db", type=Path, help="a database that was made before, as by benchmarks/dashboard.py --keep"
    )
    chosen = parser.parse_args()
    if chosen.table:
        print(markdown(json.loads(RESULTS.read_text(encoding="utf-8"))))
        return
    record = measure(chosen.trials, made=chosen.db)
    print(markdown(record))
    if chosen.trials == TRIALS:
        RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
