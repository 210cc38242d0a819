"""A split as a model takes it, and the orders in which it is gone through.

Notation: n examples, b of them in a batch, t tokens of the longest of those b.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from autopeft.errors import BackboneError, DataError
from autopeft.tasks.causal_lm import encode_answers, encode_texts
from autopeft.tasks.images import open_image
from autopeft.tasks.seq2seq import encode_pairs
from autopeft.tasks.sequences import NO_TARGET, EncodedSequences
from autopeft.tasks.task import SourceKind, Split, TaskSettings
from autopeft.tasks.token_classification import encode_tags

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

    @functools.cached_property
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

    @functools.cached_property
    def lengths(self) -> torch.Tensor:
        """All equal: an image has one size, ``(n,)``, int64."""
        return torch.ones(len(self), dtype=torch.int64)

    def batch(self, indices: Sequence[int] | torch.Tensor) -> dict[str, torch.Tensor]:
        """These examples, in this order: `pixel_values` ``(b, channels, height, width)``, and `labels` ``(b,)``."""
        at = torch.as_tensor(indices, dtype=torch.int64)
        return {"pixel_values": self.pixel_values[at], "labels": self.labels[at]}


Encoded: TypeAlias = EncodedText | EncodedImages | EncodedSequences


def encode(
    split: Split, settings: TaskSettings, preprocessor: Any, decoder_start: int | None = None
) -> Encoded:
    """Encode a split once, for all its epochs.

    Args:
        split: The examples.
        settings: Of the task it belongs to.
        preprocessor: From `autopeft.tasks.preprocessor.load_preprocessor`.
        decoder_start: The id that a model's own decoder begins with, for `seq2seq`.

    Raises:
        DataError: An image cannot be read, or nothing is left to be learnt of texts that were cut.
        BackboneError: The image processor gives images of different sizes; the tokenizer cannot encode such examples, or the
            model has no decoder that could begin.
    """
    if settings.problem not in ("classification", "regression"):
        return _sequences(split, settings, preprocessor, decoder_start)
    labels = torch.as_tensor(split.targets)
    labels = labels.to(torch.int64 if settings.problem == "classification" else torch.float32)
    if settings.modality == "image":
        return EncodedImages(_pixel_values(split, preprocessor), labels)
    pairs = settings.text_pair is not None
    first = [pair[0] for pair in split.inputs] if pairs else list(split.inputs)  # type: ignore[index]
    second = [pair[1] for pair in split.inputs] if pairs else None  # type: ignore[index]
    limit = _limit(settings, preprocessor)
    features = preprocessor(first, second, truncation=True, max_length=limit)
    return EncodedText(dict(features), labels, preprocessor)


def _limit(settings: TaskSettings, tokenizer: Any) -> int:
    # A tokenizer that knows its model's limit is believed; one that does not says a very large number.
    return int(min(settings.max_length, tokenizer.model_max_length))


def _sequences(
    split: Split, settings: TaskSettings, tokenizer: Any, decoder_start: int | None
) -> EncodedSequences:
    inputs: Any = split.inputs
    targets: Any = split.targets.tolist()
    limit = _limit(settings, tokenizer)
    try:
        if settings.problem == "token-classification":
            found = encode_tags(inputs, targets, tokenizer, limit)
        elif settings.problem == "seq2seq":
            if decoder_start is None:
                raise ValueError("the model's configuration has no decoder_start_token_id")
            found = encode_pairs(inputs, targets, tokenizer, limit, decoder_start)
        elif settings.label is None and isinstance(targets[0], str):
            documents = settings.source is not SourceKind.TEXT
            found = encode_texts(targets, tokenizer, limit, documents=documents)
        else:
            found = encode_answers(inputs, targets, tokenizer, limit)
    except ValueError as error:
        raise BackboneError(f"{error}.") from None
    if not any(target != NO_TARGET for row in found.targets for target in row):
        raise DataError(
            f"nothing is left to be learnt of the {len(split)} examples of a split when they are cut to {limit} tokens: "
            "raise --max-length."
        )
    return found


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
