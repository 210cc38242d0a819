"""Ours, as a search runs trials: a database, Ray Tune, a warm worker. Only the suggestions are given."""

import dataclasses
import sqlite3
import statistics
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from autopeft.backbones import load_backbone
from autopeft.dsl import BoundSpace, read_space
from autopeft.nouns import Configuration, TrialKind
from autopeft.run.driver import Driver
from autopeft.run.tuner import run_trials, start_ray
from autopeft.store import Repository
from autopeft.tasks.load import resolve_task
from autopeft.train import Training
from trainers.trials import RANKS, SITES, Setting, Trial

SPACE = f"""
name: throughput
layers: {{subset: all}}
modules:
  lora:
    type: lora
    sites: {{subset: [{", ".join(SITES)}], min: 1}}
    rank: {{choice: {list(RANKS)}}}
    alpha: {{tied: rank, times: 2}}
training:
  learning_rate: {{float: [1.0e-4, 1.0e-1], log: true}}
"""


def run(
    setting: Setting, trials: Sequence[Trial], *, cache: bool, pack: int = 1
) -> tuple[float, list[dict[str, float]]]:
    """All trials on one worker.

    Args:
        setting: What all trials share.
        trials: The trials.
        cache: Whether what the frozen first layers make of the data is kept.
        pack: Trials that are trained together.

    Returns:
        Seconds from the start of Ray Tune to its end, Ray itself being up; and of each trial what `peer.train` says of it.
    """
    folder = Path(setting.folder)
    task = resolve_task(
        str(folder / "data" / "train.parquet"),
        validation=str(folder / "data" / "validation.parquet"),
        max_length=setting.max_length,
    )
    space = _space(setting)
    wanted = [trial.configuration for trial in trials]
    training = Training(epochs=setting.epochs, batch_size=setting.batch_size)
    name = f"throughput-{'cache' if cache else 'solo'}-{time.time_ns()}"
    cluster = dataclasses.replace(start_ray(1, None, None), threads=1)

    def suggest(space: BoundSpace, there: Sequence[Any], seed: int) -> Configuration:
        return wanted[sum(trial.kind is TrialKind.SEARCH for trial in there)]

    with Repository.open(f"sqlite:///{folder / name}.db") as repository:
        study = repository.create_study(name, {"seed": 0}, space.limit, space.name)
        driver = Driver(
            repository=repository,
            study=study,
            space=space,
            suggester=suggest,
            wanted=len(wanted),
            at_once=2,
            artifacts=folder / "artifacts",
            deadline=None,
            owner="throughput",
            pack=pack,
        )
        plan: dict[str, Any] = {
            "path": setting.model,
            "overrides": setting.overrides,
            "storage": {},
            "objectives": (),
            "untouched": None,
            "sites": {},
            "task": task.settings.to_json(),
            "training": {"epochs": training.epochs, "batch_size": training.batch_size},
            "space": {"name": space.name, "text": SPACE, "limit": space.limit},
            **({} if cache else {"cache": None}),
        }
        began = time.monotonic()
        try:
            run_trials(driver, cluster, plan)
        finally:
            driver.close()
        seconds = time.monotonic() - began
        done = repository.trials(study.id)
    with sqlite3.connect(folder / f"{name}.db") as database:
        rows = database.execute("SELECT number, finished_at FROM trial")
        ends = {number: datetime.fromisoformat(at).timestamp() for number, at in rows}
    import ray

    ray.shutdown()
    steps = training.epochs * -(-len(task.train) // training.batch_size)
    return seconds, [
        {
            "score": trial.score or float("nan"),
            "steps": float(steps),
            "peak_bytes": trial.measurements["peak_memory_bytes"],
            "seconds": trial.measurements["seconds"],
            "end": ends[trial.number],
        }
        for trial in done
    ]


def between(found: Sequence[dict[str, float]]) -> float:
    """Seconds from the end of a trial to the start of the next, the median; of trials that were one after another."""
    pairs = pairwise(sorted(found, key=lambda one: one["end"]))
    return statistics.median(later["end"] - earlier["end"] - later["seconds"] for earlier, later in pairs)


def _space(setting: Setting) -> BoundSpace:
    backbone = load_backbone(
        setting.model,
        modality=setting.modality,  # type: ignore[arg-type]
        num_labels=setting.num_labels,
        problem="classification",
        config_overrides=setting.overrides,
    )
    shape = backbone.layout.shape
    return read_space(SPACE, "throughput").bind(shape, shape.parameters)
