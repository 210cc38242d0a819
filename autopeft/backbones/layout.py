"""Where the sites of a backbone are, found by inspection and never by the model's name.

Projections are told by the last part of their path (`q_proj`, `query`, `c_attn`, ...): architectures differ in
names, hardly in meaning. A layer is a member of the model's largest list of equal blocks.
"""

import re
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autopeft.errors import BackboneError
from autopeft.nouns import BackboneShape, LayerShape

# The first pattern that matches a linear map's path inside its layer names the site.
_SITES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (site, re.compile(rf"(^|\.)({pattern})$"))
    for site, pattern in (
        ("qkv", r"c_attn|query_key_value|qkv|qkv_proj|Wqkv|in_proj"),
        ("q", r"q_proj|query|q_lin|q|query_proj|wq"),
        ("k", r"k_proj|key|k_lin|k|key_proj|wk"),
        ("v", r"v_proj|value|v_lin|v|value_proj|wv"),
        (
            "o",
            r"o_proj|out_proj|out_lin|attn\.c_proj|attention\.output\.dense|self_attention\.dense"
            r"|attention\.dense|self_attn\.dense|attn\.o|attn\.proj|attn\.Wo",
        ),
        ("gate", r"gate_proj|wi_0"),
        (
            "up",
            r"up_proj|fc1|c_fc|lin1|intermediate\.dense|dense_h_to_4h|wi|wi_1|fc_in|linear1|mlp\.Wi|gate_up_proj|ffn",
        ),
        (
            "down",
            r"down_proj|fc2|mlp\.c_proj|lin2|output\.dense|dense_4h_to_h|wo|fc_out|linear2|mlp\.Wo|ffn_output",
        ),
    )
)


@dataclass(frozen=True)
class LayerLayout:
    """Where one layer's sites are.

    Attributes:
        sites: Site to the module's path in the model.
        attention: Path of the self-attention module that holds the projections; empty if there is none.
    """

    sites: dict[str, str]
    attention: str


@dataclass(frozen=True)
class Layout:
    """Where the sites of a whole backbone are, and how large they are."""

    layers: tuple[LayerLayout, ...]
    shape: BackboneShape


def find_layout(model: PreTrainedModel, backbone_parameters: int) -> Layout:
    """Find a model's layers and sites.

    Raises:
        BackboneError: No repeated blocks with known linear maps were found, their widths differ, or the model is
            an encoder and a decoder.
    """
    name, config = type(model).__name__, model.config.get_text_config()
    if model.config.is_encoder_decoder:
        raise BackboneError(
            f"a {name} is an encoder with a decoder: use a model that is one of the two, such as BERT or GPT-2."
        )
    blocks_path, blocks = _blocks(model)
    layouts, shapes = [], []
    for i, block in enumerate(blocks):
        layout, shape = _layer(model, f"{blocks_path}.{i}", block)
        layouts.append(layout)
        shapes.append(shape)
    if not all(shape.linears for shape in shapes):
        raise BackboneError(
            f"the layers of a {name} ({blocks_path}) hold no linear maps that are known as "
            f"{', '.join(site for site, _ in _SITES)}, each once."
        )
    widths = {_hidden(shape) for shape in shapes}
    if len(widths) > 1:
        listed = ", ".join(map(str, sorted(widths)))
        raise BackboneError(
            f"the layers of a {name} have different widths ({listed}); one width is supported."
        )
    heads = getattr(config, "num_attention_heads", 0)
    # The inputs of `down`, because `up` may be one map with the gate.
    intermediate = shapes[0].linears["down"][0] if "down" in shapes[0].linears else 0
    whole = BackboneShape(
        backbone_parameters, widths.pop(), heads if isinstance(heads, int) else 0, intermediate, tuple(shapes)
    )
    return Layout(tuple(layouts), whole)


def _blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    found = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len({type(child) for child in module}) == 1
        and any(isinstance(m, nn.Linear | Conv1D) for m in module.modules())
    ]
    if not found:
        raise BackboneError(f"no transformer layers were found in a {type(model).__name__}.")
    return max(found, key=lambda pair: sum(p.numel() for p in pair[1].parameters()))


def _layer(model: PreTrainedModel, path: str, block: nn.Module) -> tuple[LayerLayout, LayerShape]:
    sites: dict[str, str] = {}
    linears: dict[str, tuple[int, int]] = {}
    attention = ""
    twice: set[str] = set()
    for name, module in block.named_modules():
        if not isinstance(module, nn.Linear | Conv1D) or "cross" in name.lower():
            continue
        site = next((site for site, pattern in _SITES if pattern.search(name)), None)
        if site is None:
            continue
        if site in sites:
            twice.add(site)  # of experts, say: which one is meant is unknown, so the site is not offered
            continue
        sites[site] = f"{path}.{name}"
        linears[site] = linear_size(module)
        if site in ("k", "qkv") and not attention:
            attention = f"{path}.{name.rpartition('.')[0]}"
    for site in twice:
        del sites[site], linears[site]
    width = 0
    if attention and not {"k", "qkv"} & twice and getattr(model, "_supports_attention_backend", False):
        width = _key_width(model, linears)
    order = [site for site, _ in _SITES if site in linears]
    return LayerLayout(sites, attention), LayerShape({site: linears[site] for site in order}, width)


def linear_size(module: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear map, `torch.nn.Linear` or GPT-2's transposed `Conv1D`."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    weight = module.weight
    return int(weight.shape[0]), int(weight.shape[1])  # type: ignore[index]


def _key_width(model: PreTrainedModel, linears: dict[str, tuple[int, int]]) -> int:
    if "k" in linears:
        return linears["k"][1]
    config = model.config.get_text_config()  # one fused map: the configuration knows the share of the keys
    heads = int(config.num_attention_heads)
    head_size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return int(getattr(config, "num_key_value_heads", None) or heads) * head_size


def _hidden(layer: LayerShape) -> int:
    return layer.linears["down"][1] if "down" in layer.linears else next(iter(layer.linears.values()))[0]
