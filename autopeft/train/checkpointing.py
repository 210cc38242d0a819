"""Less memory for more time: activations inside of a layer are computed again for the gradients, not kept."""

import contextlib
import functools
from collections.abc import Iterator, Sequence

from torch import nn
from torch.utils.checkpoint import checkpoint


@contextlib.contextmanager
def checkpointed(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, these layers keep their inputs only.

    Models of transformers do this in training mode alone, which would put dropout into what is frozen.
    """
    for layer in layers:
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
