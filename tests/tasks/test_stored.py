"""Encoded splits in files."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from autopeft.tasks import stored
from autopeft.tasks.batches import Encoded, EncodedImages, EncodedText
from autopeft.tasks.sequences import EncodedSequences
from autopeft.tasks.stored import Ragged, encoded_once


@given(st.lists(st.lists(st.integers(-100, 2**31 - 1), max_size=5), max_size=8))
def test_ragged_rows_are_the_rows(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    assert list(ragged) == rows
    assert ragged[1:] == rows[1:]
    with pytest.raises(IndexError):
        ragged[len(rows)]


def splits(tokenizer: object) -> list[Encoded]:
    ids = [[5, 6, 7], [8], [9, 10]]
    features = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}
    return [
        EncodedText(features, torch.tensor([1, 0, 2]), tokenizer),
        EncodedText(features, torch.tensor([0.5, 1.0, -2.0]), tokenizer),
        EncodedImages(torch.rand(3, 3, 4, 4), torch.tensor([0, 1, 0])),
        EncodedSequences(ids, [[-100, 6, 7], [8], [-100, 10]], padding=0),
        EncodedSequences(ids, [[1], [2, 3], [4]], padding=0, start=2),
    ]


@pytest.mark.parametrize("kind", range(5))
def test_what_is_read_is_what_was_made(kind: int, tmp_path: Path, minilm_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(minilm_folder))
    made = splits(tokenizer)[kind]
    first = encoded_once(tmp_path / "split", lambda: made, tokenizer)
    second = encoded_once(tmp_path / "split", lambda: pytest.fail("it was there"), tokenizer)
    for read in (first, second):
        assert type(read) is type(made)
        assert torch.equal(read.lengths, made.lengths)
        wanted = made.batch(torch.tensor([2, 0]))
        found = read.batch(torch.tensor([2, 0]))
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)


def test_one_encodes_and_the_others_wait(tmp_path: Path) -> None:
    made = []

    def make() -> Encoded:
        made.append(threading.get_ident())
        return EncodedImages(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))

    threads = [threading.Thread(target=encoded_once, args=(tmp_path / "split", make, None)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_full_disk_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored.np, "save", full)
    images = EncodedImages(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    assert encoded_once(tmp_path / "split", lambda: images, None) is images
    assert not (tmp_path / "split").exists()
    assert np.isfinite(images.pixel_values.numpy()).all()


def test_who_reads_a_split_keeps_it_when_its_folder_is_taken_away_and_made_anew(tmp_path: Path) -> None:
    """A worker that ends takes the folder away, with the lock in it that another one holds."""
    cache, labels = tmp_path / "cache", torch.tensor([0, 1])
    ours, theirs = (EncodedImages(torch.full((2, 3, 4, 4), float(n)), labels) for n in (1, 2))
    read: list[Encoded] = []

    def make() -> Encoded:
        shutil.rmtree(cache)
        other = threading.Thread(
            target=lambda: read.append(encoded_once(cache / "split", lambda: theirs, None))
        )
        other.start()
        other.join()
        return ours

    found = encoded_once(cache / "split", make, None)
    for one, whole in ((found, ours), (read[0], theirs)):
        assert isinstance(one, EncodedImages)
        assert torch.equal(one.pixel_values, whole.pixel_values)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["split"]
