"""A prefix for one attention layer, joined through transformers' attention interface."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTRIBUTE = "prefix_of_autopeft"
"""Of an attention module: its prefix."""

_NAME = "prefixed_"  # attention implementations that look for a prefix: prefixed_sdpa, prefixed_eager


class Prefix(nn.Module):
    """Trained keys and values that every query attends to beside the sequence; zero before training.

    The prefix has a softmax of its own whose result is added to the attention's output, as in the zero-initialised
    attention of Zhang et al. 2024 (LLaMA-Adapter, section 3.2) with the gate taken into the values. That is
    prefix tuning in the form of He et al. 2022, equation 5, without its (1 - λ): it starts as the identity.
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(length, width))
        self.values = nn.Parameter(torch.zeros(length, width))

    def forward(self, query: torch.Tensor, key_heads: int, scaling: float) -> torch.Tensor:
        """(batch, heads, tokens, head size) to (batch, tokens, heads, head size).

        Args:
            query: The layer's queries.
            key_heads: Heads of keys and values; query heads share them where there are more.
            scaling: Factor of the scores, usually 1 / sqrt(head size).
        """
        heads, head_size = query.shape[1], query.shape[3]
        keys, values = (
            p.view(-1, key_heads, head_size).transpose(0, 1).repeat_interleave(heads // key_heads, dim=0)
            for p in (self.keys, self.values)
        )
        scores = torch.softmax(query @ keys.transpose(-1, -2) * scaling, dim=-1)
        return (scores @ values).transpose(1, 2)


def put_prefix(
    model: nn.Module, attention: str, length: int, width: int
) -> tuple[nn.Module, Callable[[], None]]:
    """Join a prefix to an attention module, whose configuration gets an implementation that looks for prefixes.

    Args:
        model: The model.
        attention: Path of the attention module that hands itself to the attention interface.
        length: Tokens of the prefix.
        width: Numbers of a token's keys, and of its values.

    Returns:
        The prefix, and the function that takes it off.
    """
    module = model.get_submodule(attention)
    prefix = Prefix(length, width)
    config: Any = module.config
    current = config._attn_implementation
    config._attn_implementation = _looking_for_prefixes(current or "eager")
    object.__setattr__(module, ATTRIBUTE, prefix)  # no submodule: the backbone stays as it was

    def take_off() -> None:
        object.__delattr__(module, ATTRIBUTE)
        config._attn_implementation = current  # layers share it: the prefix that was put on first restores it

    return prefix, take_off


def _looking_for_prefixes(implementation: str) -> str:
    if implementation.startswith(_NAME):
        return implementation
    name = _NAME + implementation
    AttentionInterface.register(name, _prefixed(implementation))
    if implementation in ALL_MASK_ATTENTION_FUNCTIONS:
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[implementation])
    return name


def _prefixed(implementation: str) -> Callable[..., tuple[torch.Tensor, torch.Tensor | None]]:
    def attention(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        # `eager` is a function of the model's own file; the others are in transformers' table.
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        function = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager)
        output, weights = function(module, query, key, value, attention_mask, *args, **kwargs)
        prefix = getattr(module, ATTRIBUTE, None)
        if prefix is not None:
            scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
            output = output + prefix(query, key.shape[1], scaling).to(output.dtype)
        return output, weights

    return attention
