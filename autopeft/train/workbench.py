"""The warm worker's state: backbone and encoded data loaded once, modules swapped trial by trial."""

import functools
import math
import os
import time
from collections.abc import Iterator, Mapping
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
from autopeft.tasks.batches import Encoded, encode, epoch_order, evaluation_order
from autopeft.tasks.direction import oriented
from autopeft.tasks.load import load_task
from autopeft.tasks.metrics import METRICS, compute, measured
from autopeft.tasks.preprocessor import load_preprocessor
from autopeft.tasks.sequences import EncodedSequences, Known, token_loss
from autopeft.tasks.task import TaskSettings
from autopeft.train.loop import Training, predict, rate_factor, train_epoch
from autopeft.train.memory import peak_bytes, reset_peak

_EVALUATION_BATCH = 256
RUNG_EXAMPLES = 500
"""Between epochs a fixed sample of the validation split says enough; the last epoch is scored on all of it."""


@dataclass(frozen=True)
class Report:
    """What a trial says after an epoch.

    Attributes:
        rung: The epoch, from 1.
        values: `score` (of a sample of the validation split until the last epoch) and `train_loss`; after the
            last epoch also `test_score` (where there is a test split), `confirmation_score` (of a confirming trial, where
            examples are held back for it), `seconds` and `peak_memory_bytes`.
        last: Whether the trial is complete.
        details: With the last report: how it was trained, for the record.
    """

    rung: int
    values: Mapping[str, float]
    last: bool
    details: Mapping[str, Any]


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
        preprocessor: Any = None,
    ) -> None:
        self.backbone = backbone
        limit = min(task.max_length, backbone.max_positions or task.max_length)
        self.known = Known(task.labels, preprocessor, limit)
        self.sites = sites
        self.task = task
        self.data = data
        self.training = training
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.backbone.model.to(self.device)

    @classmethod
    def prepare(
        cls,
        path: str,
        overrides: Mapping[str, Any],
        task: TaskSettings,
        training: Training,
        sites: Mapping[str, str] | None = None,
    ) -> "Workbench":
        """Load backbone and data.

        Args:
            path: `starter`, folder or hub id of the backbone.
            overrides: Fields of its configuration that the study changes.
            task: What to load, tokenise and score by.
            training: How trials are trained.
            sites: Sites that are named by hand, as `find_layout` takes them.

        Raises:
            BackboneError, DataError: They cannot be loaded, or are not what the study began with.
        """
        loaded = load_task(task)
        path = model_path(path)
        backbone = load_backbone(
            path,
            modality=task.modality,
            problem=task.problem,
            num_labels=task.num_labels,
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
        start = getattr(backbone.model.config, "decoder_start_token_id", None)
        data = {
            name: encode(split, task, preprocessor, start)
            for name, split in splits.items()
            if split is not None
        }
        return cls(backbone, task, data, training, sites, preprocessor)

    def trial(
        self,
        configuration: Configuration,
        seed: int,
        folder: Path | None,
        *,
        whole_rungs: bool = False,
        confirm: bool = False,
    ) -> Iterator[Report]:
        """Train one configuration, a report an epoch; the modules are taken off whatever happens.

        Args:
            configuration: What to put on.
            seed: Of the head, the modules and the order of batches.
            folder: Where the trained adapter goes; None to keep nothing.
            whole_rungs: Score every epoch as the last: on all of validation, and on test. For tables of curves.
            confirm: Score the last epoch on what was held back for the confirmation too.

        Raises:
            TrialError: The modules cannot be put on, the loss is not finite, or memory ran out.
        """
        started = time.monotonic()
        reset_peak(self.device)
        model, task = self.backbone.model, self.task
        training = replace(self.training, **dict(configuration.training))  # type: ignore[arg-type]
        n = len(self.data["train"])
        steps = training.epochs * math.ceil(n / training.batch_size)
        torch.manual_seed(seed)
        reset_head(model, self.backbone.head)
        try:
            attached = attach(
                model,
                self.backbone.layout,
                self.backbone.head,
                configuration,
                task_type=self.backbone.task_type,
                steps=steps,
                batches=lambda: self._inputs(epoch_order(n, seed, 0), training.batch_size),
            )
        except BackboneError as error:
            raise TrialError(str(error)) from None
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory(error) from None
        try:
            self._check_positions(attached)
            # AdamW refuses to have nothing, and that is what there is of a backbone with its own head and no modules.
            trained = attached.trainable() or [nn.Parameter(torch.zeros(0))]
            optimizer = torch.optim.AdamW(
                trained, lr=configuration.learning_rate, weight_decay=training.weight_decay
            )
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimizer,
                functools.partial(rate_factor, steps=steps, warmup_fraction=training.warmup_fraction),
            )
            for epoch in range(training.epochs):
                loss = train_epoch(
                    attached.runner,
                    optimizer,
                    schedule,
                    self.batches("train", epoch_order(n, seed, epoch), training.batch_size),
                    self.loss_of,
                    training.max_grad_norm,
                    attached.penalty,
                    attached.after_step,
                )
                if not math.isfinite(loss):
                    raise TrialError(f"the training loss is {loss} in epoch {epoch + 1}.")
                last = epoch + 1 == training.epochs
                whole = last or whole_rungs
                score = self.score(attached.runner, "validation", None if whole else RUNG_EXAMPLES)
                values = {"score": score, "train_loss": loss}
                if whole and "test" in self.data:
                    values["test_score"] = self.score(attached.runner, "test")
                if last and confirm and "confirmation" in self.data:
                    values["confirmation_score"] = self.score(attached.runner, "confirmation")
                if last:
                    if folder is not None:
                        record = {
                            "task": task.to_json(),
                            "seed": seed,
                            "training": asdict(training),
                            "backbone": model.config.name_or_path,
                            **({"sites": dict(self.sites)} if self.sites else {}),
                            **{
                                name: value if name == "train_loss" else oriented(task.metric, value)
                                for name, value in values.items()
                            },
                        }
                        kind = self.backbone.task_type
                        save_adapter(attached, configuration, folder, task_type=kind, record=record)
                    values["seconds"] = time.monotonic() - started
                    values["peak_memory_bytes"] = float(peak_bytes(self.device))
                details = self._details() if last else {}
                if "confirmation_score" in values:
                    details["confirmation_examples"] = len(self.data["confirmation"])
                yield Report(epoch + 1, values, last, details)
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory(error) from None
        finally:
            attached.detach()

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
        for start in range(0, len(order), size):
            batch = self.data[split].batch(order[start : start + size])
            yield {name: tensor.to(self.device) for name, tensor in batch.items()}

    def score(self, runner: nn.Module, split: str, most: int | None = None) -> float:
        """How good the task's metric is on a split, or on a sample of so many of its examples, the same for every trial.

        Returns:
            Larger is better; `autopeft.tasks.direction.oriented` has the metric's own value.
        """
        data = self.data[split]
        order = evaluation_order(data)
        if most is not None and most < len(order):
            sample = epoch_order(len(order), seed=0, epoch=0)[:most]  # the same for every trial
            order = order[sample.sort().values]
        measure = METRICS[self.task.metric].measure
        if isinstance(data, EncodedSequences):
            assert measure is not None
            # A number for each token and each word that it may be: as many examples at once as training has, and no more.
            return oriented(
                self.task.metric,
                measured(measure, runner, self.batches(split, order, self.training.batch_size), self.known),
            )
        logits = predict(runner, self.batches(split, order))
        return compute(self.task.metric, logits.numpy(), data.labels[order].numpy())

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss that trials are trained by."""
        if self.task.problem == "classification":
            return functional.cross_entropy(logits, labels)
        if self.task.problem != "regression":
            return token_loss(logits, labels)
        return self._scaled_error(logits, labels)

    @functools.cached_property
    def _target_scale(self) -> tuple[float, float]:
        data = self.data["train"]
        assert not isinstance(data, EncodedSequences)
        targets = data.labels.double()
        return float(targets.mean()), max(float(targets.std()), 1e-12)

    def _scaled_error(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # Regression learns (target - mean) / deviation: correlations do not see it, and one learning rate fits all units.
        mean, deviation = self._target_scale
        return functional.mse_loss(logits.squeeze(-1), (targets - mean) / deviation)

    def _details(self) -> dict[str, Any]:
        return {
            "threads": torch.get_num_threads(),
            "device": str(self.device),
            "process": os.getpid(),
            "autopeft": autopeft.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        }
