"""What is looked at before modules are dealt out: gradients of frozen weights, and what goes into linear maps.

Notation:
    W, G    weight of a linear map, (outputs, inputs); gradient of the mean loss of a batch by it
    X       inputs of a linear map over all tokens of all examples, (tokens, inputs)
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from autopeft.allocate.units import Unit
from autopeft.errors import TrialError

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench

Key = TypeVar("Key")

MOST_BYTES = 2 * 2**30
"""Of accumulated gradients at once: a larger backbone is gone through several times, a part of its maps each time."""


def maps_of(bench: "Workbench", units: Iterable[Unit]) -> dict[Unit, nn.Module]:
    """The linear maps of units."""
    layers = bench.backbone.layout.layers
    return {unit: bench.backbone.model.get_submodule(layers[unit.layer].sites[unit.site]) for unit in units}


def squared_gradients(
    bench: "Workbench", maps: Mapping[Unit, nn.Module], batches: Iterable[dict[str, torch.Tensor]]
) -> Iterator[tuple[Unit, torch.Tensor]]:
    """Of every weight, the sum over batches of G^2, in float32, as the weight is stored. He et al. 2023, section 3.1."""
    return squares_of(bench, {unit: weight_of(linear) for unit, linear in maps.items()}, batches)


def squares_of(
    bench: "Workbench", tensors: Mapping[Key, torch.Tensor], batches: Iterable[dict[str, torch.Tensor]]
) -> Iterator[tuple[Key, torch.Tensor]]:
    """As `squared_gradients`, of any of the backbone's parameters, all in one pass. What is no number counts as 0."""
    return _accumulated(bench, tensors, list(batches), lambda gradient: gradient.square().nan_to_num(nan=0.0))


def mean_gradients(
    bench: "Workbench", maps: Mapping[Unit, nn.Module], batches: Iterable[dict[str, torch.Tensor]]
) -> Iterator[tuple[Unit, torch.Tensor]]:
    """Of every weight, the mean over batches of G, in float32, as the weight is stored."""
    several = list(batches)
    weights = {unit: weight_of(linear) for unit, linear in maps.items()}
    return _accumulated(bench, weights, several, lambda gradient: gradient / len(several))


def _accumulated(
    bench: "Workbench", tensors: Mapping[Key, torch.Tensor], batches: list[dict[str, torch.Tensor]], term: Any
) -> Iterator[tuple[Key, torch.Tensor]]:
    model = bench.backbone.model
    for group in _groups(tensors):
        parameters = [tensors[key] for key in group]
        totals = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in parameters]
        asked = [parameter for parameter in model.parameters() if parameter.requires_grad]
        model.requires_grad_(False)
        try:
            for parameter in parameters:
                parameter.requires_grad_(True)
            for batch in batches:
                inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
                loss = bench.loss_of(bench.run(model, inputs).logits, batch["labels"])
                found = torch.autograd.grad(loss, parameters, allow_unused=True)
                for total, gradient in zip(totals, found, strict=True):
                    if gradient is not None:
                        total += term(gradient.float())
        finally:
            model.requires_grad_(False)
            for parameter in asked:
                parameter.requires_grad_(True)
        yield from zip(group, totals, strict=True)


def weight_of(linear: nn.Module) -> torch.Tensor:
    """The weight of a linear map. Raises: TrialError, if it is in 8 or 4 bits."""
    weight = linear.weight
    assert isinstance(weight, torch.Tensor)
    if not weight.is_floating_point():
        raise TrialError("gradients of weights in 8 or 4 bits cannot be looked at: use --quantize none.")
    return weight


def bias_of(linear: nn.Module) -> torch.Tensor:
    """The bias of a linear map that has one."""
    bias = linear.bias
    assert isinstance(bias, torch.Tensor)
    return bias


def _groups(tensors: Mapping[Key, torch.Tensor]) -> Iterator[list[Key]]:
    group: list[Key] = []
    used = 0
    for key, tensor in tensors.items():
        size = 4 * tensor.numel()
        if group and used + size > MOST_BYTES:
            yield group
            group, used = [], 0
        group.append(key)
        used += size
    if group:
        yield group


def rows_of(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """What goes into a linear map, or comes out of it, a row for each token that is not padding, (tokens, width).

    Args:
        x: Of any number of dimensions, the width last.
        mask: True where a token is there, (examples, tokens); None, or of another shape: every row counts.
    """
    return x[mask] if mask is not None and x.shape[:2] == mask.shape else x.reshape(-1, x.shape[-1])


@torch.no_grad()
def input_spectra(
    bench: "Workbench", maps: Mapping[Unit, nn.Module], batches: Iterable[dict[str, torch.Tensor]], most: int
) -> dict[Unit, tuple[float, ...]]:
    """How much of its inputs' variance each of the main directions of a map explains, the first ones, descending.

    The shares of the eigenvalues of X^T X: what the incremental decomposition of Paischer et al. 2024 (2410.07170, section 3.2)
    comes to rest at. Padding does not count.
    """
    products: dict[Unit, torch.Tensor] = {}
    mask: torch.Tensor | None = None

    def note(unit: Unit) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            rows = rows_of(args[0], mask)
            product = rows.double().T @ rows.double()
            products[unit] = products[unit] + product if unit in products else product

        return hook

    handles = [linear.register_forward_pre_hook(note(unit)) for unit, linear in maps.items()]
    try:
        for batch in batches:
            whole = batch.get("attention_mask")
            mask = None if whole is None else whole.bool()
            bench.run(bench.backbone.model, {name: t for name, t in batch.items() if name != "labels"})
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for unit, product in products.items():
        values = torch.linalg.eigvalsh(product).flip(0).clamp(min=0)
        found[unit] = tuple((values[:most] / values.sum().clamp(min=1e-300)).tolist())
    return found
