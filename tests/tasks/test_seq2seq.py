"""Texts that are generated, against the scores of sacrebleu."""

from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from tiny import AUTO, make_tokenizer, save_model
from transformers import AutoTokenizer

from autopeft.tasks.seq2seq import bleu, chrf, encode_pairs
from autopeft.tasks.sequences import Known

torch.set_num_threads(1)
SOURCES = ("name[Aromi], food[Chinese]", "name[Zizzi]", "food[French], area[riverside], name[Cotto]")
TARGETS = (
    "Aromi serves Chinese food.",
    "There is a place called Zizzi.",
    "Cotto is a French place by the riverside.",
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(TARGETS, around="$A </s>")


def test_sources_and_targets_are_cut_at_their_end(tokenizer: Any) -> None:
    encoded = encode_pairs(SOURCES, TARGETS, tokenizer, 6, start=0)
    assert {len(ids) for ids in (*encoded.inputs, *encoded.targets)} == {6}
    assert {ids[-1] for ids in (*encoded.inputs, *encoded.targets)} == {tokenizer.eos_token_id}
    whole = encode_pairs(SOURCES, TARGETS, tokenizer, 90, start=0)
    assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in whole.targets] == list(TARGETS)
    assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in whole.inputs] == list(SOURCES)


def test_the_decoder_begins_as_its_model_does(tokenizer: Any) -> None:
    encoded = encode_pairs(SOURCES, TARGETS, tokenizer, 90, start=5)
    batch = encoded.batch([1, 0])
    assert batch["decoder_input_ids"].shape == batch["labels"].shape
    assert batch["decoder_input_ids"][:, 0].tolist() == [5, 5]
    for row, i in enumerate((1, 0)):
        length = len(encoded.targets[i])
        assert batch["decoder_input_ids"][row, 1:length].tolist() == encoded.targets[i][:-1]


class Writes(torch.nn.Module):
    """A model that writes what it is told to, whatever it reads."""

    def __init__(self, texts: list[str], tokenizer: Any) -> None:
        super().__init__()
        self.texts = texts
        self.tokenizer = tokenizer

    def generate(self, input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        assert options["num_beams"] == 1
        assert not options["do_sample"]
        texts = [self.texts.pop(0) for _ in input_ids]
        found: torch.Tensor = self.tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
        return found


def test_scores_are_those_of_sacrebleu(tokenizer: Any) -> None:
    encoded = encode_pairs(SOURCES, TARGETS, tokenizer, 90, start=0)
    known = Known((), tokenizer, 20)
    written = ["Aromi serves food.", "There is a place called Zizzi.", "Cotto is by the riverside."]
    for texts in (written, list(TARGETS)):
        for measure, score in ((bleu, sacrebleu.corpus_bleu), (chrf, sacrebleu.corpus_chrf)):
            batches = [encoded.batch([0]), encoded.batch([1, 2])]
            found = measure(Writes(list(texts), tokenizer), batches, known)
            assert found == pytest.approx(score(texts, [list(TARGETS)]).score)
            assert (found == pytest.approx(100)) == (texts == list(TARGETS))


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_real_models_generate_greedily(kind: str, tmp_path: Path) -> None:
    folder = save_model(kind, tmp_path, TARGETS, around="$A </s>")
    model, tokenizer = AUTO[kind].from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    encoded = encode_pairs(SOURCES, TARGETS, tokenizer, 90, model.config.decoder_start_token_id)
    known = Known((), tokenizer, 7)
    lengths = []
    generate = model.generate
    model.generate = lambda **options: lengths.append(generate(**options)) or lengths[-1]
    together = chrf(model, [encoded.batch([0, 1, 2])], known)
    assert lengths[0].shape[1] <= 8  # what the decoder begins with, and seven tokens
    apart = chrf(model, [encoded.batch([i]) for i in range(3)], known)
    assert apart == pytest.approx(together)  # padding of the sources changes nothing
