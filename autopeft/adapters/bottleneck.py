"""Bottleneck adapters at a feed-forward block, put on with hooks."""

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


class Bottleneck(nn.Module):
    """`up(relu(down(x)))`, zero before training.

    Houlsby et al. 2019, section 2.1; with zero weights in the up-projection as in He et al. 2022.
    """

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, size)
        self.up = nn.Linear(size, hidden)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., hidden) to (..., hidden)."""
        y: torch.Tensor = self.up(torch.relu(self.down(x)))
        return y


def attach_serial(bottleneck: Bottleneck, last: nn.Module) -> list[RemovableHandle]:
    """After the block, before the residual: y + bottleneck(y). Pfeiffer et al. 2021.

    Args:
        bottleneck: The adapter.
        last: The block's last linear map, whose output is the block's output y.
    """
    return [last.register_forward_hook(lambda module, args, y: y + bottleneck(y))]


def attach_parallel(bottleneck: Bottleneck, first: nn.Module, last: nn.Module) -> list[RemovableHandle]:
    """Beside the block: f(x) + bottleneck(x). He et al. 2022, table 1.

    Args:
        bottleneck: The adapter.
        first: The block's first linear map, whose input is the block's input x.
        last: The block's last linear map, whose output is f(x).
    """
    seen: list[torch.Tensor] = []

    def remember(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        seen[:] = [args[0]]

    def add(module: nn.Module, args: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
        beside: torch.Tensor = bottleneck(seen.pop())
        return y + beside

    return [first.register_forward_pre_hook(remember), last.register_forward_hook(add)]
