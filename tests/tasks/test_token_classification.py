"""Words aligned to sub-words, and entities counted as CoNLL counts them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import make_tokenizer

from autopeft.tasks.preprocessor import load_preprocessor
from autopeft.tasks.sequences import NO_TARGET, EncodedSequences, Known
from autopeft.tasks.token_classification import encode_tags, entity_f1, names_entities, token_accuracy

LABELS = ("O", "B-PER", "I-PER", "B-LOC")
WORDS = ("Ann", "Blackburn", "likes", "Rome")
TAGS = (1, 2, 0, 3)


@pytest.fixture(scope="module")
def of_bytes() -> Any:
    """A tokenizer as RoBERTa's, to which a word with a space before it is another one."""
    return make_tokenizer(["Ann likes Rome"], around="<s> $A </s>")


def tagged(encoded: EncodedSequences, tokenizer: Any, row: int = 0) -> list[tuple[str, int]]:
    """The tokens that have a tag."""
    both = zip(encoded.inputs[row], encoded.targets[row], strict=True)
    return [(tokenizer.decode([token]).strip(), target) for token, target in both if target != NO_TARGET]


def test_only_first_sub_words_have_a_tag(of_bytes: Any) -> None:
    encoded = encode_tags([WORDS, WORDS[3:]], [TAGS, TAGS[3:]], of_bytes, 60)
    assert of_bytes.decode(encoded.inputs[0]) == "<s>Ann Blackburn likes Rome</s>"
    assert len(encoded.inputs[0]) > len(WORDS) + 2
    assert [target for _, target in tagged(encoded, of_bytes)] == list(TAGS)
    assert all(
        word.startswith(piece) for word, (piece, _) in zip(WORDS, tagged(encoded, of_bytes), strict=True)
    )
    assert encoded.targets[0][0] == encoded.targets[0][-1] == NO_TARGET  # what the tokenizer puts around
    assert [target for _, target in tagged(encoded, of_bytes, 1)] == [3]


@pytest.mark.parametrize(
    "words", [("Zürich", "是", "—", "x"), ("a b", "c"), (".", "''", "U.S", "."), ("\u200b", "x")]
)
def test_every_word_that_has_tokens_has_one_tag(
    words: tuple[str, ...], of_bytes: Any, minilm_folder: Path
) -> None:
    tags = tuple(range(len(words)))
    found = [t for _, t in tagged(encode_tags([words], [tags], of_bytes, 60), of_bytes)]
    assert found == list(tags)
    pieces = load_preprocessor(minilm_folder, "text")
    found = [t for _, t in tagged(encode_tags([words], [tags], pieces, 60), pieces)]
    assert found == [tag for tag, word in enumerate(words) if word != "\u200b"]  # of which BERT makes nothing


def test_real_word_pieces(minilm_folder: Path) -> None:
    tokenizer = load_preprocessor(minilm_folder, "text")
    encoded = encode_tags([WORDS], [TAGS], tokenizer, 60)
    assert tokenizer.convert_ids_to_tokens(encoded.inputs[0]) == [
        *("[CLS]", "ann", "blackburn", "likes", "rome", "[SEP]"),
    ]
    assert encoded.targets[0] == [NO_TARGET, *TAGS, NO_TARGET]
    assert encoded.inputs[0] == tokenizer(list(WORDS), is_split_into_words=True)["input_ids"]


def test_words_beyond_the_longest_length_are_left_out(minilm_folder: Path) -> None:
    encoded = encode_tags([WORDS], [TAGS], load_preprocessor(minilm_folder, "text"), 4)
    assert encoded.targets[0] == [NO_TARGET, 1, 2, NO_TARGET]


def test_a_tokenizer_that_does_not_know_its_words() -> None:
    with pytest.raises(ValueError, match=r"a model with a tokenizer\.json is needed"):
        encode_tags([WORDS], [TAGS], SimpleNamespace(is_fast=False), 6)


class Says(torch.nn.Module):
    """A model whose logits are the tags that are given to it as inputs, with some prompt tokens before them."""

    def forward(self, input_ids: torch.Tensor) -> Any:
        logits = torch.nn.functional.one_hot(input_ids, len(LABELS)).float()
        return SimpleNamespace(logits=torch.cat([torch.randn(len(logits), 2, len(LABELS)), logits], dim=1))


def batch(predicted: list[int], true: list[int]) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([predicted]), "labels": torch.tensor([true])}


KNOWN = Known(LABELS, None, 0)
NO = NO_TARGET


@pytest.mark.parametrize(
    ("predicted", "true", "f1", "accuracy"),
    [
        ([1, 2, 0, 3], [1, 2, 0, 3], 1.0, 1.0),
        ([1, 0, 0, 3], [1, 2, 0, 3], 0.5, 0.75),  # of two entities one is right, the other ends too early
        ([1, 3, 2, 0, 3], [1, NO, 2, 0, 3], 1.0, 1.0),  # what has no target does not count
        ([0, 0, 0, 0], [1, 2, 0, 3], 0.0, 0.25),
        ([0, 0], [0, 0], 0.0, 1.0),
    ],
)
def test_scores_by_hand(predicted: list[int], true: list[int], f1: float, accuracy: float) -> None:
    batches = [batch(predicted, true)]
    assert entity_f1(Says(), batches, KNOWN) == pytest.approx(f1)
    assert token_accuracy(Says(), batches, KNOWN) == pytest.approx(accuracy)


def test_scores_are_of_all_batches_together() -> None:
    batches = [batch([1, 2, 0, 3], [1, 2, 0, 3]), batch([0, 0], [3, 0])]
    assert entity_f1(Says(), batches, KNOWN) == pytest.approx(2 * 1.0 * (2 / 3) / (1.0 + 2 / 3))
    assert token_accuracy(Says(), batches, KNOWN) == pytest.approx(5 / 6)


def test_predictions_that_are_not_finite() -> None:
    from autopeft.errors import TrialError
    from autopeft.tasks.metrics import measured

    class Broken(Says):
        def forward(self, input_ids: torch.Tensor) -> Any:
            return SimpleNamespace(logits=super().forward(input_ids).logits * float("nan"))

    with pytest.raises(TrialError, match="the training has diverged"):
        measured(entity_f1, Broken(), [batch([0], [0])], KNOWN)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("O", "B-PER", "I-PER"), True),
        (("B-PER", "I-PER"), True),
        (("O", "S-X", "E-X", "L-X", "U-X"), True),
        (("O",), False),
        (("NN", "VB"), False),
        (("O", "PER"), False),
        (("B", "I", "O"), False),
    ],
)
def test_tags_that_name_entities(tags: tuple[str, ...], expected: bool) -> None:
    assert names_entities(tags) == expected
