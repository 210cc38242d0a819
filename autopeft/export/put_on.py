"""The part of a script that puts a configuration's modules on a model, each by the path that it has there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autopeft.adapters.attach import head_roots, quietly
from autopeft.adapters.data_init import corda_prepare, eva_init
from autopeft.adapters.own import own_call, own_name
from autopeft.adapters.peft_methods import Planned, peft_configs
from autopeft.adapters.stack import Stack
from autopeft.backbones import Backbone
from autopeft.dsl.own_types import OWN_TYPES
from autopeft.dsl.peft_types import changes_base
from autopeft.dsl.types import options_of
from autopeft.errors import InputError
from autopeft.export.inline import Import
from autopeft.export.literal import broken, literal
from autopeft.nouns import Configuration


@dataclass
class PutOn:
    """A piece of a script.

    Attributes:
        text: The function `put_on(model, batches)` and what it needs of its own: to what takes a batch, and the further
            arguments of `train_epoch`.
        wanted: Functions and classes of ours that it calls.
        imports: What it needs from elsewhere.
    """

    text: str = ""
    wanted: list[Callable[..., Any]] = field(default_factory=list)
    imports: set[Import] = field(default_factory=set)


def put_on_source(configuration: Configuration, backbone: Backbone, steps: int) -> PutOn:
    """The source that does what `autopeft.adapters.attach` does for one configuration on one backbone.

    Args:
        configuration: What to put on.
        backbone: Without modules.
        steps: Optimiser steps in all.

    Raises:
        InputError: A module depends on what a script does not have.
    """
    model = backbone.model
    roots = head_roots(backbone.head, model.base_model_prefix)
    planned = peft_configs(model, backbone.layout, configuration.modules, roots, backbone.task_type, steps)
    found = PutOn()
    lines = ["def put_on(model, batches):"]
    answer = "model, ()"
    if not planned:
        lines += [
            '    """Put the modules on the frozen model, and unfreeze the head."""',
            f"    for path in {literal(list(roots), found.imports, 4)}:",
            "        model.get_submodule(path).requires_grad_(True)",
        ]
    else:
        lines.append('    """Put the modules on the frozen model; peft keeps a trained copy of the head."""')
        found.imports.add(Import("peft", "get_peft_model"))
        # One adapter is put on as peft's users do it; several, and one that acts between steps, are held by a stack.
        alone = len(planned) == 1 and planned[0].type != "adalora"
        if alone:
            answer = "wrapper, ()" if planned[0].before_input else "model, ()"
        else:
            found.wanted.append(Stack)
            lines.append("    stack = Stack(model)")
            answer = "stack.runner, (stack.penalty, stack.after_step)"
        for one in planned:
            lines += _peft(one, found, alone=alone)
    lines += _own(configuration, backbone, found)
    lines.append(f"    return {answer}")
    found.text += "\n".join(lines) + "\n"
    return found


def _peft(planned: Planned, found: PutOn, *, alone: bool) -> list[str]:
    lines = [f"    config = {literal(planned.config, found.imports, 4)}"]
    make = "get_peft_model(model, config)"
    init = getattr(planned.config, "init_lora_weights", None)
    if init in _WITH_DATA:
        source, function = _WITH_DATA[init]
        if function not in found.wanted:
            found.wanted.append(function)
            found.text += source
        make = f"with_{init}(model, config, batches)"
    if alone:
        put = f"    {'wrapper = ' if planned.before_input else ''}{make}"
    else:
        parts = [f"lambda: {make}"]
        if planned.innermost:
            parts.append("innermost=True")
        if changes_base(planned.type, planned.options):
            parts.append(f"residual={literal(list(planned.paths), found.imports, 8)}")
        put = broken("    stack.add(", parts, ")", 4)
    if planned.type != "boft":
        return [*lines, put]
    found.wanted.append(quietly)  # or peft would try to compile a kernel for it
    return [*lines, "    with quietly():", *(f"    {line}" for line in put.splitlines())]


_WITH_DATA: dict[str, tuple[str, Callable[..., Any]]] = {
    "eva": (
        """def with_eva(model, config, batches):
    wrapper = get_peft_model(model, config)
    eva_init(wrapper, batches)
    return wrapper


""",
        eva_init,
    ),
    "corda": (
        """def with_corda(model, config, batches):
    corda_prepare(model, config, batches)
    return get_peft_model(model, config)


""",
        corda_prepare,
    ),
}


def check_allocation(configuration: Configuration) -> None:
    """Refuse what trains by a rule that a script has no code for.

    Raises:
        InputError: An allocator has a part in every step of the training.
    """
    kind = dict(configuration.allocation).get("type")
    if kind is not None:
        raise InputError(
            f"{kind} has a part in every step of the training, and a script has no code for that.",
            "Export it with --to peft: the folder holds what was trained.",
        )


def _own(configuration: Configuration, backbone: Backbone, found: PutOn) -> list[str]:
    lines = []
    for module in configuration.modules:
        if module.type not in OWN_TYPES:
            continue
        if options_of(module).get("mask") == "sensitivity":
            raise InputError(
                "which entries a sparse delta with mask sensitivity changes hangs on scores that a script does not have.",
                "Export it with --to peft: the folder holds the entries.",
            )
        for layer in module.layers:
            for site in module.sites:
                if backbone.layout.shape.place(layer, site) is None:
                    continue
                put, arguments = own_call(backbone.layout, module, layer, site)
                if put not in found.wanted:
                    found.wanted.append(put)
                start = f"    modules[{own_name(module, layer, site)!r}], _ = {put.__name__}("
                parts = [f"{name}={literal(v, found.imports, 8)}" for name, v in arguments.items()]
                lines.append(broken(start, ["model", *parts], ")", 4))
    if not lines:
        return []
    found.imports.add(Import("torch", "nn"))
    move = '    model.add_module("autopeft_modules", modules.to(model.device))'
    return ["    modules = nn.ModuleDict()", *lines, move]
