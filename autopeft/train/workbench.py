"""The warm worker's state: backbone and encoded data loaded once, modules swapped trial by trial."""

import contextlib
import functools
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from torch import nn
from torch.nn import functional

import autopeft
from autopeft.adapters import Attached, attach, save_adapter
from autopeft.backbones import Backbone, load_backbone, model_path, reset_head
from autopeft.errors import BackboneError, TrialError
from autopeft.nouns import Configuration
from autopeft.registry import Objective
from autopeft.tasks.batches import Encoded, encode, epoch_order, evaluation_order, training_order
from autopeft.tasks.load import load_task
from autopeft.tasks.metrics import compute
from autopeft.tasks.preprocessor import load_preprocessor
from autopeft.tasks.task import TaskSettings
from autopeft.tasks.untouched import load_untouched
from autopeft.train.checkpointing import checkpointed
from autopeft.train.frozen import FROZEN, FrozenLayers, WithoutFrozen
from autopeft.train.loop import Training, accumulate, predict, rate_factor, train_epoch
from autopeft.train.memory import peak_bytes, reset_peak
from autopeft.train.trained import Trained, measured

_EVALUATION_BATCH = 256
_INPUTS_BATCH = 16
RUNG_EXAMPLES = 500
"""Between epochs a fixed sample of the validation split says enough; the last epoch is scored on all of it."""


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


def _has_stalled(scores: Sequence[float], patience: int | None) -> bool:
    """Whether the best of the scores, one an epoch, is at least so many epochs ago.

    >>> _has_stalled([0.5, 0.7, 0.6, 0.7], 2), _has_stalled([0.5, 0.7, 0.6, 0.8], 2)
    (True, False)
    """
    return patience is not None and len(scores) - 1 - scores.index(max(scores)) >= patience


def _agree(tokenizer: Any, backbone: Backbone) -> None:
    """Make tokenizer and model agree on the longest text and on what is padding (decoders pool before it)."""
    if backbone.max_positions is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, backbone.max_positions)
    backbone.model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


class Workbench:
    """Everything that trials of one study share on one worker.

    >>> bench = Workbench.prepare(backbone_settings, task_settings, Training())     # doctest: +SKIP
    >>> for report in bench.trial(configuration, seed=0, folder=Path("out")): ...   # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: Backbone,
        task: TaskSettings,
        data: dict[str, Encoded],
        training: Training,
        sites: Mapping[str, str] | None = None,
        cache: Path | None = None,
    ) -> None:
        self.backbone = backbone
        self.sites = sites
        self.task = task
        self.data = data
        self.training = training
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.backbone.model.to(self.device)
        self._frozen = None if cache is None else FrozenLayers(backbone, cache)
        self._left_out = 0  # layers that the trial does without
        self._rows: int | None = None  # examples of a batch that the trial trains on at once; None: all
        self._evaluation_batch = _EVALUATION_BATCH
        self._prepared: dict[str, Any] = {}  # by objective: what it needs of the bare backbone

    @classmethod
    def prepare(
        cls,
        path: str,
        overrides: Mapping[str, Any],
        task: TaskSettings,
        training: Training,
        sites: Mapping[str, str] | None = None,
        untouched: Mapping[str, Any] | None = None,
        cache: Path | None = None,
    ) -> "Workbench":
        """Load backbone and data.

        Args:
            path: `starter`, folder or hub id of the backbone.
            overrides: Fields of its configuration that the study changes.
            task: What to load, tokenise and score by.
            training: How trials are trained.
            sites: Sites that are named by hand, as `find_layout` takes them.
            untouched: Data that nothing is trained on, as `find_untouched` has them.
            cache: Folder of what the frozen first layers make of these data, for all workers of the study on this machine;
                None to compute it in every trial. See `autopeft.train.frozen`.

        Raises:
            BackboneError, DataError: They cannot be loaded, or are not what the study began with.
        """
        loaded = load_task(task)
        path = model_path(path)
        backbone = load_backbone(
            path,
            modality=task.modality,
            num_labels=task.num_labels,
            regression=task.problem == "regression",
            config_overrides=overrides,
            sites=sites,
        )
        preprocessor = load_preprocessor(path, task.modality)
        if task.modality == "text":
            _agree(preprocessor, backbone)
        splits = {
            "train": loaded.train,
            "validation": loaded.validation,
            "confirmation": loaded.confirmation,
            "test": loaded.test,
        }
        data = {
            name: encode(split, task, preprocessor) for name, split in splits.items() if split is not None
        }
        if untouched is not None:
            second, how = load_untouched(untouched, task)
            data["untouched"] = encode(second, how, preprocessor)
        return cls(backbone, task, data, training, sites, cache)

    def trial(
        self,
        configuration: Configuration,
        seed: int,
        folder: Path | None,
        *,
        whole_rungs: bool = False,
        confirm: bool = False,
        objectives: Sequence[Objective] = (),
    ) -> Iterator[Report]:
        """Train one configuration, a report an epoch; the modules are taken off whatever happens.

        Args:
            configuration: What to put on.
            seed: Of the head, the modules and the order of batches.
            folder: Where the trained adapter goes; None to keep nothing.
            whole_rungs: Score every epoch as the last: on all of validation, and on test. For tables of curves.
            confirm: Score the last epoch on what was held back for the confirmation too.
            objectives: What to say of the trained trial besides, with the last report.

        Raises:
            TrialError: The modules cannot be put on, the loss is not finite, or memory ran out.
        """
        started = time.monotonic()
        reset_peak(self.device)
        model, task = self.backbone.model, self.task
        for objective in objectives:
            if objective.prepare is not None and objective.name not in self._prepared:
                self._prepared[objective.name] = objective.prepare(self)
        training = replace(self.training, **dict(configuration.training))  # type: ignore[arg-type]
        n = len(self.data["train"])
        steps = training.epochs * math.ceil(n / training.batch_size)
        order = functools.partial(training_order, self.data["train"].lengths, training.batch_size, seed)
        torch.manual_seed(seed)
        reset_head(model, self.backbone.head)
        try:
            attached = attach(
                model,
                self.backbone.layout,
                self.backbone.head,
                configuration,
                text=self.backbone.text,
                steps=steps,
                batches=lambda: self._inputs(order(0), training.batch_size),
            )
        except BackboneError as error:
            raise TrialError(str(error)) from None
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory(error) from None
        try:
            self._check_positions(attached)
            runner = self._without_frozen(attached.runner, configuration)
            optimizer = torch.optim.AdamW(
                attached.trainable(),
                lr=configuration.learning_rate,
                weight_decay=training.weight_decay,
                fused=True,
            )
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimizer,
                functools.partial(rate_factor, steps=steps, warmup_fraction=training.warmup_fraction),
            )
            scores: list[float] = []
            training_seconds = 0.0
            for epoch in range(training.epochs):
                began = time.monotonic()
                with self._checkpointed(training):
                    loss = train_epoch(
                        optimizer,
                        schedule,
                        self._shortened("train", order(epoch), training.batch_size),
                        functools.partial(self._gradients, runner),
                        training.max_grad_norm,
                        attached.penalty,
                        attached.after_step,
                    )
                training_seconds += time.monotonic() - began
                if not math.isfinite(loss):
                    raise TrialError(f"the training loss is {loss} in epoch {epoch + 1}.")
                last = epoch + 1 == training.epochs
                scores.append(
                    self.score(runner, "validation", None if last or whole_rungs else RUNG_EXAMPLES)
                )
                if not last and _has_stalled(scores, training.patience):
                    last = True
                    scores[-1] = self.score(runner, "validation")
                values = {"score": scores[-1], "train_loss": loss}
                if (last or whole_rungs) and "test" in self.data:
                    values["test_score"] = self.score(runner, "test")
                if last and confirm and "confirmation" in self.data:
                    values["confirmation_score"] = self.score(runner, "confirmation")
                if last:
                    if folder is not None:
                        record = {
                            "task": task.to_json(),
                            "seed": seed,
                            "training": asdict(training),
                            "backbone": model.config.name_or_path,
                            **({"sites": dict(self.sites)} if self.sites else {}),
                            **values,
                        }
                        save_adapter(attached, configuration, folder, text=self.backbone.text, record=record)
                    values["seconds"] = time.monotonic() - started
                    values["peak_memory_bytes"] = float(peak_bytes(self.device))
                    trained = Trained(self, attached, configuration, training, training_seconds)
                    values |= measured(trained, objectives, self._prepared)
                details = self._details() if last else {}
                if "confirmation_score" in values:
                    details["confirmation_examples"] = len(self.data["confirmation"])
                yield Report(epoch + 1, values, last, details)
                if last:
                    return
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory(error) from None
        finally:
            self._left_out, self._rows = 0, None
            attached.detach()

    def _without_frozen(self, runner: nn.Module, configuration: Configuration) -> nn.Module:
        """The model as the trial runs it: without its first layers, where these are frozen and what they say is known."""
        runner.eval()  # frozen parts have no dropout, in no trial
        depth = 0 if self._frozen is None else self._frozen.depth(configuration)
        if self._frozen is None or self._frozen.states("train", self.data["train"], depth) is None:
            return runner
        self._left_out = depth
        return WithoutFrozen(runner, self._frozen, depth)

    def _checkpointed(self, training: Training) -> contextlib.AbstractContextManager[None]:
        if not training.gradient_checkpointing:
            return contextlib.nullcontext()
        paths = [layer.path for layer in self.backbone.layout.layers[self._left_out :]]
        return checkpointed([self.backbone.model.get_submodule(path) for path in paths])

    def _gradients(self, runner: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """As `accumulate`; where memory runs out, from now on in halves of what did not fit."""
        while True:
            try:
                return accumulate(runner, self.loss_of, batch, self._rows)
            except torch.OutOfMemoryError:
                rows = min(self._rows or self.training.batch_size, len(batch["labels"]))
                if rows == 1:
                    raise
            # After the handler: what failed holds on to its tensors while its traceback is there.
            self._rows = math.ceil(rows / 2)
            for parameter in runner.parameters():
                parameter.grad = None
            self._free()

    def _free(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _out_of_memory(self, error: torch.OutOfMemoryError) -> TrialError:
        return TrialError(f"out of memory on {self.device}: {str(error).splitlines()[0]}")

    def _check_positions(self, attached: Attached) -> None:
        """Tokens before the input need positions too.

        Raises:
            TrialError: The longest text has no room for them.
        """
        tokens = sum(one.tokens for one in attached.planned)
        most = self.backbone.max_positions
        longest = max(int(data.lengths.max()) for data in self.data.values())
        if tokens and most is not None and longest + tokens > most:
            raise TrialError(
                f"{tokens} tokens before texts of up to {longest} tokens are more than the backbone's {most} "
                f"positions: cut the texts with --max-length {most - tokens}."
            )

    def _inputs(self, order: torch.Tensor, size: int) -> Iterator[dict[str, torch.Tensor]]:
        for batch in self.batches("train", order, size):
            yield {name: tensor for name, tensor in batch.items() if name != "labels"}

    def batches(
        self, split: str, order: torch.Tensor, size: int = _EVALUATION_BATCH
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Some examples of a split in this order, with their labels, on the workbench's device."""
        for indices in order.split(size):
            batch = self.data[split].batch(indices)
            yield {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _shortened(self, split: str, order: torch.Tensor, size: int) -> Iterator[dict[str, torch.Tensor]]:
        """As `batches`, with what the layers would have said that the trial does without."""
        states = None
        if self._frozen is not None and self._left_out:
            states = self._frozen.states(split, self.data[split], self._left_out)
        for indices, batch in zip(order.split(size), self.batches(split, order, size), strict=True):
            if states is not None:
                batch[FROZEN] = states.batch(indices, batch.get("attention_mask")).to(self.device)
            yield batch

    def inputs(self, split: str, most: int) -> Iterator[dict[str, torch.Tensor]]:
        """So many examples of a split, the same for every trial, without labels: batches of like length, longest first."""
        data = self.data[split]
        sample = epoch_order(len(data), seed=0, epoch=0)[:most]
        order = sample[data.lengths[sample].argsort(descending=True, stable=True)]
        for batch in self.batches(split, order, _INPUTS_BATCH):
            yield {name: tensor for name, tensor in batch.items() if name != "labels"}

    def score(self, runner: nn.Module, split: str, most: int | None = None) -> float:
        """The task's metric on a split, or on a sample of so many of its examples, the same for every trial."""
        data = self.data[split]
        order = evaluation_order(data)
        if most is not None and most < len(order):
            sample = epoch_order(len(order), seed=0, epoch=0)[:most]  # the same for every trial
            order = order[sample.sort().values]
        logits = self._predict(runner, split, order)
        return compute(self.task.metric, logits.numpy(), data.labels[order].numpy())

    def _predict(self, runner: nn.Module, split: str, order: torch.Tensor) -> torch.Tensor:
        while True:
            try:
                return predict(runner, self._shortened(split, order, self._evaluation_batch))
            except torch.OutOfMemoryError:
                if self._evaluation_batch == 1:
                    raise
            self._evaluation_batch = math.ceil(self._evaluation_batch / 2)
            self._free()

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss that trials are trained by."""
        if self.task.problem == "classification":
            return functional.cross_entropy(logits, labels)
        return self._scaled_error(logits, labels)

    @functools.cached_property
    def _target_scale(self) -> tuple[float, float]:
        targets = self.data["train"].labels.double()
        return float(targets.mean()), max(float(targets.std()), 1e-12)

    def _scaled_error(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # Regression learns (target - mean) / deviation: correlations do not see it, and one learning rate fits all units.
        mean, deviation = self._target_scale
        return functional.mse_loss(logits.squeeze(-1), (targets - mean) / deviation)

    def _details(self) -> dict[str, Any]:
        return {
            "threads": torch.get_num_threads(),
            "layers_left_out": self._left_out,
            **({} if self._rows is None else {"rows_at_once": self._rows}),
            "device": str(self.device),
            "process": os.getpid(),
            "autopeft": autopeft.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        }
