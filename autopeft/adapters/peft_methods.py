"""From modules of a configuration to configurations of peft: a table, a row a type.

A new method of peft is a row here, which says what our fields are called there, and a row in `autopeft.dsl.peft_types`,
which says what it costs. The tests of the module table then put it through everything.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import peft
from peft import PeftConfig, TaskType
from torch import nn
from transformers.pytorch_utils import Conv1D

from autopeft.backbones.layout import Layout
from autopeft.dsl.peft_types import PEFT_TYPES, clash, replaces_product
from autopeft.dsl.types import options_of
from autopeft.errors import BackboneError
from autopeft.nouns import Module

Arguments = dict[str, Any]
"""Keyword arguments of a configuration class of peft."""


@dataclass(frozen=True)
class Method:
    """How peft is told of a type.

    Attributes:
        config: Name of the configuration class in `peft`.
        names: Our fields to peft's, the size's among them, where the names differ.
        patterns: Fields of ours whose value may differ from place to place inside one adapter, to the field of peft
            that holds the exceptions by path.
        lists: Boolean fields of ours that may differ from place to place, to the field of peft that lists the paths
            where they are true.
        also: What cannot be said by renaming: (all of our fields, size included; layout; steps) to further
            arguments.
        read: Fields of ours that only `also` sees.
    """

    config: str
    names: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, str] = field(default_factory=dict)
    also: Callable[[Mapping[str, Any], Layout, int | None], Arguments] = lambda options, layout, steps: {}
    read: tuple[str, ...] = ()

    @property
    def by_path(self) -> tuple[str, ...]:
        """Fields that may differ from place to place inside one adapter."""
        return (*self.patterns, *self.lists)


def _lora(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    init = options["init"]
    found: Arguments = {} if init == "default" else {"init_lora_weights": init}
    if init == "eva":
        # No ranks move from map to map: they are the configuration's.
        found["eva_config"] = peft.EvaConfig(rho=1.0)
    if init == "corda":
        from peft.tuners.lora.config import CordaConfig  # peft's top level has no name for it

        found["corda_config"] = CordaConfig()
    if init == "loftq":
        found["loftq_config"] = {"loftq_bits": 4, "loftq_iter": 1}
    return found


def _adalora(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    # Shares of the steps as in the paper's scripts: 800 and 3500 of 6700 (CoLA), 8000 and 50000 of 85900 (MNLI).
    total = max(1, steps or 1)
    return {
        "total_step": total,
        "tinit": total // 10,
        "tfinal": total // 2,
        "deltaT": max(1, total // 100),
    }


def _miss(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    if options["mode"] == "mini":
        return {"init_weights": "mini", "mini_r": int(options["mini_r"])}
    return {"init_weights": "bat"} if options["mode"] == "bat" else {}


def _supertuning(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    rank = int(options["rank"])
    return {"sparsity": 1 - options["density"], **({"r": rank} if rank else {})}


def _psoft(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    return {"psoft_alpha": options["rank"]}  # it cancels out: the factors are divided by what multiplies them


def _zeros(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    return {"init_weights": True if options["init"] == "zeros" else options["init"]}


def _fourierft(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    return {"init_weights": options["init"] == "zeros"}


def _hira(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    return {"init_weights": True if options["init"] == "default" else options["init"]}


def _prompt(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    place = layout.shape.input
    width = place.inputs if place is not None else 0
    return {"prompt_tuning_init": options["init"].upper(), "token_dim": width, **_shape(layout)}


def _prefix(options: Mapping[str, Any], layout: Layout, steps: int | None) -> Arguments:
    init = {"init_weights": "zero"} if options["init"] == "zeros" else {}
    return {**init, "token_dim": layout.shape.hidden, **_shape(layout)}


def _shape(layout: Layout) -> Arguments:
    return {"num_layers": len(layout.layers), "num_attention_heads": layout.shape.heads}


_RANK = {"rank": "r"}
_LYCORIS = {"rank": "rank_pattern", "alpha": "alpha_pattern"}

METHODS: dict[str, Method] = {
    "lora": Method(
        "LoraConfig",
        {"rank": "r", "alpha": "lora_alpha", "rslora": "use_rslora", "dora": "use_dora"},
        patterns=_LYCORIS,
        also=_lora,
        read=("init",),
    ),
    # Its rank_pattern is what training has left, not what it starts with, so an adapter has one rank.
    "adalora": Method(
        "AdaLoraConfig",
        {"rank": "init_r", "target_rank": "target_r", "alpha": "lora_alpha"},
        also=_adalora,
    ),
    "ia3": Method("IA3Config", lists={"feedforward": "feedforward_modules"}),
    "loha": Method("LoHaConfig", _RANK, patterns=_LYCORIS),
    "lokr": Method("LoKrConfig", _RANK, patterns=_LYCORIS),
    "oft": Method("OFTConfig", {"block_size": "oft_block_size"}),
    # Of more butterfly factors peft builds only one where it cannot compile its CUDA kernel.
    "boft": Method("BOFTConfig", {"block_size": "boft_block_size"}),
    "hra": Method("HRAConfig", _RANK),
    "vera": Method("VeraConfig", _RANK),
    "vblora": Method("VBLoRAConfig", _RANK),
    # The seed of its matrices is saved, not the matrices: peft would write them anew for every place.
    "randlora": Method(
        "RandLoraConfig",
        {"rank": "r", "alpha": "randlora_alpha"},
        also=lambda options, layout, steps: {"save_projection": False},
    ),
    # Its n_frequency_pattern, and C3A's block_size_pattern, never match a full path.
    "fourierft": Method("FourierFTConfig", also=_fourierft, read=("init",)),
    "waveft": Method("WaveFTConfig", patterns={"n_frequency": "n_frequency_pattern"}),
    "miss": Method("MissConfig", _RANK, also=_miss, read=("mode", "mini_r")),
    "c3a": Method("C3AConfig", also=_zeros, read=("init",)),
    "delora": Method(
        "DeloraConfig", _RANK, patterns={"rank": "rank_pattern", "delora_lambda": "lambda_pattern"}
    ),
    "gralora": Method("GraloraConfig", _RANK),
    # It has a rank_pattern that it never reads.
    "hira": Method("HiraConfig", _RANK, also=_hira, read=("init",)),
    "psoft": Method("PsoftConfig", _RANK, also=_psoft),
    "shira": Method("ShiraConfig", _RANK),
    "supertuning": Method("SupertuningConfig", also=_supertuning, read=("density", "rank")),
    "ln_tuning": Method("LNTuningConfig"),
    "prompt_tuning": Method(
        "PromptTuningConfig", {"tokens": "num_virtual_tokens"}, also=_prompt, read=("init",)
    ),
    "prefix_tuning": Method(
        "PrefixTuningConfig", {"tokens": "num_virtual_tokens"}, also=_prefix, read=("init",)
    ),
}


@dataclass(frozen=True)
class Planned:
    """One adapter of peft that is to be put on.

    Attributes:
        type: Our name of its type.
        options: The options that its modules have in common.
        config: peft's configuration.
        paths: Of the modules that it goes to; none where it goes before the input.
        innermost: Whether it must be the innermost where several adapters are at one linear map.
    """

    type: str
    options: Mapping[str, Any]
    config: PeftConfig
    paths: tuple[str, ...]
    innermost: bool

    @property
    def before_input(self) -> bool:
        """Whether peft's wrapper has to be called instead of the model, because it puts tokens before the input."""
        return bool(self.config.is_prompt_learning)

    @property
    def tokens(self) -> int:
        """How many it puts before the input."""
        return int(self.config.num_virtual_tokens) if self.before_input else 0


@dataclass
class _Group:
    # Modules that become one adapter: type, options that are equal for all, and by path those that need not be.
    type: str
    equal: tuple[tuple[str, Any], ...]
    transposed: bool
    places: dict[str, dict[str, Any]]


def peft_configs(
    model: nn.Module,
    layout: Layout,
    modules: Sequence[Module],
    head_roots: Sequence[str],
    task_type: str | None,
    steps: int | None = None,
) -> list[Planned]:
    """The adapters of peft that some modules are, in the order in which they are put on.

    Modules that differ only in fields for which peft keeps exceptions by path are one adapter; maps that store their
    weights in another order never share one with others.

    Args:
        model: A model without modules.
        layout: Where its sites are.
        modules: Of peft's types; others are left out.
        head_roots: Paths that peft keeps a trained copy of.
        task_type: What peft calls the problem, such as `SEQ_CLS`; None where it has no name for it.
        steps: Optimiser steps in all, for schedules.

    Raises:
        BackboneError: A module cannot be at a place, or not with another, or peft cannot do this on this model.
        IndexError: The model lacks a layer that a module names.
    """
    groups: list[_Group] = []
    for module in modules:
        if module.type in PEFT_TYPES:
            _join(groups, model, layout, module)
    _check(groups)
    planned = [_planned(group, layout, head_roots, task_type, steps) for group in groups]
    before = [one for one in planned if one.before_input]
    if len(before) > 1:
        raise BackboneError(
            "two modules put tokens before the input, and peft can wrap a model for one only: take one of them."
        )
    if before:
        _check_prompt(before[0].type, model, layout, task_type)
    return planned


def _join(groups: list[_Group], model: nn.Module, layout: Layout, module: Module) -> None:
    known, method = PEFT_TYPES[module.type], METHODS[module.type]
    options = {name: value for name, value in options_of(module).items() if name != "sites"}
    if known.size:
        options[known.size] = module.size
    by_path = () if options.get("init") == "eva" else method.by_path  # EVA deals an adapter's ranks out anew
    equal = tuple(sorted((n, v) for n, v in options.items() if n not in by_path))
    for path in _paths(layout, module):
        transposed = bool(path) and isinstance(model.get_submodule(path), Conv1D)
        wanted = (module.type, equal, transposed)
        group = next(
            (g for g in groups if (g.type, g.equal, g.transposed) == wanted and path not in g.places), None
        )
        if group is None:
            group = _Group(*wanted, {})
            groups.append(group)
        group.places[path] = {n: v for n, v in options.items() if n in by_path}


def _paths(layout: Layout, module: Module) -> list[str]:
    """Where a module goes; empty for the input. A layer that lacks one of its sites goes without it there."""
    known, options = PEFT_TYPES[module.type], options_of(module)
    found: list[str] = []
    for layer in module.layers:
        for site in module.sites:
            place = layout.shape.place(layer, site)
            if place is None:
                continue
            if reason := known.refusal() or known.objection(module.size, options, place):
                raise BackboneError(f"{module.type} cannot be at {site} of layer {layer}: {reason}.")
            if site == "input":
                found.append("")
            elif site == "norm":
                found.extend(layout.layers[layer].norms)
            else:
                found.append(layout.layers[layer].sites[site])
    return found


def _check(groups: Sequence[_Group]) -> None:
    for i, group in enumerate(groups):
        for other in groups[:i]:
            both = [path for path in group.places if path and path in other.places]
            if both and (reason := clash(other.type, dict(other.equal), group.type, dict(group.equal))):
                raise BackboneError(f"at '{both[0]}': {reason}.")


def _planned(
    group: _Group, layout: Layout, head_roots: Sequence[str], task_type: str | None, steps: int | None
) -> Planned:
    method = METHODS[group.type]
    paths = tuple(path for path in group.places if path)
    first = next(iter(group.places.values()))
    options = {**dict(group.equal), **first}
    arguments: Arguments = {
        method.names.get(name, name): _plain(value)
        for name, value in options.items()
        if name not in (*method.read, *method.lists)
    }
    for name, pattern in method.patterns.items():
        if name not in first:
            continue
        # peft reads a key as a regular expression that the path ends with, the first that fits.
        exceptions = {
            re.escape(path): _plain(own[name])
            for path, own in group.places.items()
            if own[name] != first[name]
        }
        if exceptions:
            arguments[pattern] = exceptions
    for name, listing in method.lists.items():
        arguments[listing] = [path for path, own in group.places.items() if own[name]]
    arguments |= method.also(options, layout, steps)
    if paths:
        arguments["target_modules"] = list(paths)
    arguments["modules_to_save"] = list(head_roots) or None
    arguments["task_type"] = task_type and TaskType(task_type)
    cls = getattr(peft, method.config)
    if "fan_in_fan_out" in {f.name for f in fields(cls)}:
        arguments["fan_in_fan_out"] = group.transposed
    innermost = replaces_product(group.type, dict(group.equal))
    return Planned(group.type, dict(group.equal), cls(**arguments), paths, innermost)


def _check_prompt(name: str, model: nn.Module, layout: Layout, task_type: str | None) -> None:
    instead = "use `prefix`, or modules at linear sites."
    if task_type is None:
        raise BackboneError(f"peft has no {name} for images that classify: {instead}")
    if getattr(model.config, "is_encoder_decoder", False):
        raise BackboneError(f"{name} is not for models of an encoder and a decoder here: {instead}")
    widths = [
        shape.places["attention"].prefix_width for shape in layout.shape.layers if "attention" in shape.places
    ]
    if name == "prefix_tuning" and (len(widths) < len(layout.layers) or not all(widths)):
        raise BackboneError(
            f"{name} goes into every layer's attention, and not all of them have keys of a known width: {instead}"
        )


def _plain(value: Any) -> Any:
    # peft's own files have whole numbers as such: alpha 4, not 4.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value
