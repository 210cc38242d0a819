"""Examples whose targets are a number for each token: how they are batched, what they are trained by, what they score.

On torch alone: a training script has the source of all of it.

Notation: n examples, b of them in a batch, t tokens of the longest of those b, v numbers that a token may be predicted to be.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

NO_TARGET = -100
"""In the place of a target: nothing is to be predicted there."""

Batches = Iterable[dict[str, torch.Tensor]]


@dataclass(frozen=True, eq=False)
class EncodedSequences:
    """Token ids with a target for each position, padded only when they are put into a batch.

    Attributes:
        inputs: For each example the token ids that the model reads.
        targets: For each example what is to be predicted at each position, `NO_TARGET` where nothing is. As long as the
            inputs, but for a decoder that reads them by itself.
        padding: The id of padding.
        start: Of a model with a decoder of its own: the id that the decoder begins with; its inputs are the targets, moved
            on by one. None of other models.
    """

    inputs: Sequence[Sequence[int]]
    targets: Sequence[Sequence[int]]
    padding: int
    start: int | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @functools.cached_property
    def lengths(self) -> torch.Tensor:
        """Tokens of each example, ``(n,)``, int64."""
        return torch.tensor([len(ids) for ids in self.inputs], dtype=torch.int64)

    def batch(self, indices: Sequence[int] | torch.Tensor) -> dict[str, torch.Tensor]:
        """These examples, in this order: `input_ids`, `attention_mask` and `labels`, each ``(b, t)``; padding is on the right.

        With a decoder also `decoder_input_ids`, shaped as `labels`.
        """
        chosen = torch.as_tensor(indices).tolist()
        inputs = [torch.tensor(self.inputs[i]) for i in chosen]
        ids = nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=self.padding)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in inputs], batch_first=True)
        targets = [torch.tensor(self.targets[i]) for i in chosen]
        labels = nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=NO_TARGET)
        found = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        if self.start is not None:
            moved = labels.roll(1, dims=1).masked_fill(labels.roll(1, dims=1) == NO_TARGET, self.padding)
            moved[:, 0] = self.start
            found["decoder_input_ids"] = moved
        return found


def token_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean negative log likelihood of the targets, in nats; 0 where there is none.

    Args:
        logits: ``(b, t, v)``; further tokens before the first of the labels, as prompt tuning puts them there, do not count.
        labels: ``(b, t)``.
    """
    total, count = token_losses(logits, labels)
    return total / count.clamp(min=1)


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of the negative log likelihoods of the targets, and how many targets there are."""
    logits = logits[:, -labels.shape[1] :]
    total = functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=NO_TARGET, reduction="sum"
    )
    return total, (labels != NO_TARGET).sum()


@dataclass(frozen=True, eq=False)
class Known:
    """What a metric of token by token may need to know beside the model.

    Attributes:
        labels: The names of the tags; empty where there are none.
        tokenizer: The backbone's.
        max_length: Most tokens of a generated text.
    """

    labels: Sequence[str]
    tokenizer: Any
    max_length: int


Measure = Callable[[Any, Batches, Known], float]
"""Scores a model on batches one by one, because all logits at once would not fit."""


def mean_token_loss(model: Any, batches: Batches, known: Known) -> float:
    """The mean negative log likelihood of a target, in nats: every target of the split weighs the same."""
    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in batches:
            loss, targets = token_losses(model(**_inputs(batch)).logits, batch["labels"])
            total += float(loss)
            count += int(targets)
    return total / max(count, 1)


def perplexity(model: Any, batches: Batches, known: Known) -> float:
    """exp of `mean_token_loss`."""
    loss = mean_token_loss(model, batches, known)
    return math.exp(loss) if loss < 700 else math.inf


def _inputs(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in batch.items() if name != "labels"}
