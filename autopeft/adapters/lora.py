"""LoRA that is on a model and is no longer as peft has put it there: matrices that places share, another number of ranks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from autopeft.adapters.attach import Attached
from autopeft.adapters.stack import Adapter
from autopeft.nouns import plain


def share(attached: Attached, paths: Sequence[str]) -> None:
    """Give the LoRA at all of these linear maps the matrices A and B of the first one: a step moves all of them by the sum of their gradients.

    Before an optimiser is made of what is trained, which then has each shared matrix once. What a place is scaled with stays its own, and
    so does the norm of DoRA. The folder of a trained adapter holds a copy for each place.

    Args:
        attached: Modules that are on, with a LoRA of one rank at each of the maps, which are of one shape.
        paths: The linear maps.
    """
    layers = lora_layers(attached)
    first = layers[paths[0]]
    for path in paths[1:]:
        for name in ("lora_A", "lora_B"):
            getattr(layers[path], name)["default"].weight = getattr(first, name)["default"].weight


def lora_layers(attached: Attached) -> dict[str, Any]:
    """peft's layers of LoRA that are on, by the path of the linear map that each is around."""
    return {path: layer for adapter in _adapters(attached) for path, layer in adapter.layers.items()}


def set_ranks(attached: Attached, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor, float]]) -> None:
    """Put other factors into the LoRA that is on a model; nothing else on it is touched, and peft's configuration follows.

    Args:
        attached: Modules that are on a model.
        factors: For the path of every linear map with a LoRA, A, (rank, inputs), then what the update is of it, which is B times
            its scale, (outputs, rank), then the alpha that it has from now on.
    """
    for adapter in _adapters(attached):
        config: Any = adapter.wrapper.peft_config["default"]
        for path, layer in adapter.layers.items():
            a, scaled, alpha = factors[path]
            rank = len(a)
            scaling = alpha / (rank**0.5 if config.use_rslora else rank)
            layer.r["default"], layer.lora_alpha["default"], layer.scaling["default"] = rank, alpha, scaling
            first, second = layer.lora_A["default"], layer.lora_B["default"]
            first.weight, first.out_features = nn.Parameter(a.detach().clone()), rank
            second.weight, second.in_features = nn.Parameter(scaled.detach() / scaling), rank
        config.r, config.rank_pattern = _with_exceptions(
            {path: len(factors[path][0]) for path in adapter.layers}
        )
        config.lora_alpha, config.alpha_pattern = _with_exceptions(
            {path: plain(factors[path][2]) for path in adapter.layers}
        )


def _with_exceptions(values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """peft's way to say them: the first one, and others by what their path ends with, as a regular expression."""
    first = next(iter(values.values()))
    return first, {re.escape(path): value for path, value in values.items() if value != first}


def _adapters(attached: Attached) -> list[Adapter]:
    pairs = zip(attached.planned, attached.stack.adapters, strict=True)
    return [adapter for planned, adapter in pairs if planned.type == "lora"]
