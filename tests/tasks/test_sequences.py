"""Losses of tokens against the models' own, and that no batch changes a score."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import AUTO, save_model
from transformers import AutoTokenizer

from autopeft.tasks.causal_lm import encode_answers, encode_texts
from autopeft.tasks.seq2seq import encode_pairs
from autopeft.tasks.sequences import EncodedSequences, Known, mean_token_loss, perplexity, token_loss

torch.set_num_threads(1)
TEXTS = [
    "to be or not to be, that is the question: whether 'tis nobler",
    "in the mind",
    "to suffer the slings and",
]
KNOWN = Known((), None, 0)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = save_model(request.param, tmp_path_factory.mktemp(request.param), TEXTS)
    return AUTO[request.param].from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def test_the_loss_is_the_models_own(decoder: tuple[Any, Any]) -> None:
    model, tokenizer = decoder
    batch = encode_answers(TEXTS, [" yes", " no, and never", " so"], tokenizer, 90).batch([0, 1, 2])
    labels = torch.where(batch["labels"] == -100, batch["labels"], 0).roll(1, dims=1)
    at = labels != -100  # where transformers has the token that is predicted
    shifted = torch.full_like(labels, -100)
    shifted[at] = batch["input_ids"][at]
    with torch.no_grad():
        found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=shifted)
    assert token_loss(found.logits, batch["labels"]) == pytest.approx(float(found.loss), rel=1e-5)


def batches(encoded: EncodedSequences, size: int) -> list[dict[str, torch.Tensor]]:
    return [encoded.batch(range(len(encoded))[at : at + size]) for at in range(0, len(encoded), size)]


def test_every_token_weighs_the_same(decoder: tuple[Any, Any]) -> None:
    """Batches of one, whose targets are few and many, and all at once."""
    model, tokenizer = decoder
    encoded = encode_answers(["a"] * 3, TEXTS, tokenizer, 90)
    together = mean_token_loss(model, batches(encoded, 3), KNOWN)
    assert mean_token_loss(model, batches(encoded, 1), KNOWN) == pytest.approx(together, rel=1e-5)
    by_batch = [mean_token_loss(model, [one], KNOWN) for one in batches(encoded, 1)]
    assert sum(by_batch) / 3 != pytest.approx(together, rel=1e-5)
    assert perplexity(model, batches(encoded, 2), KNOWN) == pytest.approx(math.exp(together), rel=1e-5)


def test_tokens_before_the_text_do_not_count() -> None:
    logits, labels = torch.randn(2, 5, 7), torch.tensor([[1, 2, -100], [-100, 3, 4]])
    assert token_loss(logits, labels) == token_loss(logits[:, 2:], labels)


def test_without_a_target_there_is_no_loss() -> None:
    assert token_loss(torch.randn(1, 2, 7), torch.full((1, 2), -100)) == 0


def test_padding_is_behind_and_masked(decoder: tuple[Any, Any]) -> None:
    _, tokenizer = decoder
    tokenizer.padding_side = "left"  # as for generating
    encoded = encode_texts(TEXTS, tokenizer, 12, documents=True)
    batch = encoded.batch([0, len(encoded) - 1])
    length = len(encoded.inputs[-1])
    assert batch["attention_mask"][1].tolist() == [1] * length + [0] * (12 - length)
    assert set(batch["labels"][1, length - 1 :].tolist()) == {-100}
    assert set(batch["input_ids"][1, length:].tolist()) <= {tokenizer.pad_token_id}
    assert encoded.lengths.tolist()[0] == 12


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_a_decoder_reads_what_it_has_written(kind: str, tmp_path: Path) -> None:
    folder = save_model(kind, tmp_path, TEXTS, around="$A </s>")
    model, tokenizer = AUTO[kind].from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    encoded = encode_pairs(
        TEXTS, ["be", "not to be", "or"], tokenizer, 40, model.config.decoder_start_token_id
    )
    batch = encoded.batch([0, 1, 2])
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    with torch.no_grad():
        own = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]
        )
        ours = token_loss(model(**inputs).logits, batch["labels"])
    assert float(ours) == pytest.approx(float(own.loss), rel=1e-5)
    assert mean_token_loss(model, batches(encoded, 1), KNOWN) == pytest.approx(float(own.loss), rel=1e-5)
