"""Sequence to sequence: one text from another, by a model with a decoder of its own, and how generated texts are scored."""

from collections.abc import Sequence
from typing import Any

import torch

from autopeft.tasks.sequences import NO_TARGET, Batches, EncodedSequences, Known


def encode_pairs(
    sources: Sequence[str], targets: Sequence[str], tokenizer: Any, max_length: int, start: int
) -> EncodedSequences:
    """Sources for the encoder and targets for the decoder; what is longer is cut at its end.

    Args:
        sources: What is read.
        targets: What is to be written.
        tokenizer: The backbone's.
        max_length: Most tokens of a source, and of a target.
        start: The id that the decoder begins with.
    """
    inputs = tokenizer(list(sources), truncation=True, max_length=max_length)["input_ids"]
    wanted = tokenizer(text_target=list(targets), truncation=True, max_length=max_length)["input_ids"]
    return EncodedSequences(inputs, wanted, int(tokenizer.pad_token_id), start)


def bleu(model: Any, batches: Batches, known: Known) -> float:
    """BLEU of greedily generated texts, 0 to 100, as sacrebleu counts it. Papineni et al. 2002, Post 2018."""
    from sacrebleu.metrics import BLEU

    written, wanted = _generated(model, batches, known)
    return float(BLEU().corpus_score(written, [wanted]).score)


def chrf(model: Any, batches: Batches, known: Known) -> float:
    """chrF of greedily generated texts, 0 to 100: an F score over characters, for all languages alike. Popović 2015."""
    from sacrebleu.metrics import CHRF

    written, wanted = _generated(model, batches, known)
    return float(CHRF().corpus_score(written, [wanted]).score)


def _generated(model: Any, batches: Batches, known: Known) -> tuple[list[str], list[str]]:
    """What the model writes for each source, and what it should have written."""
    model.eval()
    tokenizer = known.tokenizer
    written: list[str] = []
    wanted: list[str] = []
    with torch.inference_mode():
        for batch in batches:
            found = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_length=None,
                max_new_tokens=known.max_length,
                num_beams=1,
                do_sample=False,
            )
            labels = batch["labels"].masked_fill(batch["labels"] == NO_TARGET, tokenizer.pad_token_id)
            for ids, texts in ((found, written), (labels, wanted)):
                texts += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return written, wanted
