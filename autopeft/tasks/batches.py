"""A split as a model takes it, and the orders in which it is gone through.

Notation: n examples, b of them in a batch, t tokens of the longest of those b.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from autopeft.errors import BackboneError
from autopeft.tasks.images import open_image
from autopeft.tasks.task import Split, TaskSettings

_CHUNK = 256  # images decoded at once: bounds the memory beside the result


@dataclass(frozen=True, eq=False)
class EncodedText:
    """Texts or pairs as token ids, padded only when they are put into a batch.

    Attributes:
        features: `input_ids`, `attention_mask` and what else the tokenizer gives: a list of ids per example.
        labels: ``(n,)``: class indices, int64, or values, float32.
        tokenizer: Pads.
    """

    features: Mapping[str, Sequence[Sequence[int]]]
    labels: torch.Tensor
    tokenizer: Any

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each example, ``(n,)``, int64."""
        return torch.tensor([len(ids) for ids in self.features["input_ids"]], dtype=torch.int64)

    def batch(self, indices: Sequence[int] | torch.Tensor) -> dict[str, torch.Tensor]:
        """These examples, in this order: each feature ``(b, t)``, and `labels` ``(b,)``."""
        at = torch.as_tensor(indices, dtype=torch.int64)
        chosen = at.tolist()
        picked = {name: [rows[i] for i in chosen] for name, rows in self.features.items()}
        return {**self.tokenizer.pad(picked, return_tensors="pt"), "labels": self.labels[at]}


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Images as the backbone's pixel values.

    Attributes:
        pixel_values: ``(n, channels, height, width)``, float32.
        labels: ``(n,)``: class indices, int64, or values, float32.
    """

    pixel_values: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> torch.Tensor:
        """All equal: an image has one size, ``(n,)``, int64."""
        return torch.ones(len(self), dtype=torch.int64)

    def batch(self, indices: Sequence[int] | torch.Tensor) -> dict[str, torch.Tensor]:
        """These examples, in this order: `pixel_values` ``(b, channels, height, width)``, and `labels` ``(b,)``."""
        at = torch.as_tensor(indices, dtype=torch.int64)
        return {"pixel_values": self.pixel_values[at], "labels": self.labels[at]}


Encoded: TypeAlias = EncodedText | EncodedImages


def encode(split: Split, settings: TaskSettings, preprocessor: Any) -> Encoded:
    """Encode a split once, for all its epochs.

    Args:
        split: Texts, pairs or images.
        settings: Of the task it belongs to.
        preprocessor: From `autopeft.tasks.preprocessor.load_preprocessor`.

    Raises:
        DataError: An image cannot be read.
        BackboneError: The image processor gives images of different sizes.
    """
    labels = torch.as_tensor(split.targets)
    labels = labels.to(torch.int64 if settings.problem == "classification" else torch.float32)
    if settings.modality == "image":
        return EncodedImages(_pixel_values(split, preprocessor), labels)
    pairs = settings.text_pair is not None
    first = [pair[0] for pair in split.inputs] if pairs else list(split.inputs)  # type: ignore[index]
    second = [pair[1] for pair in split.inputs] if pairs else None  # type: ignore[index]
    # A tokenizer that knows its model's limit is believed; one that does not says a very large number.
    limit = min(settings.max_length, preprocessor.model_max_length)
    features = preprocessor(first, second, truncation=True, max_length=limit)
    return EncodedText(dict(features), labels, preprocessor)


def _pixel_values(split: Split, processor: Any) -> torch.Tensor:
    chunks = []
    for start in range(0, len(split), _CHUNK):
        images = [open_image(source) for source in split.inputs[start : start + _CHUNK]]  # type: ignore[arg-type]
        try:
            pixels = processor(images, return_tensors="pt")["pixel_values"]
        except (ValueError, RuntimeError) as error:
            raise BackboneError(
                f"the backbone's image processor does not give images of one size: {str(error).splitlines()[0]}"
            ) from None
        chunks.append(pixels.to(torch.float32))
    if len({chunk.shape[1:] for chunk in chunks}) > 1:
        raise BackboneError("the backbone's image processor does not give images of one size.")
    return torch.cat(chunks)


def epoch_order(n: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of n training examples in an epoch: a permutation, ``(n,)``, int64; the same on every machine."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    return torch.randperm(n, generator=generator)


def training_order(lengths: torch.Tensor, size: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of training examples of these lengths in an epoch: a permutation, ``(n,)``, int64.

    Cut into batches of a size, it has examples of about equal length in a batch, so that little is padding: fifty batches at a
    time are sorted by length, and then the batches are shuffled. Where all are equally long it is `epoch_order`.

    >>> training_order(torch.tensor([3, 9, 3, 9]), 2, seed=0, epoch=0).tolist()
    [1, 3, 2, 0]
    """
    order = epoch_order(len(lengths), seed, epoch)
    if not len(order) or bool((lengths == lengths[0]).all()):
        return order
    windows = [part[torch.argsort(lengths[part], stable=True)] for part in order.split(50 * size)]
    batches = torch.cat(windows).split(size)
    full = len(order) // size
    shuffled = epoch_order(full, seed + 1, epoch).tolist()  # what is left over stays at the end
    return torch.cat([*(batches[i] for i in shuffled), *batches[full:]])


def evaluation_order(encoded: Encoded) -> torch.Tensor:
    """All examples, the longest first, so that batches are evenly long and running out of memory shows at once."""
    return torch.argsort(encoded.lengths, descending=True, stable=True)
