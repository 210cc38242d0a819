"""Which site a linear map is, told by its path inside a layer and by what stands beside it.

Projections are told by the last parts of their path (`q_proj`, `query`, `c_attn`, ...): architectures differ in
names, hardly in meaning.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from autopeft.errors import BackboneError, nearest
from autopeft.nouns import SITES

LINEAR_SITES = tuple(site for site in SITES if site not in ("attention", "ffn", "norm", "input"))
"""The sites that are one linear map."""

MIXER_SITES = tuple(site for site in LINEAR_SITES if site not in ("gate", "up", "down"))
"""Of these, the ones of attention or a state space: a layer has some, a part of one (an expert, say) has none."""

_NONE = ""  # known, and no site
_IN_ATTENTION = r"\w*[Aa]tt\w*\.(\w+\.)*"
_IN_FFN = r"(\w*mlp|\w*ffn|feed_forward)\."

# The first pattern that matches the end of the path names the site; some models wrap a map as `q_proj.linear`.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (site, re.compile(rf"(^|\.)({pattern})(\.linear)?$"))
    for site, pattern in (
        ("qkv", r"c_attn|query_key_value|qkv|qkv_proj|Wqkv|in_proj"),
        ("q", r"q_proj|query|q_lin|q|query_proj|linear_q|to_q"),
        ("k", r"k_proj|key|k_lin|k|key_proj|linear_k|to_k"),
        ("v", r"v_proj|value|v_lin|v|value_proj|linear_v|to_v"),
        (
            "o",
            r"o_proj|out_proj|out_lin|linear_out|to_out"
            rf"|{_IN_ATTENTION}(c_proj|dense|o|proj|Wo|out|to_out\.0|output|projection|projection_layer)",
        ),
        # What else is in an attention is no part of a feed-forward block.
        (_NONE, r"\w*[Aa]tt\w*\.((?!mlp|ffn|feed_forward)\w+\.)*\w+"),
        ("gate", rf"gate_proj|wi_0|w1|{_IN_FFN}proj_up_gate"),
        (
            "up",
            r"up_proj|fc1|c_fc|lin1|intermediate\.dense|intermediate_dense|dense_h_to_4h|wi|wi_1|w3|fc_in"
            r"|linear1|linear_1|linear_fc1|gate_up_proj|ffn"
            rf"|{_IN_FFN}(Wi|dense1|proj_in|proj_up|intermediate|input_linear)",
        ),
        (
            "down",
            r"down_proj|fc2|lin2|output\.dense|output_dense|dense_4h_to_h|wo|w2|fc_out"
            r"|linear2|linear_2|linear_fc2|ffn_output"
            rf"|{_IN_FFN}(c_proj|Wo|dense2|proj_out|proj_down|output|output_linear)",
        ),
    )
)
_CROSS = re.compile(r"cross|encoder_attn|encdec", re.IGNORECASE)
_STATE_SPACE = {"in_proj": "in", "x_proj": "x", "dt_proj": "dt", "out_proj": "out"}


def linear_maps(block: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Every linear map in a module: its path there, itself, and the module that holds it."""
    for path, parent in block.named_modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear | Conv1D):
                yield f"{path}.{name}".removeprefix("."), child, parent


def site_of(path: str, parent: nn.Module, by_hand: Mapping[str, str]) -> str | None:
    """The site of a linear map, or None if it is none that is known.

    Args:
        path: Inside its layer.
        parent: The module that holds it.
        by_hand: Site to the end of a path; goes before everything else, for these maps and for these sites.
    """
    for site, end in by_hand.items():
        if ends_in(path, end):
            return site
    found = _site_by_name(path, parent)
    return None if found in by_hand else found


def ends_in(path: str, end: str) -> bool:
    """Whether the last parts of a path are those of `end`."""
    return f".{path}".endswith(f".{end}")


def _site_by_name(path: str, parent: nn.Module) -> str | None:
    beside = dict(parent.named_children())
    if {"in_proj", "out_proj"} <= beside.keys() and not {"q_proj", "k_proj"} & beside.keys():
        return _STATE_SPACE.get(path.rpartition(".")[2])
    return site_by_pattern(path)


def site_by_pattern(path: str) -> str | None:
    """The site that a path inside a layer means by itself."""
    site = next((site for site, pattern in _PATTERNS if pattern.search(path)), None)
    if not site:
        return None
    if not _CROSS.search(path):
        return site
    return f"cross_{site}" if f"cross_{site}" in SITES else None


def check_by_hand(sites: Mapping[str, str]) -> dict[str, str]:
    """Sites that a person named by hand.

    Raises:
        BackboneError: A site is not the name of one, or its path is empty.
    """
    for site, path in sites.items():
        if site not in LINEAR_SITES:
            raise BackboneError(
                f"cannot name '{site}' by hand: the sites that are linear maps are {', '.join(LINEAR_SITES)}.",
                nearest(site, LINEAR_SITES),
            )
        if not path.strip("."):
            raise BackboneError(f"the site '{site}' is named by an empty path: write {site}=PATH.")
    return {site: path.strip(".") for site, path in sites.items()}


def objection(parent: nn.Module, name: str) -> str:
    """Why nothing can be put on the linear map `name` of `parent`; empty if something can."""
    kind = type(parent).__name__
    if hasattr(parent, "A_log") and name in ("dt_proj", "out_proj"):  # a state space, as in Mamba
        return f"a {kind} or its fused kernels read the weights of {name} and go past whatever is put on it"
    source = forward_source(type(parent).forward)
    if f"self.{name}.weight" in source and f"self.{name}(" not in source:
        return f"a {kind} reads the weights of {name} without calling it and goes past whatever is put on it"
    return ""


@functools.cache
def forward_source(forward: Callable[..., Any]) -> str:
    """The text of a forward pass, without what wraps it; empty where there is none to read."""
    try:
        return inspect.getsource(inspect.unwrap(forward))
    except (OSError, TypeError):
        return ""
