"""Token classification: words with a tag each, from lists to sub-word tokens with their targets, and what they score.

The first sub-word of a word has the word's tag, the others have none: as in Devlin et al. 2019, section 5.3.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch

from autopeft.tasks.sequences import NO_TARGET, Batches, EncodedSequences, Known

_OF_ENTITIES = re.compile(r"O|[BIESLU]-.+")


def names_entities(tags: Sequence[str]) -> bool:
    """Whether tags are those of entities: `O`, and `B-PER`, `I-PER` and their kin."""
    return all(_OF_ENTITIES.fullmatch(tag) for tag in tags) and any(tag != "O" for tag in tags)


def encode_tags(
    sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[int]], tokenizer: Any, max_length: int
) -> EncodedSequences:
    """Words as sub-words. What is beyond the longest length is cut, and neither learnt nor scored.

    The words are joined by spaces, so that every tokenizer sees them as it sees a text.

    Args:
        sentences: The words of each example.
        tags: The index of each word's tag.
        tokenizer: The backbone's, which knows where in the text a token comes from.
        max_length: Most tokens of an example.

    Raises:
        ValueError: The tokenizer does not know that.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            "the tokenizer cannot say where in a text a token comes from: a model with a tokenizer.json is needed"
        )
    texts = [" ".join(words) for words in sentences]
    encoded = tokenizer(texts, truncation=True, max_length=max_length, return_offsets_mapping=True)
    targets = []
    for text, words, of_words, spans in zip(texts, sentences, tags, encoded["offset_mapping"], strict=True):
        word_at = [
            at for at, word in enumerate(words) for _ in range(len(word) + 1)
        ]  # the space after it, too
        seen: set[int] = set()
        targets.append([NO_TARGET] * len(spans))
        for at, (start, end) in enumerate(spans):
            inside = (
                start + len(text[start:end]) - len(text[start:end].lstrip())
            )  # the space before it is none of it
            if inside < end and word_at[inside] not in seen:
                seen.add(word_at[inside])
                targets[-1][at] = of_words[word_at[inside]]
    return EncodedSequences(encoded["input_ids"], targets, int(tokenizer.pad_token_id))


def entity_f1(model: Any, batches: Batches, known: Known) -> float:
    """F1 of whole entities over all types, as CoNLL 2003 counts it: an entity is right if its type and both ends are."""
    from seqeval.metrics import f1_score

    predicted, true = _tags(model, batches, known)
    return float(f1_score(true, predicted, average="micro", zero_division=0))


def token_accuracy(model: Any, batches: Batches, known: Known) -> float:
    """Share of the words whose tag is right."""
    predicted, true = _tags(model, batches, known)
    pairs = [
        pair for one, other in zip(predicted, true, strict=True) for pair in zip(one, other, strict=True)
    ]
    return sum(one == other for one, other in pairs) / max(len(pairs), 1)


def _tags(model: Any, batches: Batches, known: Known) -> tuple[list[list[str]], list[list[str]]]:
    """The tags that are predicted and those that are right, of the words of each example."""
    model.eval()
    predicted, true = [], []
    with torch.inference_mode():
        for batch in batches:
            labels = batch["labels"]
            inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
            logits = model(**inputs).logits[:, -labels.shape[1] :]
            if not logits.isfinite().all():
                raise FloatingPointError("the model's predictions are not finite")
            for row, targets in zip(logits.argmax(dim=2).tolist(), labels.tolist(), strict=True):
                words = [at for at, target in enumerate(targets) if target != NO_TARGET]
                predicted.append([known.labels[row[at]] for at in words])
                true.append([known.labels[targets[at]] for at in words])
    return predicted, true
