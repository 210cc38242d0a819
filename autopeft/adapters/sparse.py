"""Sparse deltas: a few entries of a weight, trained one by one, whichever a mask names.

Notation:
    W           weight of the linear map: (outputs, inputs), or (inputs, outputs) in GPT-2's `Conv1D`
    indices     entries of W that are trained, as positions in the flattened W, ascending: (count,)
    values      what is added to them: (count,)
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

SAVED = "saved"
"""The mask of a delta whose tensors, the entries among them, are about to be loaded: nothing is computed for it."""


class _SparseProduct(torch.autograd.Function):
    # The dense delta is made anew in each direction and never kept: keeping it would take the memory of W.
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, values: torch.Tensor, watched: torch.Tensor | None, delta: "SparseDelta"
    ) -> torch.Tensor:
        ctx.save_for_backward(x, values)
        ctx.delta = delta
        return x @ delta.dense(values).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        x, values = ctx.saved_tensors
        delta: SparseDelta = ctx.delta
        of_x = gradient @ delta.dense(values).T.to(gradient.dtype) if ctx.needs_input_grad[0] else None
        of_values = of_weight = None
        if ctx.needs_input_grad[1]:
            rows, columns = (
                x.reshape(-1, x.shape[-1]).to(gradient.dtype),
                gradient.reshape(-1, gradient.shape[-1]),
            )
            of_weight = rows.T @ columns if delta.transposed else columns.T @ rows
            of_values = of_weight.reshape(-1)[delta.indices].to(values.dtype)
        return of_x, of_values, of_weight if ctx.needs_input_grad[2] else None, None


class SparseDelta(nn.Module):
    """`x @ delta.T`, where delta is zero but for trained entries that are zero before training.

    The weight with the delta in it is `weight.view(-1).index_add_(0, indices, values)`.

    Attributes:
        watched: What stands for all of W where its gradient is wanted, a leaf of W's shape; None where it is not. The backward
            pass has that gradient anyway, one map at a time.
    """

    indices: torch.Tensor
    watched: torch.Tensor | None

    def __init__(self, indices: torch.Tensor, shape: tuple[int, int], transposed: bool) -> None:
        super().__init__()
        self.shape = shape
        self.transposed = transposed
        self.watched = None
        self.values = nn.Parameter(torch.zeros(len(indices)))
        self.register_buffer("indices", indices)

    def dense(self, values: torch.Tensor) -> torch.Tensor:
        """The delta as a matrix that rows of inputs are multiplied with: (inputs, outputs)."""
        flat = values.new_zeros(self.shape[0] * self.shape[1])
        flat[self.indices] = values
        matrix = flat.view(self.shape)
        return matrix if self.transposed else matrix.T

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., outputs)."""
        y: torch.Tensor = _SparseProduct.apply(x, self.values, self.watched, self)  # type: ignore[no-untyped-call]
        return y


def largest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Flat positions of the largest scores, ascending; of equal ones the first, so that every machine agrees.

    >>> largest(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), 2).tolist()
    [1, 2]
    """
    flat = scores.detach().reshape(-1)
    if not count:
        return flat.new_zeros(0, dtype=torch.int64)
    threshold = flat.topk(count).values[-1]
    above = (flat > threshold).nonzero().squeeze(1)
    tied = (flat == threshold).nonzero().squeeze(1)[: count - len(above)]
    return torch.cat([above, tied]).sort().values


def put_sparse(
    model: nn.Module,
    path: str,
    count: int,
    mask: str,
    transposed: bool,
    scores: Callable[[str], torch.Tensor] | None = None,
) -> tuple[nn.Module, Callable[[], None]]:
    """Train some entries of a linear map's weight: y + x @ delta.T.

    Args:
        model: The model.
        path: Of the linear map.
        count: How many entries.
        mask: Which: the largest of the weight (`magnitude`), any (`random`, from torch's global generator), those
            with the largest score (`sensitivity`), or `SAVED`.
        transposed: Whether the weight is (inputs, outputs).
        scores: Path of a linear map to the scores of its weight's entries, in the weight's shape.

    Returns:
        The delta, and the function that takes it off.

    Raises:
        ValueError: The mask is not one of these, or it needs scores and there are none.
    """
    linear = model.get_submodule(path)
    weight = linear.weight
    assert isinstance(weight, torch.Tensor)
    if mask == "random":
        indices = torch.randperm(weight.numel())[:count].sort().values
    elif mask == "magnitude":
        indices = largest(weight.abs(), count)
    elif mask == "sensitivity" and scores is not None:
        indices = largest(scores(path), count)
    elif mask == SAVED:
        indices = torch.arange(count)
    else:
        raise ValueError(
            f"a sparse delta at '{path}' has no mask '{mask}' without scores of the weight's entries."
        )
    short = weight.numel() <= 2**31
    indices = indices.to("cpu", torch.int32 if short else torch.int64)
    delta = SparseDelta(indices, (weight.shape[0], weight.shape[1]), transposed)

    def add(module: nn.Module, args: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = delta(args[0])
        return y + change.to(y.dtype)

    return delta, linear.register_forward_hook(add).remove
