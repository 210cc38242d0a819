"""Where the sites of a backbone are and how large they are, found by inspection and never by the model's name.

Only shapes are looked at, never data: a model on the meta device has a layout too.
"""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autopeft.backbones.names import (
    check_by_hand,
    ends_in,
    forward_source,
    linear_maps,
    objection,
    site_by_pattern,
    site_of,
)
from autopeft.backbones.stacks import find_layers, unread_blocks
from autopeft.errors import BackboneError
from autopeft.nouns import SITES, BackboneShape, LayerShape, Place

_MOST_NAMED = 12  # linear maps that a sentence lists


@dataclass(frozen=True)
class LayerLayout:
    """Where one layer's sites are. All paths are paths in the model.

    Attributes:
        path: The layer.
        sites: Linear site to its linear map.
        attention: The self-attention module that holds the projections; empty if there is none.
        norms: The norms of the layer.
        blocks: `attention` and `ffn`, where they are, to the linear map whose input is the block's input and the one
            whose output is the block's output.
    """

    path: str
    sites: dict[str, str]
    attention: str
    norms: tuple[str, ...]
    blocks: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Layout:
    """Where the sites of a whole backbone are, and how large they are.

    Attributes:
        layers: Encoder before decoder, first tower before second.
        shape: The same layers as a search space sees them.
        input: Path of the token embedding that a prompt can join; empty where none can.
        unnamed: Ends of the paths of linear maps in layers that are no site: what `--sites` could name.
    """

    layers: tuple[LayerLayout, ...]
    shape: BackboneShape
    input: str
    unnamed: tuple[str, ...] = ()


@dataclass
class _Reading:
    """What is noted while layers are read."""

    by_hand: dict[str, str]
    refused: dict[str, str] = field(default_factory=dict)
    several: set[str] = field(default_factory=set)
    unnamed: dict[str, None] = field(default_factory=dict)  # an ordered set
    taken: set[int] = field(default_factory=set)


def find_layout(
    model: PreTrainedModel, backbone_parameters: int, sites: Mapping[str, str] | None = None
) -> Layout:
    """Find a model's layers and sites.

    Args:
        model: Any model of transformers, with a head or without.
        backbone_parameters: Its parameters without the head.
        sites: Sites that are named by hand: site to the end of a linear map's path inside its layer, as in
            `{"q": "attn.q_proj"}`. They go before what is found.

    Raises:
        BackboneError: No layers with known linear maps were found, or a site that is named by hand is not there.
    """
    reading = _Reading(check_by_hand(sites or {}))
    layers = find_layers(model, reading.by_hand)
    if not layers:
        raise _unread(model, reading.by_hand)
    read = [_layer(path, block, reading) for path, block in layers]
    _check_by_hand_is_there(model, layers, [layout for layout, _ in read], reading)
    shapes = [shape for _, shape in read]
    there = {site for shape in shapes for site in shape.places}
    refused = {site: reason for site, reason in reading.refused.items() if site not in there}
    for site in reading.several - there:
        refused[site] = "it is there several times in a layer, as in experts, and no one of them is meant"
    if not any(place.kind in ("linear", "block") for shape in shapes for place in shape.places.values()):
        reasons = "; ".join(f"{site}: {reason}" for site, reason in refused.items())
        raise BackboneError(f"no site of a {type(model).__name__} can take a module: {reasons}.")
    embedding, width, reason = _input(model)
    if reason:
        refused["input"] = reason
    shape = BackboneShape(
        parameters=backbone_parameters,
        hidden=max(_hidden(shape) for shape in shapes),
        heads=_heads(model),
        # The inputs of `down`, because `up` may be one map with the gate.
        intermediate=max(s.places["down"].inputs if "down" in s.places else 0 for s in shapes),
        layers=tuple(shapes),
        # A decoder's classifier pools at the last token, which it finds by the ids.
        input=Place("input", width, 0 if hasattr(model, "score") else width) if embedding else None,
        refused={site: refused[site] for site in SITES if site in refused},
    )
    return Layout(tuple(layout for layout, _ in read), shape, embedding, tuple(reading.unnamed))


def linear_size(module: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear map, `torch.nn.Linear` or GPT-2's transposed `Conv1D`."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    weight = module.weight
    return int(weight.shape[0]), int(weight.shape[1])  # type: ignore[index]


def _layer(path: str, block: nn.Module, reading: _Reading) -> tuple[LayerLayout, LayerShape]:
    sites: dict[str, str] = {}
    places: dict[str, Place] = {}
    holders: dict[str, nn.Module] = {}
    several: set[str] = set()
    for name, linear, parent in linear_maps(block):
        if id(linear) in reading.taken:
            continue  # shared with an earlier layer: what is put on it there is in both
        reading.taken.add(id(linear))
        site = site_of(name, parent, reading.by_hand)
        reason = objection(parent, name.rpartition(".")[2])
        if site is None:
            reading.unnamed[name] = None
        elif reason:
            reading.refused[site] = reason
        elif site in sites:
            several.add(site)
        else:
            sites[site], places[site], holders[site] = f"{path}.{name}", _linear_place(linear), parent
    for site in several:
        del sites[site], places[site]
    for name, parameter in block.named_parameters():
        if parameter.dim() == 3 and (site := site_by_pattern(name)):
            reading.refused[site] = (
                "the experts of a layer are one tensor of three dimensions and no linear map"
            )
    reading.several |= several

    key = "k" if "k" in sites else "qkv"
    attention = sites[key].rpartition(".")[0] if key in sites else ""
    blocks: dict[str, tuple[str, str]] = {}
    for block_name, (first, last) in _block_ends(sites).items():
        blocks[block_name] = (sites[first], sites[last])
        width = _prefix_width(places, holders[key]) if block_name == "attention" and attention else 0
        places[block_name] = Place("block", places[first].inputs, places[last].outputs, prefix_width=width)
    norms = {
        f"{path}.{name}": norm
        for name, norm in block.named_modules()
        if _is_norm(norm) and id(norm) not in reading.taken
    }
    if norms:
        reading.taken.update(map(id, norms.values()))
        places["norm"] = _norm_place(norms.values())
    ordered = LayerShape({site: places[site] for site in SITES if site in places})
    sites = {site: sites[site] for site in SITES if site in sites}
    return LayerLayout(path, sites, attention, tuple(norms), blocks), ordered


def _linear_place(linear: nn.Module) -> Place:
    inputs, outputs = linear_size(linear)
    bias = 0 if linear.bias is None else linear.bias.numel()  # type: ignore[operator]
    return Place("linear", inputs, outputs, bias=int(bias), transposed=isinstance(linear, Conv1D))


def _norm_place(norms: Iterable[nn.Module]) -> Place:
    sizes = {"weight": 0, "bias": 0}
    for norm in norms:
        for name, parameter in norm.named_parameters():
            sizes[name] += parameter.numel()
    return Place("norm", sizes["weight"], sizes["weight"], bias=sizes["bias"])


def _block_ends(sites: Iterable[str]) -> dict[str, tuple[str, str]]:
    ends = {}
    for block, firsts, last in (("attention", ("q", "qkv"), "o"), ("ffn", ("gate", "up"), "down")):
        first = next((site for site in firsts if site in sites), None)
        if first is not None and last in sites:
            ends[block] = (first, last)
    return ends


def _prefix_width(places: Mapping[str, Place], attention: nn.Module) -> int:
    # A prefix joins where attention is computed by a function of transformers' attention interface.
    if not hasattr(attention, "config") or "ALL_ATTENTION_FUNCTIONS" not in forward_source(
        type(attention).forward
    ):
        return 0
    if "k" not in places:  # one fused map: the output projection knows how much of it is the queries
        keys, odd = divmod(places["qkv"].outputs - places["o"].inputs, 2)
        return 0 if odd else max(keys, 0)
    alike = "v" in places and places["v"].outputs == places["k"].outputs
    return places["k"].outputs if alike else 0


def _is_norm(module: nn.Module) -> bool:
    own = {name for name, _ in module.named_parameters(recurse=False)}
    named = type(module).__name__.endswith("Norm") or isinstance(
        module, nn.LayerNorm | nn.RMSNorm | nn.GroupNorm
    )
    return named and "weight" in own and own <= {"weight", "bias"} and not list(module.children())


def _input(model: PreTrainedModel) -> tuple[str, int, str]:
    """Path and width of the token embedding that a prompt can join; else why none can, empty if there is no text."""
    taken = inspect.signature(model.forward).parameters
    if not {"input_ids", "inputs_embeds"} <= taken.keys():
        return "", 0, ""
    if model.config.is_encoder_decoder and model.get_output_embeddings() is not None:
        return "", 0, "tokens before the input are not put on a model that writes with a decoder of its own"
    if model.config.is_encoder_decoder:
        return "", 0, "the classifier of an encoder with a decoder looks for the end of the text in token ids"
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError:
        return "", 0, ""
    if not isinstance(embedding, nn.Embedding):
        return "", 0, ""
    path = next((name for name, module in model.named_modules() if module is embedding), "")
    return path, embedding.embedding_dim, ""


def _heads(model: PreTrainedModel) -> int:
    try:
        heads = getattr(model.config.get_text_config(), "num_attention_heads", 0)
    except RuntimeError:  # a configuration whose layers differ does not answer for all of them
        return 0
    if isinstance(heads, list | tuple):  # a number for each stage
        heads = max(heads, default=0)
    return heads if isinstance(heads, int) else 0


def _hidden(layer: LayerShape) -> int:
    for site, end in (("down", "outputs"), ("o", "outputs"), ("in", "inputs")):
        if site in layer.places:
            return int(getattr(layer.places[site], end))
    return next((place.inputs for place in layer.places.values() if place.kind == "linear"), 0)


def _unread(model: nn.Module, by_hand: Mapping[str, str]) -> BackboneError:
    name = type(model).__name__
    path, linears = unread_blocks(model)
    if not linears:
        return BackboneError(f"no layers were found in a {name}: it has no list of blocks with linear maps.")
    ends = [end for end, _ in linears]
    if by_hand:
        site, wanted = next(iter(by_hand.items()))
        return _absent(name, site, wanted, path, ends)
    return BackboneError(
        f"no site was found in the layers of a {name}: the blocks in {path} hold the linear maps {_listed(ends)}; "
        f"name them by hand, such as --sites {_example(*linears[0])}."
    )


def _check_by_hand_is_there(
    model: nn.Module, layers: list[tuple[str, nn.Module]], layouts: list[LayerLayout], reading: _Reading
) -> None:
    kind = type(model).__name__
    for site, end in reading.by_hand.items():
        for _, block in layers:
            found = [name for name, _, _ in linear_maps(block) if ends_in(name, end)]
            if len(found) > 1:
                raise BackboneError(
                    f"'{site}={end}' names {len(found)} linear maps in a layer of a {kind}, {_listed(found)}: "
                    "write more of the path."
                )
        if site not in reading.refused and not any(site in layout.sites for layout in layouts):
            path, block = layers[0]
            raise _absent(kind, site, end, path, [name for name, _, _ in linear_maps(block)])


def _absent(name: str, site: str, end: str, path: str, ends: list[str]) -> BackboneError:
    close = difflib.get_close_matches(end, ends, n=1)
    hint = f" Did you mean '{site}={close[0]}'?" if close else ""
    return BackboneError(
        f"the site '{site}' was not found: no linear map in the layers of a {name} has a path that ends in '{end}'; "
        f"{path} holds {_listed(ends)}.{hint}"
    )


def _listed(ends: list[str]) -> str:
    more = f" and {len(ends) - _MOST_NAMED} more" if len(ends) > _MOST_NAMED else ""
    return ", ".join(ends[:_MOST_NAMED]) + more


def _example(end: str, linear: nn.Module) -> str:
    inputs, outputs = linear_size(linear)
    return f"{'q' if inputs == outputs else 'up' if inputs < outputs else 'down'}={end}"
