"""What a trial says, in no trainer's words: what the recipes for other trainers are written from, and read back to."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autopeft.adapters.peft_methods import METHODS
from autopeft.backbones import Backbone, Layout, model_path, read_config
from autopeft.dsl.types import MODULE_TYPES, options_of
from autopeft.nouns import OWN_HEAD, Configuration, Module, Problem, Study, Trial
from autopeft.tasks.task import Task
from autopeft.train.loop import Training
from autopeft.weights import Storage

Content = Mapping[str, Mapping[str, Any]]
"""The files of a recipe by their names, each with its keys."""

Spot = tuple[int, str]
"""A layer and a site of it."""


@dataclass(frozen=True)
class Schedule:
    """The numbers of a training. AdamW, one rate for all that is trained, a linear schedule.

    Attributes:
        learning_rate: At its peak.
        epochs: Passes over the training split.
        batch_size: Examples a step.
        steps: Optimiser steps in all.
        warmup_steps: In which the rate rises; at least 1.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are clipped to this norm.
        seed: Of the modules and of the order of examples.
        max_length: Most tokens of an example.
        gradient_checkpointing: Whether activations are computed again for the gradients.
        bfloat16: Whether products are in bfloat16 while parameters and sums are not.
    """

    learning_rate: float
    epochs: int
    batch_size: int
    steps: int
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    seed: int
    max_length: int
    gradient_checkpointing: bool = False
    bfloat16: bool = False


@dataclass(frozen=True)
class Recipe:
    """All that a configuration means on its backbone.

    Attributes:
        model: Folder or hub id.
        modules: Canonical: every option is told, and no place is named that the backbone has not.
        schedule: How it is trained.
        problem: What is learnt.
        modality: `text` or `image`.
        architecture: The backbone's type, as transformers calls it.
        allocator: What deals parameters out while training, as in `Configuration.allocation`; mostly empty.
        trained_epochs: After how many of the epochs it ended.
        weights: Type of the frozen weights.
        quantize: Bits of the frozen weights, where they are quantised.
        overrides: Fields of the model's configuration that are not as the model has them, sorted.
        dropout: Fields of the model's configuration that are a share of dropout above 0. Trials train without.
        data: Whether what is trained on is the study's own data.
    """

    model: str
    modules: tuple[Module, ...]
    schedule: Schedule
    problem: Problem = "causal-lm"
    modality: str = "text"
    architecture: str = ""
    allocator: tuple[tuple[str, Any], ...] = ()
    trained_epochs: int | None = None
    weights: str = "float32"
    quantize: str | None = None
    overrides: tuple[tuple[str, Any], ...] = ()
    dropout: tuple[str, ...] = ()
    data: bool = True


def recipe_of(study: Study, trial: Trial, task: Task, backbone: Backbone) -> Recipe:
    """What a trial of a study says.

    Args:
        study: The trial's.
        trial: Complete.
        task: The study's data.
        backbone: Without modules.
    """
    training = dataclasses.replace(
        Training(**study.settings["training"]),
        **dict(trial.plan.training),  # type: ignore[arg-type]
    )
    steps = training.epochs * math.ceil(len(task.train) / training.batch_size)
    longest = task.settings.max_length
    storage = Storage.from_json(study.settings["backbone"].get("storage", {}))
    trained = max(trial.scores, default=training.epochs)
    config = backbone.model.config
    path = study.settings["backbone"]["path"]
    own = read_config(model_path(path))
    overrides = {
        name: value
        for name, value in study.settings["backbone"]["overrides"].items()
        if getattr(own, name, None) != value
    }
    without = [name for name, value in overrides.items() if no_dropout(name, value)]
    dropout = dropout_of(config, new_head=task.settings.problem not in OWN_HEAD)
    return Recipe(
        model=path,
        modules=canonical(trial.plan.modules, backbone.layout),
        schedule=Schedule(
            learning_rate=trial.plan.learning_rate,
            epochs=training.epochs,
            batch_size=training.batch_size,
            steps=steps,
            warmup_steps=max(1, round(steps * training.warmup_fraction)),
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            seed=trial.seed,
            max_length=min(longest, backbone.max_positions or longest),
            gradient_checkpointing=training.gradient_checkpointing,
            bfloat16=storage.weights == "bfloat16" or str(trial.details.get("device", "")).startswith("cuda"),
        ),
        problem=task.settings.problem,
        modality=task.settings.modality,
        architecture=config.model_type,
        allocator=trial.plan.allocation,
        trained_epochs=None if trained == training.epochs else trained,
        weights=storage.weights,
        quantize=storage.quantize,
        overrides=tuple(sorted((name, value) for name, value in overrides.items() if name not in without)),
        dropout=tuple(sorted({*dropout, *without})),
    )


def dropout_of(config: Any, *, new_head: bool) -> tuple[str, ...]:
    """Fields of a model's configuration that are a share of dropout above 0.

    Args:
        config: transformers' configuration.
        new_head: Whether there is a new head, whose dropout then counts as well.
    """
    heads = () if new_head else ("classifier", "summary")
    fields = config.get_text_config().to_dict()
    shares = [name for name, value in fields.items() if isinstance(value, float) and value > 0]
    return tuple(sorted(name for name in shares if "drop" in name and not name.startswith(heads)))


def no_dropout(name: str, value: Any) -> bool:
    """Whether a field of a model's configuration says that there is no dropout.

    >>> no_dropout("attention_dropout", 0.0), no_dropout("num_hidden_layers", 2)
    (True, False)
    """
    return "drop" in name and isinstance(value, float) and value == 0


def canonical(modules: Iterable[Module], layout: Layout) -> tuple[Module, ...]:
    """Modules with every option told, at places that are there only, in the order of configurations."""
    told = []
    for module in modules:
        options = tuple(sorted(options_of(module).items()))
        for layer in module.layers:
            sites = tuple(site for site in module.sites if layout.shape.place(layer, site) is not None)
            here = tuple((name, sites if name == "sites" else value) for name, value in options)
            told.append(dataclasses.replace(module, layers=(layer,), options=here))
    return Configuration.of(told, 1.0).modules


def spots(module: Module) -> list[Spot]:
    """Every layer and site that a module is at."""
    return [(layer, site) for layer in module.layers for site in module.sites]


def one_at(kind: str, size: float, spot: Spot, options: Mapping[str, Any]) -> Module:
    """A module at one place; `canonical` puts those that are alike together."""
    layer, site = spot
    return Module(kind, size, (layer,), tuple(sorted({**options, "sites": (site,)}.items())))


def path_of(layout: Layout, spot: Spot) -> str:
    """Where a linear site is in the model."""
    layer, site = spot
    return layout.layers[layer].sites[site]


def spots_by_path(layout: Layout) -> dict[str, Spot]:
    """Every linear site by its path in the model."""
    return {path: (i, site) for i, layer in enumerate(layout.layers) for site, path in layer.sites.items()}


def by_path_fields(module: Module) -> dict[str, Any]:
    """What of a module may differ from place to place inside one adapter of peft: its size first, where it is among it."""
    fields = METHODS[module.type].by_path if module.type in METHODS else ()
    values = {MODULE_TYPES[module.type].size: module.size, **dict(module.options)}
    return {name: values[name] for name in fields}


Kind = tuple[str, tuple[tuple[str, Any], ...]]
"""What modules have in common that are one adapter: the type, and the options that may not differ inside of it."""


def kind_of(module: Module) -> Kind:
    """The adapter that a module would be part of."""
    differs = {*by_path_fields(module), "sites"}
    size = MODULE_TYPES[module.type].size
    common = [(name, value) for name, value in module.options if name not in differs]
    if size and size not in differs and module.type in METHODS:
        common.append((size, module.size))
    return module.type, tuple(common)


def kinds(modules: Sequence[Module]) -> dict[Kind, list[Module]]:
    """Modules by the adapter that they are part of."""
    found: dict[Kind, list[Module]] = {}
    for module in modules:
        found.setdefault(kind_of(module), []).append(module)
    return found


def cost(module: Module, layout: Layout) -> int:
    """Trainable parameters of a module."""
    known, options = MODULE_TYPES[module.type], dict(module.options)
    total = known.shared(module.size, options, layout.shape)
    for layer, site in spots(module):
        place = layout.shape.place(layer, site)
        if place is not None:
            total += known.trainable(module.size, options, place)
    return total
