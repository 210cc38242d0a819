"""One cheap training that ranks many: an adapter whose sizes are drawn anew at every step.

All configurations of a space share the weights of one super-adapter, the largest module at every place: the first w
units of the widest bottleneck, the first tokens of the longest prefix, the first ranks of the highest LoRA. Every step
trains what a few random configurations take of it, and afterwards any configuration is scored as it stands.

Cai et al. 2020 (1908.09791) train a network for many sizes at once; Munoz et al. 2024 (2404.10934, LoNAS) do so with
LoRA, and Valipour et al. 2023 (2210.07558, DyLoRA) with its ranks.
"""

import functools
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from autopeft.adapters import attach
from autopeft.adapters.own import own_name
from autopeft.allocate.gradients import Gradients, some_sizes
from autopeft.allocate.spots import FACTORS, Cut, Spot, cuts, scale
from autopeft.backbones import reset_head
from autopeft.dsl.bound import Assignment, BoundSpace
from autopeft.dsl.choosers import Slot
from autopeft.dsl.decisions import Levels
from autopeft.errors import BackboneError, TrialError
from autopeft.nouns import Configuration, Module, Size
from autopeft.tasks.batches import epoch_order, training_order
from autopeft.train.loop import rate_factor
from autopeft.train.running import RUNG_EXAMPLES, Report
from autopeft.train.workbench import Workbench

_NOTHING = Cut(0, 0.0)


def supports(space: BoundSpace) -> str:
    """Why the configurations of a space cannot share one adapter, as a sentence; empty if they can."""
    for part in space.parts:
        known = part.type.name
        if known not in FACTORS:
            allowed = ", ".join(FACTORS)
            return (
                f"'{part.name}' is of type {known}, whose sizes are no parts of one another: "
                f"an elastic adapter takes {allowed}."
            )
        for name, slot in part.options:
            if name == FACTORS[known]:
                continue
            values = _values(space, slot)
            if values is None:
                return (
                    f"{name} of '{part.name}' is any number of an interval: an elastic adapter takes lists."
                )
            if name == "dora" and any(values):
                return f"'{part.name}' may have dora, whose norms hang on all ranks: an elastic adapter takes none."
            if name == "init" and set(values) != {"default"}:
                return (
                    f"'{part.name}' may start with ranks that hang on one another: "
                    "an elastic adapter takes init default alone."
                )
    return ""


def _values(space: BoundSpace, slot: Slot) -> tuple[Any, ...] | None:
    """Every value that a field may have, None among them left out; None for an interval."""
    found = {slot.constant, slot.otherwise}
    for index in slot.indices.values():
        decision = space.decisions[index]
        if not isinstance(decision, Levels):
            return None
        found |= {value if slot.times is None else value * slot.times for value in decision.values}
    return tuple(sorted((value for value in found if value is not None), key=str))


def _largest(space: BoundSpace, slot: Slot) -> int:
    ends = [0, slot.constant or 0, slot.otherwise or 0]
    for index in slot.indices.values():
        decision = space.decisions[index]
        high = max(decision.values) if isinstance(decision, Levels) else decision.high
        ends.append(high * (slot.times or 1))
    return int(max(ends))


def super_adapter(space: BoundSpace) -> Configuration:
    """The largest module at every spot that some configuration of the space takes, at the middle learning rate."""
    sizes: dict[Spot, int] = {}
    for part in space.parts:
        names = [name for name, _ in part.options if name != FACTORS[part.type.name]]
        lists = [_values(space, slot) or () for name, slot in part.options if name in names]
        largest = _largest(space, part.size)
        for values in itertools.product(*lists):
            options = tuple(sorted(zip(names, values, strict=True)))
            for layer, site in itertools.product(part.layers.of, part.sites.of):
                if space.shape.place(layer, site) is not None:
                    spot = Spot(part.type.name, options, layer, site)
                    sizes[spot] = max(largest, sizes.get(spot, 0))
    modules = [_module(spot, size) for spot, size in sizes.items()]
    return Configuration.of(modules, space.decisions[-1].at(0.5))


def _module(spot: Spot, size: Size) -> Module:
    return Module(spot.type, size, (spot.layer,), tuple(sorted([*spot.options, ("sites", (spot.site,))])))


class Shared(NamedTuple):
    """A tensor of which smaller modules take the first part.

    Attributes:
        module: Whose parameter it is.
        name: The parameter's name there.
        axis: Along which sizes count; None where every size has all of it.
        whole: All of it.
    """

    module: nn.Module
    name: str
    axis: int | None
    whole: nn.Parameter

    def first(self, tensor: torch.Tensor, size: int) -> torch.Tensor:
        """What a size takes of a tensor that is shaped as the whole."""
        return tensor if self.axis is None else tensor.narrow(self.axis, 0, size)


class Elastic:
    """A super-adapter that is on a model; it stands as the configuration that was taken last.

    >>> elastic = Elastic(bench, space, seed=0)                    # doctest: +SKIP
    >>> elastic.take(configuration)                                # doctest: +SKIP
    """

    def __init__(self, bench: Workbench, space: BoundSpace, seed: int) -> None:
        """Put the super-adapter of a space on, with a fresh head.

        Raises:
            TrialError: The model cannot take it.
        """
        self.bench = bench
        self.space = space
        self.whole = super_adapter(space)
        backbone = bench.backbone
        torch.manual_seed(seed)
        reset_head(backbone.model, backbone.head)
        try:
            self.attached = attach(
                backbone.model, backbone.layout, backbone.head, self.whole, task_type=backbone.task_type
            )
        except BackboneError as error:
            raise TrialError(str(error)) from None
        self.trainable = self.attached.trainable()
        self.largest = cuts(self.whole, space.shape)
        self._at = {spot: self._shared(spot, cut.size) for spot, cut in self.largest.items()}

    def take(self, configuration: Configuration) -> None:
        """Let the super-adapter act as a configuration of its space.

        Raises:
            ValueError: The configuration is of another space: not all of it is in the super-adapter.
        """
        taken = cuts(configuration, self.space.shape)
        for spot, cut in taken.items():
            most = self.largest.get(spot, _NOTHING).size
            if cut.size > most:
                raise ValueError(
                    f"a {spot.type} of size {cut.size} at {spot.site} of layer {spot.layer} is not in the "
                    f"super-adapter, which has {f'sizes up to {most}' if most else 'nothing like it'} there: "
                    "take configurations of its space."
                )
        for spot, (set_scale, tensors) in self._at.items():
            cut = taken.get(spot, _NOTHING)
            set_scale(scale(spot, cut))  # 0 where there is nothing, for the bias of a bottleneck's way up
            for one in tensors:
                # A view in the parameter's place: what is trained through it is the parameter.
                one.module._parameters[one.name] = one.first(one.whole, cut.size)  # type: ignore[assignment]

    def loss(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The mean loss over a batch, of what stands."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        return self.bench.loss_of(self.bench.run(self.attached.runner, inputs).logits, batch["labels"])

    def gradients(self, batches: Sequence[Mapping[str, torch.Tensor]]) -> Gradients:
        """Of the loss, by the super-adapter as it stands whole.

        Args:
            batches: The examples whose mean loss it is, as many at once as memory holds.
        """
        self.take(self.whole)
        examples = sum(len(batch["labels"]) for batch in batches)
        for batch in batches:
            (self.loss(batch) * (len(batch["labels"]) / examples)).backward()

        def square(tensors: list[Shared], size: int) -> float:
            first = [one.first(one.whole.grad, size) for one in tensors if one.whole.grad is not None]
            return sum(float(gradient.square().sum()) for gradient in first)

        found = {}
        for spot, (_, tensors) in self._at.items():
            sizes = some_sizes(self.largest[spot].size)
            found[spot] = sizes, tuple(square(tensors, size) for size in sizes)
        return Gradients(self.largest, found)

    def close(self) -> None:
        """Take the super-adapter off."""
        for _, tensors in self._at.values():
            for one in tensors:
                one.module._parameters[one.name] = one.whole
        self.attached.detach()

    def _shared(self, spot: Spot, largest: int) -> tuple[Callable[[float], None], list[Shared]]:
        if spot.type == "lora":
            layer = self._lora(spot)
            down, up = layer.lora_A["default"], layer.lora_B["default"]
            of_layer = functools.partial(layer.scaling.__setitem__, "default")
            return of_layer, [Shared(down, "weight", 0, down.weight), Shared(up, "weight", 1, up.weight)]
        module: Any = self.attached.own[own_name(_module(spot, largest), spot.layer, spot.site)]
        if spot.type == "prefix":
            names = ("keys", "values")
            return lambda scale: None, [Shared(module, name, 0, getattr(module, name)) for name in names]
        down, up = module.down, module.up
        tensors = [Shared(down, "weight", 0, down.weight), Shared(down, "bias", 0, down.bias)]
        tensors += [Shared(up, "weight", 1, up.weight), Shared(up, "bias", None, up.bias)]
        return functools.partial(setattr, module, "scaling"), tensors

    def _lora(self, spot: Spot) -> Any:
        path = self.bench.backbone.layout.layers[spot.layer].sites[spot.site]
        rslora = dict(spot.options)["rslora"]
        for planned, adapter in zip(self.attached.planned, self.attached.stack.adapters, strict=True):
            if planned.type == "lora" and planned.options["rslora"] == rslora and path in adapter.layers:
                return adapter.layers[path]
        raise AssertionError(f"no LoRA at '{path}'")


@dataclass(frozen=True)
class Ranking:
    """What a super-adapter says of a space.

    Attributes:
        scores: Configurations, each once, and what ranks them: larger is better, on a scale of its own. The learning
            rate of an assignment has no say in it.
        gradients: What the gradient ranking is made of.
        head_score: The task's metric of the adapter at its start, which is the backbone with its head, on a sample of the
            validation split; None where that is no part of the ranking.
        seconds: Wall time that it took.
    """

    scores: tuple[tuple[Assignment, float], ...]
    seconds: float
    gradients: Gradients | None = None
    head_score: float | None = None


def elastic_scores(
    bench: Workbench,
    space: BoundSpace,
    seed: int,
    *,
    epochs: int = 6,
    together: int = 8,
    configurations: int = 100,
    examples: int = 64,
) -> Ranking:
    """Train the super-adapter of a space, then rank configurations by minus their loss on validation examples.

    What is trained and what is scored is drawn evenly over log cost (`BoundSpace.sample`).

    Args:
        bench: Backbone and data.
        space: A space that `supports` has nothing against.
        seed: Of head, modules, order of examples and all that is drawn.
        epochs: Passes over the training split.
        together: Configurations that share a batch, each with its part of the examples.
        configurations: How many are scored; fewer where the space has fewer.
        examples: Of the validation split, by which they are scored: the same for all.

    Raises:
        ValueError: The space is not supported.
        TrialError: The model cannot take the super-adapter, or its loss is not finite.
    """
    began = time.monotonic()
    elastic = _put_on(bench, space, seed)
    try:
        rng = random.Random(seed)
        _train(elastic, seed, epochs, together, lambda: space.configuration(space.sample(rng, 1)[0]))
        chosen = epoch_order(len(bench.data["validation"]), seed=0, epoch=0)[:examples]
        batches = list(bench.batches("validation", chosen))
        scores = []
        for point in _drawn(space, rng, configurations):
            elastic.take(space.configuration(point))
            with torch.inference_mode():
                losses = [elastic.loss(batch) * len(batch["labels"]) for batch in batches]
            scores.append((point, -float(torch.stack(losses).sum()) / len(chosen)))
    finally:
        elastic.close()
    return Ranking(tuple(scores), time.monotonic() - began)


def gradient_scores(
    bench: Workbench,
    space: BoundSpace,
    seed: int,
    *,
    epochs: int = 3,
    configurations: int = 150,
    examples: int = 256,
) -> Ranking:
    """Rank configurations by the norm of the loss's gradient before training: how much there is to gain at first.

    The head alone is trained, then one pass of the super-adapter, which is the identity, gives every configuration's
    gradient as a part of its own. After Abdelfattah et al. 2021 (2101.08134, section 3.2, `grad_norm`).

    Args:
        bench: Backbone and data.
        space: A space that `supports` has nothing against.
        seed: Of head, modules, order of examples and the configurations.
        epochs: Passes over the training split that train the head.
        configurations: How many are scored; fewer where the space has fewer.
        examples: Of the training split, for the gradient.

    Raises:
        ValueError: The space is not supported.
        TrialError: The model cannot take the super-adapter, or the head's loss is not finite.
    """
    began = time.monotonic()
    elastic = _put_on(bench, space, seed)
    try:
        modules = elastic.attached.module_parameters()
        for parameter in modules:
            parameter.requires_grad_(False)
        _train(elastic, seed, epochs, 1, lambda: Configuration.of([], elastic.whole.learning_rate))
        for parameter in modules:
            parameter.requires_grad_(True)
        chosen = epoch_order(len(bench.data["train"]), seed, epochs)[:examples]
        gradients = elastic.gradients(list(bench.batches("train", chosen, bench.training.batch_size)))
        head_score = bench.score(elastic.attached.runner, "validation", RUNG_EXAMPLES)
    finally:
        elastic.close()
    points = _drawn(space, random.Random(seed), configurations)
    norms = [math.hypot(*gradients.parts(space.configuration(point), space.shape)) for point in points]
    return Ranking(tuple(zip(points, norms, strict=True)), time.monotonic() - began, gradients, head_score)


def probe(bench: Workbench, space: BoundSpace, seed: int) -> Iterator[Report]:
    """`gradient_scores` as a trial: one report, with the ranking and the gradients behind it in its details."""
    ranking = gradient_scores(bench, space, seed)
    assert ranking.gradients is not None
    assert ranking.head_score is not None
    scores = [[space.configuration(point).to_json(), score] for point, score in ranking.scores]
    details = {"ranking": scores, "gradients": ranking.gradients.to_json()}
    yield Report(1, {"score": ranking.head_score, "seconds": ranking.seconds}, True, details)


def _put_on(bench: Workbench, space: BoundSpace, seed: int) -> Elastic:
    if reason := supports(space):
        raise ValueError(reason)
    return Elastic(bench, space, seed)


def _drawn(space: BoundSpace, rng: random.Random, n: int) -> list[Assignment]:
    """Up to n different points; a space that has no more may give fewer."""
    return list(dict.fromkeys(space.canonical(point) for point in space.sample(rng, 2 * n)))[:n]


def _train(
    elastic: Elastic, seed: int, epochs: int, together: int, draw: Callable[[], Configuration]
) -> None:
    """As a trial trains, but every batch is shared by configurations that are drawn for it."""
    bench, training = elastic.bench, elastic.bench.training
    elastic.attached.runner.eval()  # frozen parts have no dropout, as in a trial
    n = len(bench.data["train"])
    steps = epochs * math.ceil(n / training.batch_size)
    trained = [parameter for parameter in elastic.trainable if parameter.requires_grad]
    if not trained:
        return  # a head of the backbone's own is not trained
    optimizer = torch.optim.AdamW(trained, lr=elastic.whole.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, functools.partial(rate_factor, steps=steps, warmup_fraction=training.warmup_fraction)
    )
    lengths = bench.data["train"].lengths
    for epoch in range(epochs):
        order = training_order(lengths, training.batch_size, seed, epoch)
        for batch in bench.batches("train", order, training.batch_size):
            size = len(batch["labels"])
            each = math.ceil(size / together)
            for begin in range(0, size, each):
                part = {name: tensor[begin : begin + each] for name, tensor in batch.items()}
                elastic.take(draw())
                loss = elastic.loss(part)
                if not loss.isfinite():
                    raise TrialError(f"the loss of the super-adapter is {loss:g} in epoch {epoch + 1}.")
                (loss * (len(part["labels"]) / size)).backward()
            nn.utils.clip_grad_norm_(trained, training.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
