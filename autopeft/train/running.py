"""One trial on its way: its modules, its optimiser, what it has scored so far."""

import functools
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import peft
import torch
import transformers
from safetensors import SafetensorError
from torch import nn

import autopeft
from autopeft.adapters import Attached, attach, save_adapter
from autopeft.adapters.lora import share
from autopeft.backbones import reset_head
from autopeft.errors import BackboneError, TrialError
from autopeft.nouns import Configuration
from autopeft.registry import Objective
from autopeft.store import files
from autopeft.store.files import Place
from autopeft.tasks.batches import training_order
from autopeft.tasks.direction import oriented
from autopeft.train import checkpoint
from autopeft.train.allocated import Allocated
from autopeft.train.checkpoint import Checkpoint
from autopeft.train.learning import Learning
from autopeft.train.loop import accumulate, rate_factor, train_epoch
from autopeft.train.memory import peak_bytes, reset_peak
from autopeft.train.steering import Settled, Steered, find_steering
from autopeft.train.trained import Trained, measured

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench

LOOKED_AT = 16
"""Training examples whose loss an allocator looks at while a trial is trained."""

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
        checkpoint: Where it is kept after each epoch but the last, to go on from there; None to keep nothing.
        on_step: Called after the gradients of each step of a trial that is alone on its model: its number from 1, all steps, and the
            batch's mean loss.
    """

    configuration: Configuration
    seed: int
    folder: Place | None
    whole_rungs: bool = False
    confirm: bool = False
    objectives: tuple[Objective, ...] = ()
    allocated: Allocated | None = None
    checkpoint: Place | None = None
    on_step: Callable[[int, int, torch.Tensor], None] | None = None


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
        self._parts: list[dict[str, Any]] = []
        self._peak_before = 0  # bytes, of the process that it was taken up from
        self._not_kept = ""
        self.request = request
        self.rows: int | None = None
        self.packed = 1
        reset_peak(bench.device)
        bench.prepared(request.objectives)
        self.allocated = request.allocated or Allocated(request.configuration)
        self.configuration = self.allocated.plan
        self.training = replace(bench.training, **dict(self.configuration.training))  # type: ignore[arg-type]
        train = bench.data["train"]
        self._steps = self.training.epochs * math.ceil(len(train) / self.training.batch_size)
        self._order = functools.partial(training_order, train.lengths, self.training.batch_size, request.seed)
        torch.manual_seed(request.seed)
        reset_head(bench.backbone.model, bench.backbone.head)
        try:
            self.attached = self._attach()
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
                lr=self.configuration.learning_rate,
                weight_decay=self.training.weight_decay,
                fused=True,
            )
            self._steering = find_steering(
                Steered(
                    request.configuration,
                    self.attached,
                    self.optimizer,
                    bench.backbone.layout,
                    self._steps,
                    request.seed,
                    self._look,
                    self.training.max_grad_norm,
                )
            )
            self.schedule = torch.optim.lr_scheduler.LambdaLR(
                self.optimizer,
                functools.partial(
                    rate_factor, steps=self._steps, warmup_fraction=self.training.warmup_fraction
                ),
            )
            self._learning = Learning(self.optimizer, self.schedule, self.attached.stack, bench.device)
            self.depth = bench.left_out(self.configuration)
        except BaseException:
            self.attached.detach()
            raise

    @property
    def epoch(self) -> int:
        """Epochs that are through."""
        return len(self._scores)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self._steps

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
            if last:
                self._settle()
            self._scores.append(
                self._score("validation", None if last or request.whole_rungs else RUNG_EXAMPLES)
            )
            if not last and has_stalled(self._scores, training.patience):
                last = True
                self._settle()
                self._scores[-1] = self._score("validation")
            values = {"score": self._scores[-1], "train_loss": loss}
            if (last or request.whole_rungs) and "test" in bench.data:
                values["test_score"] = self._score("test")
            details: dict[str, Any] = {}
            if last and request.confirm and "confirmation" in bench.data:
                values["confirmation_score"] = self._score("confirmation")
                details["confirmation_examples"] = len(bench.data["confirmation"])
            if last:
                self._save(values, request.folder)
                values["seconds"] = time.monotonic() - self._started + self.allocated.seconds
                values["peak_memory_bytes"] = float(max(peak_bytes(bench.device), self._peak_before))
                values |= self._measured()
                details |= self._details()
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error, bench.device) from None
        return Report(self.epoch, values, last, details)

    def keep(self, report: Report) -> None:
        """Write what is needed to go on after the epoch that was just reported; a disk that is full costs no trial.

        A trial whose allocator decides while it is trained keeps nothing, and would begin anew: what such an allocator knows by
        then is spread over the modules that it steers.
        """
        place = self.request.checkpoint
        if place is None or self._steering is not None:
            return
        said = {"rung": report.rung, "values": dict(report.values), "details": dict(report.details)}
        state = {**self._state(), "report": said}
        try:
            checkpoint.write(Checkpoint(self._trial(), state, self._learning.tensors()), place)
        except OSError as error:
            self._not_kept = f"epoch {self.epoch} was not kept: {error.strerror or error}"

    def take_up(self) -> Report | None:
        """Go on from the checkpoint, if there is one of this very trial; the report after its last epoch, or None."""
        place = self.request.checkpoint
        found = None if place is None or self._steering is not None else checkpoint.read(place)
        # As JSON, in which a checkpoint holds it: there a tuple is a list.
        if found is None or found.trial != json.loads(json.dumps(self._trial())):
            return None
        state = found.state
        self._learning.restore(state, found.tensors)
        self._scores = list(state["scores"])
        self._training_seconds = state["training_seconds"]
        self._started = time.monotonic() - state["seconds"]
        self._peak_before = state["peak_memory_bytes"]
        self._not_kept = state["not_kept"]
        self.rows = state["rows"]
        report = state["report"]
        return Report(report["rung"], report["values"], False, report["details"])

    def _trial(self) -> dict[str, Any]:
        """What two runs have in common that end with the same numbers."""
        request = self.request
        return {
            "format": 1,
            "configuration": request.configuration.to_json(),
            "plan": self.configuration.to_json(),
            "seed": request.seed,
            "confirm": request.confirm,
            "training": asdict(self.training),
            "task": self._bench.task.to_json(),
            "backbone": self._bench.backbone.layout.shape.to_json(),
            "layers_left_out": self.depth,
            "shapes": [list(parameter.shape) for parameter in self._learning.parameters()],
        }

    def _state(self) -> dict[str, Any]:
        return {
            "scores": self._scores,
            **self._learning.state(),
            "rows": self.rows,
            "training_seconds": self._training_seconds,
            "seconds": time.monotonic() - self._started,
            "peak_memory_bytes": max(peak_bytes(self._bench.device), self._peak_before),
            "not_kept": self._not_kept,
        }

    def _attach(self) -> Attached:
        bench = self._bench
        attached = attach(
            bench.backbone.model,
            bench.backbone.layout,
            bench.backbone.head,
            self.configuration,
            task_type=bench.backbone.task_type,
            steps=self._steps,
            batches=self._inputs,
            scores=self.allocated.scores,
        )
        layers = bench.backbone.layout.layers
        for group in self.allocated.shared:
            share(attached, [layers[unit.layer].sites[unit.site] for unit in group])
        return attached

    def _gradients(self, runner: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Those of a step, of what it trains."""
        step = self.schedule.last_epoch
        if self._steering is not None:
            self._steering.before(step)
        losses = gradients(self._bench, runner, [self], batch)
        if self._steering is not None:
            self._steering.gradients(step)
        if self.request.on_step is not None:
            self.request.on_step(step + 1, self._steps, losses.mean())
        return losses

    def _settle(self) -> None:
        """After the last step: score and keep what else the training can hand out; then put on what the trial hands out."""
        if self._steering is None:
            return
        further = [] if self.request.confirm else list(self._steering.parts())
        settled = self._steering.finish()
        if settled is None:
            return
        for part in further:
            self._put_on(part)
            self._parts.append(self._part())
        self._put_on(settled)

    def _put_on(self, settled: Settled) -> None:
        self.configuration = settled.plan
        self.allocated = replace(self.allocated, plan=settled.plan)
        settled.put_on()

    def _part(self) -> dict[str, Any]:
        """Score and keep what is on now; the row of a trial of its own."""
        request, shape = self.request, self._bench.backbone.layout.shape
        values = {"score": self._score("validation")}
        if "test" in self._bench.data:
            values["test_score"] = self._score("test")
        values |= self._measured()
        allocation = dict(self.configuration.allocation)
        folder = None if request.folder is None else files.join(request.folder, f"keep-{allocation['keep']}")
        self._save(values, folder)
        whole = request.configuration
        own = Configuration.of(whole.modules, whole.learning_rate, dict(whole.training), allocation)
        return {
            "configuration": own.to_json(),
            "allocation": self.allocated.to_json(shape),
            "values": values,
            "folder": folder or "",
        }

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

    def _measured(self) -> dict[str, float]:
        """What the objectives that were asked for say of the modules that are on."""
        bench, objectives = self._bench, self.request.objectives
        trained = Trained(bench, self.attached, self.configuration, self.training, self._training_seconds)
        return measured(trained, objectives, bench.prepared(objectives))

    def _save(self, values: Mapping[str, float], folder: Place | None) -> None:
        bench, request = self._bench, self.request
        if folder is None:
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
        try:
            with files.written(folder) as path:
                save_adapter(self.attached, self.configuration, path, task_type=kind, record=record)
        except (OSError, SafetensorError) as error:
            raise TrialError(f"the adapter could not be written to '{folder}': {error}") from None

    def _details(self) -> dict[str, Any]:
        shape = self._bench.backbone.layout.shape
        dealt = self.request.configuration.allocation
        found = {} if self._steering is None else self._steering.to_json()
        return {
            **({"allocation": {**self.allocated.to_json(shape), **found}} if dealt else {}),
            "threads": torch.get_num_threads(),
            "layers_left_out": self.depth,
            **({"parts": self._parts} if self._parts else {}),
            **({"checkpoint": self._not_kept} if self._not_kept else {}),
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
