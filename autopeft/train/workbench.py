"""The warm worker's state: backbone and encoded data loaded once, modules swapped trial by trial."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from autopeft.adapters import Attached
from autopeft.backbones import Backbone, load_backbone, model_path
from autopeft.errors import TrialError
from autopeft.nouns import Configuration
from autopeft.registry import Objective
from autopeft.store.files import Place
from autopeft.tasks.batches import Encoded, encode, epoch_order, evaluation_order
from autopeft.tasks.direction import oriented
from autopeft.tasks.load import load_task
from autopeft.tasks.metrics import METRICS, compute, measured
from autopeft.tasks.preprocessor import load_preprocessor
from autopeft.tasks.sequences import EncodedSequences, Known, token_loss
from autopeft.tasks.stored import encoded_once
from autopeft.tasks.task import Split, TaskSettings
from autopeft.tasks.untouched import load_untouched
from autopeft.train.allocating.dealing import allocate
from autopeft.train.checkpointing import checkpointed
from autopeft.train.frozen import FROZEN, FrozenLayers, WithoutFrozen
from autopeft.train.loop import Training, autocast, predict
from autopeft.train.running import Report, Request, Running
from autopeft.weights import PLAIN, Storage

_EVALUATION_BATCH = 256
_INPUTS_BATCH = 16


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
        if backbone.storage.moves:
            self.backbone.model.to(self.device)
        self._frozen = None if cache is None else FrozenLayers(backbone, cache)
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
        storage: Storage = PLAIN,
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
            storage: How the frozen weights are kept.

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
            storage=storage,
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

        def encoded(name: str, split: Split, how: TaskSettings) -> Encoded:
            make = functools.partial(encode, split, how, preprocessor, start)
            return make() if cache is None else encoded_once(cache / "encoded" / name, make, preprocessor)

        data = {name: encoded(name, split, task) for name, split in splits.items() if split is not None}
        if untouched is not None:
            data["untouched"] = encoded("untouched", *load_untouched(untouched, task))
        return cls(backbone, task, data, training, sites, cache, preprocessor)

    def trial(
        self,
        configuration: Configuration,
        seed: int,
        folder: Place | None,
        *,
        whole_rungs: bool = False,
        confirm: bool = False,
        objectives: Sequence[Objective] = (),
        checkpoint: Place | None = None,
        on_step: Callable[[int, int, torch.Tensor], None] | None = None,
    ) -> Iterator[Report]:
        """Train one configuration, a report an epoch; the modules are taken off whatever happens.

        With a checkpoint, a trial that was left in the middle goes on after its last epoch, whose report comes first once more,
        and ends with the numbers that it would have had. One whose allocator decides while it is trained begins anew.

        Args:
            configuration: What to put on.
            seed: Of the head, the modules and the order of batches.
            folder: Where the trained adapter goes; None to keep nothing.
            whole_rungs: Score every epoch as the last: on all of validation, and on test. For tables of curves.
            confirm: Score the last epoch on what was held back for the confirmation too.
            objectives: What to say of the trained trial besides, with the last report.
            checkpoint: File in which to keep what is needed to go on, after each epoch but the last; None to keep nothing.
                Who trains trials deletes it: a trial that is stopped does not know that it will not go on.
            on_step: Called in each step: its number from 1, all steps, the batch's mean loss.

        Raises:
            TrialError: The modules cannot be put on, the loss is not finite, or memory ran out.
        """
        allocated = allocate(self, configuration, seed) if configuration.allocation else None
        request = Request(
            configuration,
            seed,
            folder,
            whole_rungs,
            confirm,
            tuple(objectives),
            allocated,
            checkpoint,
            on_step,
        )
        running = Running(self, request)
        try:
            reported = running.take_up()
            if reported is not None:
                yield reported
            while True:
                report = running.report(running.train_epoch())
                if not report.last:
                    running.keep(report)
                yield report
                if report.last:
                    return
        finally:
            running.attached.detach()

    def prepared(self, objectives: Sequence[Objective]) -> Mapping[str, Any]:
        """What objectives need of the bare backbone, by name; the model has no modules on the first time."""
        for objective in objectives:
            if objective.prepare is not None and objective.name not in self._prepared:
                self._prepared[objective.name] = objective.prepare(self)
        return self._prepared

    def left_out(self, configuration: Configuration) -> int:
        """How many layers, from the first, a trial can do without, because it is known what they say."""
        depth = 0 if self._frozen is None else self._frozen.depth(configuration)
        there = (
            self._frozen is not None and self._frozen.states("train", self.data["train"], depth) is not None
        )
        return depth if there else 0

    def without_frozen(self, runner: nn.Module, depth: int) -> nn.Module:
        """A model as a trial runs it that does without so many layers; its batches are those of `shortened`."""
        runner.eval()  # frozen parts have no dropout, in no trial
        return WithoutFrozen(runner, self._frozen, depth) if self._frozen is not None and depth else runner

    def checkpointed(self, training: Training, depth: int) -> contextlib.AbstractContextManager[None]:
        """What training one epoch is inside of."""
        if not training.gradient_checkpointing:
            return contextlib.nullcontext()
        paths = [layer.path for layer in self.backbone.layout.layers[depth:]]
        return checkpointed([self.backbone.model.get_submodule(path) for path in paths])

    def halved(self, rows: int) -> int:
        """Half of the rows that did not fit into memory."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return math.ceil(rows / 2)

    def check_positions(self, attached: Attached) -> None:
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

    def batches(
        self, split: str, order: torch.Tensor, size: int = _EVALUATION_BATCH
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Some examples of a split in this order, with their labels, on the workbench's device."""
        for indices in order.split(size):
            batch = self.data[split].batch(indices)
            yield {name: tensor.to(self.device) for name, tensor in batch.items()}

    def shortened(
        self, split: str, order: torch.Tensor, size: int, depth: int
    ) -> Iterator[dict[str, torch.Tensor]]:
        """As `batches`, with what so many layers would have made of them: for `without_frozen`."""
        states = None
        if self._frozen is not None and depth:
            states = self._frozen.states(split, self.data[split], depth)
        for indices, batch in zip(order.split(size), self.batches(split, order, size), strict=True):
            if states is not None:
                batch[FROZEN] = states.batch(indices, batch.get("attention_mask")).to(self.device)
            yield batch

    def run(self, runner: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """What a model says of inputs, its products of the type that trials compute in."""
        with autocast(runner, self.device):
            return runner(**inputs)

    def inputs(self, split: str, most: int) -> Iterator[dict[str, torch.Tensor]]:
        """So many examples of a split, the same for every trial, without labels: batches of like length, longest first."""
        data = self.data[split]
        sample = epoch_order(len(data), seed=0, epoch=0)[:most]
        order = sample[data.lengths[sample].argsort(descending=True, stable=True)]
        for batch in self.batches(split, order, _INPUTS_BATCH):
            yield {name: tensor for name, tensor in batch.items() if name != "labels"}

    def score(self, runner: nn.Module, split: str, most: int | None = None, depth: int = 0) -> float:
        """How good the task's metric is on a split, or on a sample of so many of its examples, the same for every trial.

        Args:
            runner: What takes the batches.
            split: Name of the split.
            most: Examples of the sample; None for all.
            depth: Layers that it can do without.

        Returns:
            Larger is better; `autopeft.tasks.direction.oriented` has the metric's own value.
        """
        data = self.data[split]
        order = evaluation_order(data)
        if most is not None and most < len(order):
            sample = epoch_order(len(order), seed=0, epoch=0)[:most]  # the same for every trial
            order = order[sample.sort().values]
        if isinstance(data, EncodedSequences):
            measure = METRICS[self.task.metric].measure
            assert measure is not None
            # A number for each token and each word that it may be: as many examples at once as training has, and no more. All
            # layers take part: a metric may have the model write, which no file of states can help with.
            batches = self.batches(split, order, self.training.batch_size)
            with autocast(runner.eval(), self.device):
                return oriented(self.task.metric, measured(measure, runner, batches, self.known))
        shortened = self.without_frozen(runner, depth)
        while True:
            try:
                logits = predict(shortened, self.shortened(split, order, self._evaluation_batch, depth))
                return compute(self.task.metric, logits.numpy(), data.labels[order].numpy())
            except torch.OutOfMemoryError:
                if self._evaluation_batch == 1:
                    raise
            self._evaluation_batch = self.halved(self._evaluation_batch)

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
