"""Adapters merged into the weights: a model of its plain class, that computes the same without them."""

from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from autopeft.adapters.attach import OWN, Attached, quietly, trained_copy
from autopeft.adapters.bias import BiasDelta
from autopeft.adapters.sparse import SparseDelta
from autopeft.backbones import Layout
from autopeft.errors import InputError
from autopeft.nouns import Configuration, Module


def merge(attached: Attached, layout: Layout, configuration: Configuration) -> None:
    """Put all that was trained into the weights, and leave the model of its plain class with the trained head.

    The modules cannot be taken off any more.

    Args:
        attached: On a model whose weights are not quantised.
        layout: Of its backbone.
        configuration: What is on.

    Raises:
        InputError: A module is no change of weights alone. The model is as it was then.
    """
    for module in configuration.modules:
        if reason := objection(module, attached):
            raise InputError(
                f"the adapter cannot be merged: {reason}.",
                "Export it without --merge: the folder holds all of it.",
            )
    model, stack = attached.model, attached.stack
    with quietly(), torch.no_grad():
        paths = {path for adapter in stack.adapters for path in adapter.layers}
        for path in sorted(paths):
            for layer in reversed(_around(model.get_submodule(path))):  # from the inside out
                layer.merge()
            _put(model, path, _bottom(model.get_submodule(path)))
    own = dict(attached.own.items())
    for undo in reversed(attached._undo):  # which take hooks off, and change no weight
        undo()
    attached._undo.clear()
    with torch.no_grad():
        for name, delta in own.items():
            _add(model, layout, configuration, name, delta)
    for path in {path for adapter in stack.adapters for path in adapter.heads}:
        _put(model, path, trained_copy(model.get_submodule(path)))
    if hasattr(model, OWN):
        delattr(model, OWN)


def objection(module: Module, attached: Attached) -> str:
    """Why a module cannot be merged into weights, as a clause; empty if it can."""
    if module.type == "bottleneck":
        return f"a {dict(module.options)['position']} bottleneck has a non-linear function between two maps of its own"
    if module.type == "prefix":
        return "a prefix is tokens that attention reads, and no change of a weight"
    for planned, adapter in zip(attached.planned, attached.stack.adapters, strict=True):
        if planned.type == module.type and not adapter.layers:
            return f"{module.type} is tokens before the input, and no change of a weight"
        if planned.type == module.type and not all(
            type(layer).merge is not BaseTunerLayer.merge for layer in adapter.layers.values()
        ):
            return f"peft cannot merge {module.type}"
    return ""


def _around(module: nn.Module) -> list[Any]:
    """peft's layers at a place, from the outside in."""
    found = []
    while isinstance(module, BaseTunerLayer):
        found.append(module)
        module = module.base_layer
    return found


def _bottom(module: nn.Module) -> nn.Module:
    while isinstance(module, BaseTunerLayer):
        module = module.base_layer
    return module


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    model.get_submodule(parent)._modules[name] = module


def _add(model: nn.Module, layout: Layout, configuration: Configuration, name: str, delta: nn.Module) -> None:
    """Add a sparse delta or differences of biases to where they acted."""
    from autopeft.adapters.own import own_call, own_name

    for module in configuration.modules:
        for layer in module.layers:
            for site in module.sites:
                if module.type in ("sparse", "bias") and own_name(module, layer, site) == name:
                    _, arguments = own_call(layout, module, layer, site)
                    if isinstance(delta, SparseDelta):
                        weight = model.get_submodule(arguments["path"]).weight
                        assert isinstance(weight, torch.Tensor)
                        weight.data.view(-1).index_add_(0, delta.indices, delta.values.to(weight.dtype))
                    elif isinstance(delta, BiasDelta):
                        modules = [model.get_submodule(path) for path in arguments["paths"]]
                        biases = [
                            b for m in modules if isinstance(b := getattr(m, "bias", None), torch.Tensor)
                        ]
                        for bias, difference in zip(biases, delta.deltas, strict=True):
                            bias.data += difference.to(bias.dtype)
                    return
