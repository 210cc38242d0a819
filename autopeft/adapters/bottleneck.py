"""Bottleneck adapters at a block, put on with hooks."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


class Bottleneck(nn.Module):
    """`scaling * up(activation(down(x)))`, zero before training.

    Houlsby et al. 2019, section 2.1; with zero weights in the up-projection and a scaling as in He et al. 2022.
    """

    def __init__(self, inputs: int, width: int, outputs: int, activation: str, scaling: float) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, width)
        self.up = nn.Linear(width, outputs)
        self.activation: Callable[[torch.Tensor], torch.Tensor] = getattr(functional, activation)
        self.scaling = scaling
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., outputs)."""
        y: torch.Tensor = self.up(self.activation(self.down(x)))
        return y * self.scaling


def put_serial(
    model: nn.Module, last: str, outputs: int, width: int, activation: str, scaling: float
) -> tuple[nn.Module, Callable[[], None]]:
    """After a block, before the residual: y + bottleneck(y). Houlsby et al. 2019, Pfeiffer et al. 2021.

    Args:
        model: The model.
        last: Path of the block's last linear map, whose output is the block's output y.
        outputs: Width of y.
        width: Of the bottleneck.
        activation: A function of `torch.nn.functional`.
        scaling: Factor of the bottleneck's output.

    Returns:
        The bottleneck, and the function that takes it off.
    """
    bottleneck = Bottleneck(outputs, width, outputs, activation, scaling)

    def add(module: nn.Module, args: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
        after: torch.Tensor = bottleneck(y)
        return y + after.to(y.dtype)

    return bottleneck, model.get_submodule(last).register_forward_hook(add).remove


def put_parallel(
    model: nn.Module,
    first: str,
    last: str,
    inputs: int,
    outputs: int,
    width: int,
    activation: str,
    scaling: float,
) -> tuple[nn.Module, Callable[[], None]]:
    """Beside a block: f(x) + bottleneck(x). He et al. 2022, table 1.

    Args:
        model: The model.
        first: Path of a linear map whose (first) input is the block's input x.
        last: Path of the block's last linear map, whose output is f(x).
        inputs: Width of x.
        outputs: Width of f(x).
        width: Of the bottleneck.
        activation: A function of `torch.nn.functional`.
        scaling: Factor of the bottleneck's output.

    Returns:
        The bottleneck, and the function that takes it off.
    """
    bottleneck = Bottleneck(inputs, width, outputs, activation, scaling)
    seen: list[torch.Tensor] = []

    def begin(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        seen.clear()  # of a pass that an error, or the early stop of gradient checkpointing, ended in the block

    def remember(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if not seen:  # DeBERTa reads its relative positions through the same map, after the tokens
            seen.append(args[0])

    def add(module: nn.Module, args: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
        beside: torch.Tensor = bottleneck(seen.pop())
        if beside.shape != y.shape:
            if beside.shape[:-1].numel() != y.shape[:-1].numel() or 2 not in (beside.ndim, y.ndim):
                raise ValueError(
                    f"the block from '{first}' to '{last}' turns the shape {tuple(beside.shape[:-1])} into "
                    f"{tuple(y.shape[:-1])}: nothing can be beside it; use position: serial."
                )
            beside = beside.reshape(y.shape)  # the block has put all tokens in one row, in their order
        return y + beside.to(y.dtype)

    handles = [
        model.get_submodule(_around(model, first, last)).register_forward_pre_hook(begin),
        model.get_submodule(first).register_forward_pre_hook(remember),
        model.get_submodule(last).register_forward_hook(add),
    ]

    def take_off() -> None:
        for handle in handles:
            handle.remove()

    return bottleneck, take_off


def _around(model: nn.Module, first: str, last: str) -> str:
    """The innermost module that holds both maps and is called: a list of modules never is."""
    parts: list[str] = []
    for one, other in zip(first.split("."), last.split("."), strict=False):
        if one != other:
            break
        parts.append(one)
    while parts and isinstance(model.get_submodule(".".join(parts)), nn.ModuleList | nn.ModuleDict):
        parts.pop()
    return ".".join(parts)
