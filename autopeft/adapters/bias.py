"""Biases trained as differences from the pre-trained ones."""

from collections.abc import Callable, Sequence

import torch
from torch import nn


class BiasDelta(nn.Module):
    """What is added to the biases of some modules; zero before training.

    BitFit (Ben Zaken et al. 2022) with the pre-trained bias as the origin, so that weight decay pulls towards it.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.deltas = nn.ParameterList(torch.zeros(size) for size in sizes)


def put_bias(model: nn.Module, paths: Sequence[str]) -> tuple[nn.Module, Callable[[], None]]:
    """Train the biases of linear maps or norms: y + delta, which is the same as bias + delta.

    Args:
        model: The model.
        paths: Of the modules; those without a bias are left out.

    Returns:
        The differences, and the function that takes them off.
    """
    modules = [model.get_submodule(path) for path in paths]
    biases = [(m, bias) for m in modules if isinstance(bias := getattr(m, "bias", None), torch.Tensor)]
    delta = BiasDelta([bias.numel() for _, bias in biases])

    def adds(number: int) -> Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]:
        return lambda module, args, y: y + delta.deltas[number].to(y.dtype)

    handles = [module.register_forward_hook(adds(number)) for number, (module, _) in enumerate(biases)]

    def take_off() -> None:
        for handle in handles:
            handle.remove()

    return delta, take_off
