"""Every type of module that a space may name: ours, then peft's; and the fields of training."""

from typing import Any

from autopeft.dsl.module_type import Field, ModuleType
from autopeft.dsl.own_types import OWN_TYPES
from autopeft.dsl.peft_types import PEFT_TYPES
from autopeft.nouns import SITES, Module

MODULE_TYPES: dict[str, ModuleType] = {**OWN_TYPES, **PEFT_TYPES}

_BLOCKS = ("attention", "ffn")
_LINEAR = tuple(site for site in SITES if site not in (*_BLOCKS, "norm", "input"))
_SITES_AT: dict[str, tuple[str, ...]] = {
    "linear": _LINEAR,
    "block": _BLOCKS,
    "attention": ("attention",),
    "norm": ("norm",),
    "bias": (*_LINEAR, "norm"),
    "input": ("input",),
}

TRAINING: dict[str, Field] = {
    "learning_rate": Field("float", low=1e-12, high=1e3, about="peak rate of modules and head"),
    "batch_size": Field("integer", low=1, high=1e6, about="examples a step"),
    "max_grad_norm": Field("float", low=1e-6, high=1e6, about="gradients are clipped to this norm"),
    "warmup_fraction": Field("float", low=0.0, high=1.0, about="share of the steps in which the rate rises"),
    "weight_decay": Field("float", low=0.0, high=1e3, about="of AdamW"),
}


def sites_of(known: ModuleType) -> tuple[str, ...]:
    """The sites that a module of this type may name."""
    return _SITES_AT[known.at]


def size_field(known: ModuleType) -> Field:
    """What a size of this type may be."""
    if known.size_kind == "fraction":
        return Field("float", low=0.0, high=1.0, about="share of the entries; 0: absent")
    return Field("integer", low=0, high=1e9, about="whole number; 0: absent")


def options_of(module: Module) -> dict[str, Any]:
    """Every option of a module: a configuration leaves out those that are at their default.

    So a field that a type gains later does not change the configurations that there are.

    >>> options_of(Module("lora", 4, (0,), (("dora", True), ("sites", ("q",)))))["init"]
    'default'
    """
    given = dict(module.options)
    options = {"sites": given.get("sites", ())}
    for name, field in MODULE_TYPES[module.type].fields.items():
        if name in given:
            options[name] = given[name]
        else:
            options[name] = field.default if field.times_size is None else module.size * field.times_size
    return options
