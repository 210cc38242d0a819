"""One trial on its way: its modules, its optimiser, what it has scored so far."""

import functools
import math
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import torch
import transformers
from torch import nn

import autopeft
from autopeft.adapters import attach, save_adapter
from autopeft.backbones import reset_head
from autopeft.dsl.allocators import ALLOCATORS
from autopeft.errors import BackboneError, TrialError
from autopeft.nouns import Configuration
from autopeft.registry import Objective
from autopeft.tasks.batches import training_order
from autopeft.tasks.direction import oriented
from autopeft.train.allocated import Allocated
from autopeft.train.layers import BY_LAYER, LOOKED_AT, Layers, find_layers
from autopeft.train.loop import accumulate, rate_factor, train_epoch
from autopeft.train.memory import peak_bytes, reset_peak
from autopeft.train.trained import Trained, measured

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench

RUNG_EXAMPLES = 500
"""Between epochs a fixed sample of the validation split says enough; the last epoch is scored on all of it."""


@dataclass(frozen=True)
class Request:
    """What is to be trained.

    Attributes:
        configuration: What to put on.
        seed: Of the head, the modules and the order of batches.
        folder: Where the trained adapter goes; None to keep nothing.
        whole_rungs: Whether every epoch is scored as the last: on all of validation, and on test.
        confirm: Whether the last epoch is scored on what was held back for the confirmation too.
        objectives: What to say of the trained trial besides, with the last report.
        allocated: What is put on instead, if an allocator has decided so.
    """

    configuration: Configuration
    seed: int
    folder: Path | None
    whole_rungs: bool = False
    confirm: bool = False
    objectives: tuple[Objective, ...] = ()
    allocated: Allocated | None = None


@dataclass(frozen=True)
class Report:
    """What a trial says after an epoch.

    Attributes:
        rung: The epoch, from 1.
        values: `score` (of a sample of the validation split until the last epoch) and `train_loss`; after the
            last epoch also `test_score` (where there is a test split), `confirmation_score` (of a confirming trial, where
            examples are held back for it), `seconds`, `peak_memory_bytes`, and the objectives that were asked for.
        last: Whether the trial is complete.
        details: With the last report: how it was trained, for the record.
    """

    rung: int
    values: Mapping[str, float]
    last: bool
    details: Mapping[str, Any]


class Running:
    """A trial whose modules are on the model.

    Attributes:
        request: What is trained.
        training: How.
        attached: The modules.
        optimizer, schedule: Of what it trains.
        depth: Layers, from the first, that it does without.
        rows: Examples of a batch that are trained on at once, since memory ran out; None: all.
        packed: Trials that are trained on one model at once, itself among them.
    """

    def __init__(self, bench: "Workbench", request: Request) -> None:
        """Put the modules on; a model without any is left so where that fails.

        Raises:
            TrialError: They cannot be put on, or memory ran out.
        """
        self._bench = bench
        self._started = time.monotonic()
        self._training_seconds = 0.0
        self._scores: list[float] = []
        self.request = request
        self.rows: int | None = None
        self.packed = 1
        reset_peak(bench.device)
        bench.prepared(request.objectives)
        self.allocated = request.allocated or Allocated(request.configuration)
        self.configuration = configuration = self.allocated.plan
        self.training = replace(bench.training, **dict(configuration.training))  # type: ignore[arg-type]
        model, train = bench.backbone.model, bench.data["train"]
        steps = self.training.epochs * math.ceil(len(train) / self.training.batch_size)
        self._order = functools.partial(training_order, train.lengths, self.training.batch_size, request.seed)
        torch.manual_seed(request.seed)
        reset_head(model, bench.backbone.head)
        try:
            self.attached = attach(
                model,
                bench.backbone.layout,
                bench.backbone.head,
                configuration,
                task_type=bench.backbone.task_type,
                steps=steps,
                batches=self._inputs,
                scores=self.allocated.scores,
            )
        except BackboneError as error:
            raise TrialError(str(error)) from None
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error, bench.device) from None
        try:
            bench.check_positions(self.attached)
            # AdamW refuses to have nothing, and that is what there is of a backbone with its own head and no modules.
            trained = self.attached.trainable() or [nn.Parameter(torch.zeros(0))]
            self.optimizer = torch.optim.AdamW(
                trained,
                lr=configuration.learning_rate,
                weight_decay=self.training.weight_decay,
                fused=True,
            )
            self.schedule = torch.optim.lr_scheduler.LambdaLR(
                self.optimizer,
                functools.partial(rate_factor, steps=steps, warmup_fraction=self.training.warmup_fraction),
            )
            self.depth = bench.left_out(configuration)
            self._layers = self._find_layers()
        except BaseException:
            self.attached.detach()
            raise

    @property
    def epoch(self) -> int:
        """Epochs that are through."""
        return len(self._scores)

    def order(self) -> torch.Tensor:
        """The order of the training examples in the epoch that is next."""
        return self._order(self.epoch)

    def train_epoch(self) -> float:
        """Train for an epoch, alone on the model; the mean loss.

        Raises:
            TrialError: Memory ran out.
        """
        bench, began = self._bench, time.monotonic()
        runner = bench.without_frozen(self.attached.runner, self.depth)
        try:
            with bench.checkpointed(self.training, self.depth):
                return train_epoch(
                    self.optimizer,
                    self.schedule,
                    bench.shortened("train", self.order(), self.training.batch_size, self.depth),
                    functools.partial(self._gradients, runner),
                    self.training.max_grad_norm,
                    self.attached.penalty,
                    self.attached.after_step,
                )
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error, bench.device) from None
        finally:
            self._training_seconds += time.monotonic() - began

    def report(self, loss: float, training_seconds: float = 0.0) -> Report:
        """Score the epoch that was trained; after the last one, save the adapter and say all that is to be said.

        Args:
            loss: The mean training loss.
            training_seconds: What the epoch has taken, if it was not trained by `train_epoch`.

        Raises:
            TrialError: The loss is not finite, or memory ran out.
        """
        bench, request, training = self._bench, self.request, self.training
        self._training_seconds += training_seconds
        if not math.isfinite(loss):
            raise TrialError(f"the training loss is {loss} in epoch {self.epoch + 1}.")
        last = self.epoch + 1 == training.epochs
        try:
            self._scores.append(
                self._score("validation", None if last or request.whole_rungs else RUNG_EXAMPLES)
            )
            if not last and has_stalled(self._scores, training.patience):
                last = True
                self._scores[-1] = self._score("validation")
            values = {"score": self._scores[-1], "train_loss": loss}
            if (last or request.whole_rungs) and "test" in bench.data:
                values["test_score"] = self._score("test")
            details: dict[str, Any] = {}
            if last and request.confirm and "confirmation" in bench.data:
                values["confirmation_score"] = self._score("confirmation")
                details["confirmation_examples"] = len(bench.data["confirmation"])
            if last:
                self._save(values)
                values["seconds"] = time.monotonic() - self._started + self.allocated.seconds
                values["peak_memory_bytes"] = float(peak_bytes(bench.device))
                trained = Trained(bench, self.attached, self.configuration, training, self._training_seconds)
                values |= measured(trained, request.objectives, bench.prepared(request.objectives))
                details |= self._details()
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error, bench.device) from None
        return Report(self.epoch, values, last, details)

    def _find_layers(self) -> Layers | None:
        options = dict(self.request.configuration.allocation)
        kind = options.pop("type", "")
        if kind not in BY_LAYER:
            return None
        defaults = {name: field.default for name, field in ALLOCATORS[kind].fields.items()}
        layout = self._bench.backbone.layout
        return find_layers(self.attached, layout, self.request.seed, {**defaults, **options})

    def _gradients(self, runner: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Those of a step, of the modules that it trains."""
        if self._layers is not None:
            self._layers.before(self.schedule.last_epoch, self._look)
        return gradients(self._bench, runner, [self], batch)

    def _look(self, rng: random.Random) -> float:
        """The loss of some training examples that chance draws."""
        bench, train = self._bench, self._bench.data["train"]
        chosen = torch.tensor(rng.sample(range(len(train)), min(LOOKED_AT, len(train))))
        (batch,) = bench.batches("train", chosen, LOOKED_AT)
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with torch.inference_mode():
            return float(bench.loss_of(bench.run(self.attached.runner, inputs).logits, batch["labels"]))

    def _inputs(self) -> Iterator[dict[str, torch.Tensor]]:
        for batch in self._bench.batches("train", self._order(0), self.training.batch_size):
            yield {name: tensor for name, tensor in batch.items() if name != "labels"}

    def _score(self, split: str, most: int | None = None) -> float:
        return self._bench.score(self.attached.runner, split, most, self.depth)

    def _save(self, values: Mapping[str, float]) -> None:
        bench, request = self._bench, self.request
        if request.folder is None:
            return
        record = {
            "task": bench.task.to_json(),
            "seed": request.seed,
            "training": asdict(self.training),
            "backbone": bench.backbone.model.config.name_or_path,
            **({"sites": dict(bench.sites)} if bench.sites else {}),
            **{
                name: value if name == "train_loss" else oriented(bench.task.metric, value)
                for name, value in values.items()
            },
        }
        kind = bench.backbone.task_type
        save_adapter(self.attached, self.configuration, request.folder, task_type=kind, record=record)

    def _details(self) -> dict[str, Any]:
        shape = self._bench.backbone.layout.shape
        dealt = self.request.configuration.allocation
        layers = {} if self._layers is None else {"layers": self._layers.to_json()}
        return {
            **({"allocation": {**self.allocated.to_json(shape), **layers}} if dealt else {}),
            "threads": torch.get_num_threads(),
            "layers_left_out": self.depth,
            **({} if self.rows is None else {"rows_at_once": self.rows}),
            **({} if self.packed == 1 else {"packed": self.packed}),
            "device": str(self._bench.device),
            **memory_of(self._bench.device),
            "process": os.getpid(),
            "autopeft": autopeft.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        }


def gradients(
    bench: "Workbench", runner: nn.Module, several: Sequence[Running], batch: dict[str, torch.Tensor]
) -> torch.Tensor:
    """As `accumulate`, of trials whose rows a batch has; where memory runs out, from now on in halves of what did not fit."""
    each = len(batch["labels"]) // len(several)
    while True:
        rows = min(several[0].rows or each, each)
        try:
            return accumulate(runner, bench.loss_of, batch, rows, len(several))
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
        # After the handler: what failed holds on to its tensors while its traceback is there.
        rows = bench.halved(rows)
        for running in several:
            running.optimizer.zero_grad()
            running.rows = rows


def has_stalled(scores: Sequence[float], patience: int | None) -> bool:
    """Whether the best of the scores, one an epoch, is at least so many epochs ago.

    >>> has_stalled([0.5, 0.7, 0.6, 0.7], 2), has_stalled([0.5, 0.7, 0.6, 0.8], 2)
    (True, False)
    """
    return patience is not None and len(scores) - 1 - scores.index(max(scores)) >= patience


def memory_of(device: torch.device) -> dict[str, int]:
    """How much memory a GPU has, for the record; of a CPU nothing is said."""
    if device.type != "cuda":
        return {}
    return {"device_memory_bytes": int(torch.cuda.get_device_properties(device).total_memory)}


def out_of_memory(error: torch.OutOfMemoryError, device: torch.device) -> TrialError:
    """The reason that a trial gives."""
    return TrialError(f"out of memory on {device}: {str(error).splitlines()[0]}")
