"""Our own modules by name: one module at one place, put on and taken off."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from autopeft.adapters.bias import put_bias
from autopeft.adapters.bottleneck import put_parallel, put_serial
from autopeft.adapters.prefix import put_prefix
from autopeft.adapters.sparse import SAVED, put_sparse
from autopeft.backbones import Layout
from autopeft.dsl.own_types import OWN_TYPES, sparse_count
from autopeft.dsl.types import options_of
from autopeft.nouns import Module, Place

Scores = Callable[[str], torch.Tensor]
"""Path of a linear map to the scores of its weight's entries, in the weight's shape."""


def attach_own(
    model: nn.Module,
    layout: Layout,
    module: Module,
    layer: int,
    site: str,
    scores: Scores | None = None,
    *,
    saved: bool = False,
) -> tuple[nn.Module, Callable[[], None]]:
    """Put one of our modules at one place of a model, where it is the identity before training.

    Fresh weights and random masks come from torch's global generator.

    Args:
        model: The model; peft's modules may be on it.
        layout: Where its sites are.
        module: The module: its type is one of `OWN_TYPES`.
        layer: One of the module's layers, which has the site.
        site: One of the module's sites.
        scores: For sparse deltas whose mask is `sensitivity`.
        saved: Whether its tensors are loaded afterwards, a mask's entries among them: none is computed.

    Returns:
        The module, which belongs to no other yet, and the function that takes it off.

    Raises:
        ValueError: A mask needs scores and there are none.
    """
    put, arguments = own_call(layout, module, layer, site)
    if module.type == "sparse":
        arguments |= {"mask": SAVED} if saved else {"scores": scores}
    return put(model, **arguments)


def own_call(
    layout: Layout, module: Module, layer: int, site: str
) -> tuple[Callable[..., tuple[nn.Module, Callable[[], None]]], dict[str, Any]]:
    """The function that puts a module at a place, and its plain arguments after the model: a script can hold them."""
    where, place = layout.layers[layer], _place(layout, layer, site)
    options = options_of(module)
    match module.type:
        case "bottleneck":
            first, last = where.blocks[site]
            further = {
                "width": module.size,
                "activation": options["activation"],
                "scaling": options["scaling"],
            }
            if options["position"] == "serial":
                return put_serial, {"last": last, "outputs": place.outputs, **further}
            wide = {"inputs": place.inputs, "outputs": place.outputs}
            return put_parallel, {"first": first, "last": last, **wide, **further}
        case "prefix":
            return put_prefix, {
                "attention": where.attention,
                "length": module.size,
                "width": place.prefix_width,
            }
        case "sparse":
            return put_sparse, {
                "path": where.sites[site],
                "count": sparse_count(module.size, place),
                "mask": options["mask"],
                "transposed": place.transposed,
            }
        case "bias":
            return put_bias, {"paths": list(where.norms) if place.kind == "norm" else [where.sites[site]]}
        case _:
            raise ValueError(f"a module of type '{module.type}' is not one of ours.")


def own_name(module: Module, layer: int, site: str) -> str:
    """A name for a module at a place, unlike that of every other module of the configuration; it has no dots.

    >>> own_name(Module("sparse", 0.01, (3,), (("mask", "random"), ("sites", ("q",)))), 3, "q")
    'layer3_q_sparse_0p01_random'
    """
    options = options_of(module)
    values = [v for name, v in sorted(options.items()) if name != "sites"]
    size = [module.size] if OWN_TYPES[module.type].size else []
    parts = [f"layer{layer}", site, module.type, *size, *values]
    return "_".join(str(part).replace(".", "p") for part in parts)


def _place(layout: Layout, layer: int, site: str) -> Place:
    place = layout.shape.place(layer, site)
    assert place is not None
    return place
