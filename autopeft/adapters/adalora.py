"""What AdaLoRA knows beside its factors while it is trained: the ranks that it has left, and how it has judged them."""

from collections.abc import Mapping
from typing import Any

import torch

from autopeft.adapters.stack import Stack

_JUDGED = (
    "ipt",
    "exp_avg_ipt",
    "exp_avg_unc",
)  # of each factor's entries; peft keeps nothing else between steps


def ranks(stack: Stack) -> list[Any]:
    """Of each AdaLoRA, which ranks it has left; JSON."""
    return [adapter.wrapper.peft_config["default"].rank_pattern for adapter in stack.adalora()]


def judged(stack: Stack) -> dict[str, torch.Tensor]:
    """How much each AdaLoRA thinks of its factors' entries, by names that `load_state` takes."""
    return {
        f"{number}.{name}.{path}": tensor
        for number, adapter in enumerate(stack.adalora())
        for name in _JUDGED
        for path, tensor in getattr(adapter.wrapper.base_model.rankallocator, name).items()
    }


def load_state(stack: Stack, known: list[Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Put in what `ranks` and `judged` gave, of a stack of the same adapters."""
    for number, adapter in enumerate(stack.adalora()):
        adapter.wrapper.peft_config["default"].rank_pattern = known[number]
        device = adapter.parameters()[0].device
        for name in _JUDGED:
            before = f"{number}.{name}."
            found = {n.removeprefix(before): t.to(device) for n, t in tensors.items() if n.startswith(before)}
            setattr(adapter.wrapper.base_model.rankallocator, name, found)
