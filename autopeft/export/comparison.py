"""An experiment of Hugging Face peft's method comparison: peft's own configuration, and what it overrides of their training."""

import itertools
import json
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import peft
from peft import PeftConfig

from autopeft.adapters.peft_methods import METHODS, Method, peft_configs
from autopeft.backbones import Backbone
from autopeft.dsl.peft_types import PEFT_TYPES
from autopeft.export.recipe import Content, Recipe, Schedule, canonical, one_at, spots_by_path
from autopeft.nouns import Module, plain

ADAPTER, PARAMETERS = "adapter_config.json", "training_params.json"
EVALUATIONS = 20
"""Times that they score while training, 250 of 5000 steps apart."""


def write(recipe: Recipe, backbone: Backbone) -> Content:
    """The two files."""
    schedule = recipe.schedule
    (planned,) = peft_configs(
        backbone.model, backbone.layout, recipe.modules, (), "CAUSAL_LM", schedule.steps
    )
    planned.config.base_model_name_or_path = recipe.model
    return {
        ADAPTER: saved(planned.config),
        PARAMETERS: {
            "model_id": recipe.model,
            "dtype": recipe.weights,
            "max_seq_length": schedule.max_length,
            "batch_size": schedule.batch_size,
            "max_steps": schedule.steps,
            "eval_steps": max(1, schedule.steps // EVALUATIONS),
            "use_gc": schedule.gradient_checkpointing,
            "seed": schedule.seed,
            "grad_norm_clip": schedule.max_grad_norm,
            "optimizer_type": "AdamW",
            "optimizer_kwargs": {"lr": schedule.learning_rate, "weight_decay": schedule.weight_decay},
            "lr_scheduler": "cosine",
        },
    }


def saved(config: PeftConfig) -> dict[str, Any]:
    """A configuration as peft writes it."""
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        found: dict[str, Any] = json.loads((Path(folder) / ADAPTER).read_text(encoding="utf-8"))
    return found


def check_adapter(folder: Path) -> None:
    """That peft reads the configuration without dropping a key of it.

    Raises:
        AssertionError: It says that it does.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        PeftConfig.from_pretrained(str(folder))
    dropped = [str(one.message) for one in said if "Unexpected keyword" in str(one.message)]
    if dropped:
        raise AssertionError(dropped[0])


def read(content: Content, backbone: Backbone, steps: int) -> Recipe:
    """What files of `write` say of the modules and their training; what they have no key for is as it is here mostly."""
    params = content[PARAMETERS]
    return Recipe(
        model=params["model_id"],
        modules=canonical(_modules(content[ADAPTER], backbone), backbone.layout),
        schedule=Schedule(
            learning_rate=params["optimizer_kwargs"]["lr"],
            epochs=0,
            batch_size=params["batch_size"],
            steps=params["max_steps"],
            warmup_steps=0,
            weight_decay=params["optimizer_kwargs"]["weight_decay"],
            max_grad_norm=params["grad_norm_clip"],
            seed=params["seed"],
            max_length=params["max_seq_length"],
            gradient_checkpointing=params["use_gc"],
            bfloat16=params["dtype"] == "bfloat16",
        ),
        weights=params["dtype"],
        data=False,
    )


def _modules(config: Mapping[str, Any], backbone: Backbone) -> Iterator[Module]:
    cls = peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(config["peft_type"])]
    kind = next(name for name, method in METHODS.items() if method.config == cls.__name__)
    method, known = METHODS[kind], PEFT_TYPES[kind]
    size = known.size
    spots = spots_by_path(backbone.layout)
    for i, layer in enumerate(backbone.layout.layers):
        spots |= dict.fromkeys(layer.norms, (i, "norm"))
    paths = [""] if config.get("num_virtual_tokens") else config["target_modules"]
    hidden = _hidden(kind, method, config, cls, backbone)
    for path in paths:
        options = {
            name: _value(name, path, method, config)
            for name in (*known.fields, *([size] if size else []))
            if name not in hidden
        } | hidden
        amount = options.pop(size) if size else 1
        yield one_at(kind, amount, spots[path] if path else (0, "input"), options)


def _value(name: str, path: str, method: Method, config: Mapping[str, Any]) -> Any:
    if name in method.lists:
        return path in (config[method.lists[name]] or [])
    common = config[method.names.get(name, name)]
    if name in method.patterns:
        return (config[method.patterns[name]] or {}).get(re.escape(path), common)
    return common


def _hidden(
    kind: str, method: Method, config: Mapping[str, Any], cls: Any, backbone: Backbone
) -> dict[str, Any]:
    """Fields of ours that peft has no field of the same meaning for: those that come out as the configuration has it."""
    if kind == "supertuning":
        return {"density": plain(1 - config["sparsity"]), "rank": config["r"] or 0}
    known = PEFT_TYPES[kind]
    words = {name: known.fields[name].words for name in method.read if known.fields[name].words}
    numbers = {name: config[name] for name in method.read if name not in words}
    defaults = {f.name: f.default if f.default is not MISSING else None for f in fields(cls) if f.init}
    best: tuple[int, dict[str, Any]] = (-1, {})
    for combination in itertools.product(*words.values()):
        chosen = {**dict(zip(words, combination, strict=True)), **numbers}
        options = {name: field.default for name, field in known.fields.items()} | chosen
        said = method.also({**options, known.size: 1}, backbone.layout, None)
        told = {name: value for name, value in said.items() if name in _TOLD}
        if all(config.get(name, defaults.get(name)) == told.get(name, defaults.get(name)) for name in _TOLD):
            best = max(best, (len(told), chosen), key=lambda one: one[0])
    found = best[1]
    if kind == "miss" and found.get("mode") != "mini":
        found["mini_r"] = known.fields["mini_r"].default
    return found


_TOLD = ("init_lora_weights", "init_weights", "prompt_tuning_init")
"""Fields of peft's in which a word of ours comes out."""
