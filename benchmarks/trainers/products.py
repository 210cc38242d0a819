"""The matrix products of trials, and nothing else: what no way of training on this machine is faster than.

One step of training and one batch of scoring of each trial are run once, and every product in them is noted with its operands;
then the products alone are run again and timed, as often as the trial has steps and batches.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autopeft.adapters import attach
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.loop import accumulate, predict
from trainers.trials import Setting, Trial

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")
_ATTENTION = "scaled_dot_product"
_EVALUATION_BATCH = 256

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Products(TorchDispatchMode):
    """Notes the matrix products that are computed inside of it, attention's among them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in _PRODUCTS or _ATTENTION in name:
            self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def seconds_of(calls: Sequence[Call], repeats: int = 3) -> float:
    """Of running these again; the fastest of some repeats."""
    found = []
    with torch.no_grad():
        for _ in range(repeats):
            began = time.perf_counter()
            for func, args, kwargs in calls:
                func(*args, **kwargs)
            found.append(time.perf_counter() - began)
    return min(found)


def run(setting: Setting, trials: Sequence[Trial]) -> tuple[float, int]:
    """Seconds of all products of all trials, and their optimiser steps."""
    torch.set_num_threads(1)
    folder = f"{setting.folder}/data"
    task = resolve_task(
        f"{folder}/train.parquet", validation=f"{folder}/validation.parquet", max_length=setting.max_length
    )
    training = Training(epochs=setting.epochs, batch_size=setting.batch_size)
    bench = Workbench.prepare(setting.model, setting.overrides, task.settings, training)
    train, validation = len(bench.data["train"]), len(bench.data["validation"])
    steps = setting.epochs * -(-train // setting.batch_size)
    total = 0.0
    for trial in trials:
        backbone = bench.backbone
        attached = attach(
            backbone.model, backbone.layout, backbone.head, trial.configuration, task_type=backbone.task_type
        )
        try:
            # Batches from the middle of the lengths: of texts, a step is as long as its texts are.
            order = torch.argsort(bench.data["train"].lengths, stable=True)
            middle = order[(train - setting.batch_size) // 2 :][: setting.batch_size]
            (batch,) = bench.batches("train", middle, setting.batch_size)
            with Products() as step:
                accumulate(attached.runner, bench.loss_of, batch)
            order = torch.argsort(bench.data["validation"].lengths, stable=True)
            middle = order[max(0, validation - _EVALUATION_BATCH) // 2 :][:_EVALUATION_BATCH]
            with Products() as scoring:
                predict(attached.runner, bench.batches("validation", middle))
        finally:
            attached.detach()
        total += steps * seconds_of(step.calls)
        total += validation / len(middle) * seconds_of(scoring.calls)
    return total, steps * len(trials)
