"""Encoding and batching, with a real tokenizer and a real image processor."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from autopeft.errors import BackboneError, DataError
from autopeft.tasks.batches import (
    EncodedImages,
    EncodedText,
    encode,
    epoch_order,
    evaluation_order,
    training_order,
)
from autopeft.tasks.load import resolve_task
from autopeft.tasks.preprocessor import load_preprocessor
from autopeft.tasks.task import SourceKind, Split, TaskSettings

torch.set_num_threads(1)


def settings(**changes: Any) -> TaskSettings:
    values: dict[str, Any] = {
        "source": SourceKind.TABLE,
        "data": "a.csv",
        "validation": None,
        "test": None,
        "modality": "text",
        "problem": "classification",
        "text": "text",
        "text_pair": None,
        "image": None,
        "label": "label",
        "labels": ("no", "yes"),
        "metric": "accuracy",
        "validation_fraction": 0.2,
        "split_seed": 0,
        "max_length": 16,
        "fingerprint": "0" * 64,
    }
    return TaskSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def tokenizer(minilm_folder: Path) -> Any:
    return load_preprocessor(minilm_folder, "text")


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("vit")
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
    return load_preprocessor(folder, "image")


TEXTS = Split(("a longer text than the next", "short", "in between"), np.array([1, 0, 1]))


def test_texts_are_padded_to_the_longest_of_their_batch(tokenizer: Any) -> None:
    encoded = encode(TEXTS, settings(), tokenizer)
    assert isinstance(encoded, EncodedText)
    assert len(encoded) == 3
    both = encoded.batch([1, 2])
    assert both["input_ids"].shape == (2, 4)
    assert both["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert both["labels"].tolist() == [0, 1]
    assert both["labels"].dtype == torch.int64
    assert all(type(value) is torch.Tensor for value in both.values())
    assert encoded.batch(torch.tensor([1]))["input_ids"].shape == (1, 3)
    assert tokenizer.decode(both["input_ids"][1], skip_special_tokens=True) == "in between"


def test_pairs_are_cut_to_the_maximal_length(tokenizer: Any) -> None:
    pairs = Split((("first " * 30, "second " * 30), ("one", "two")), np.array([0, 1]))
    batch = encode(pairs, settings(text_pair="other"), tokenizer).batch([0, 1])
    assert batch["input_ids"].shape == (2, 16)
    assert batch["token_type_ids"][1].tolist()[:5] == [0, 0, 0, 1, 1]
    assert set(batch["token_type_ids"][0].tolist()) == {0, 1}


def test_regression_labels_are_floats(tokenizer: Any) -> None:
    values = Split(("a", "b"), np.array([0.5, 3.0]))
    labels = encode(values, settings(problem="regression", labels=()), tokenizer).batch([0, 1])["labels"]
    assert labels.dtype == torch.float32
    assert labels.tolist() == [0.5, 3.0]


def test_evaluation_order_puts_the_longest_first(tokenizer: Any) -> None:
    encoded = encode(TEXTS, settings(), tokenizer)
    assert evaluation_order(encoded).tolist() == [0, 2, 1]
    assert encoded.lengths.tolist() == [8, 3, 4]


def test_encoded_data_travel_between_processes(tokenizer: Any) -> None:
    encoded = pickle.loads(pickle.dumps(encode(TEXTS, settings(), tokenizer)))
    assert encoded.batch([0])["input_ids"].shape == (1, 8)


def test_real_pairs(shared_data: Path, tokenizer: Any) -> None:
    task = resolve_task(str(shared_data / "rte"), max_length=64)
    encoded = encode(task.validation, task.settings, tokenizer)
    seen = 0
    for indices in evaluation_order(encoded).split(32):
        batch = encoded.batch(indices)
        assert batch["input_ids"].shape[1] <= 64
        np.testing.assert_array_equal(batch["labels"], task.validation.targets[indices])
        seen += len(indices)
    assert seen == 277


def test_images_become_pixel_values(processor: Any) -> None:
    pixels = [np.full((6, 5, 3), shade, dtype=np.uint8) for shade in (0, 255, 128)]
    images = settings(modality="image", text=None, image="image")
    encoded = encode(Split(tuple(pixels), np.array([0, 1, 0])), images, processor)
    assert isinstance(encoded, EncodedImages)
    batch = encoded.batch([1, 0])
    assert batch["pixel_values"].shape == (2, 3, 8, 8)
    assert batch["pixel_values"].dtype == torch.float32
    assert batch["pixel_values"][0].min() == pytest.approx(1.0)  # white, normalised
    assert batch["pixel_values"][1].max() == pytest.approx(-1.0)
    assert batch["labels"].tolist() == [1, 0]
    assert evaluation_order(encoded).tolist() == [0, 1, 2]


def test_a_broken_image(processor: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for source in (tmp_path / "a.png", b"no image"):
        images = settings(modality="image", text=None, image="image")
        with pytest.raises(DataError, match="cannot read"):
            encode(Split((source,), np.array([0])), images, processor)


def test_images_of_different_sizes_are_refused() -> None:
    processor = ViTImageProcessorPil(do_resize=False)
    images = tuple(np.zeros((4, width, 3), dtype=np.uint8) for width in (4, 5))
    with pytest.raises(BackboneError, match="one size"):
        encode(Split(images, np.array([0, 1])), settings(modality="image"), processor)


@given(n=st.integers(0, 300), seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
def test_an_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert torch.equal(order, epoch_order(n, seed, epoch))


@given(
    lengths=st.lists(st.integers(1, 6), max_size=200),
    size=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
)
def test_a_training_epoch_is_a_permutation_too(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    order = training_order(torch.tensor(lengths), size, seed, epoch)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert torch.equal(order, training_order(torch.tensor(lengths), size, seed, epoch))
    assert len(set(lengths)) > 1 or torch.equal(order, epoch_order(len(lengths), seed, epoch))


def test_batches_of_a_training_epoch_are_hardly_padded_and_in_no_order() -> None:
    lengths = torch.randint(1, 100, (1003,), generator=torch.Generator().manual_seed(0))

    def padding(order: torch.Tensor) -> float:
        return sum(float((lengths[b].max() - lengths[b]).sum()) for b in order.split(8)) / float(
            lengths.sum()
        )

    orders = [training_order(lengths, 8, 0, epoch) for epoch in range(2)]
    assert padding(orders[0]) < 0.1 < padding(epoch_order(1003, 0, 0))
    assert not torch.equal(*orders)
    means = torch.stack([lengths[b].float().mean() for b in orders[0].split(8)])
    assert abs(float(torch.corrcoef(torch.stack([means, torch.arange(len(means)).float()]))[0, 1])) < 0.3


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_epochs_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    epoch_order(10, 0, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_tokenizer_without_padding_pads_with_its_end(minilm_folder: Path, tmp_path: Path) -> None:
    backend = AutoTokenizer.from_pretrained(str(minilm_folder)).backend_tokenizer
    backend.no_padding()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]").save_pretrained(tmp_path / "eos")
    tokenizer = load_preprocessor(tmp_path / "eos", "text")
    assert tokenizer.pad_token == "[SEP]"
    batch = encode(TEXTS, settings(), tokenizer).batch([0, 1])
    assert batch["attention_mask"][1].sum() == 3
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path / "none")
    with pytest.raises(BackboneError, match="neither a padding nor an end-of-text token"):
        load_preprocessor(tmp_path / "none", "text")


def test_backbones_without_a_preprocessor(minilm_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no usable image processor: it holds .*config.json.*for image"):
        load_preprocessor(minilm_folder, "image")
    (tmp_path / "config.json").write_bytes((minilm_folder / "config.json").read_bytes())
    with pytest.raises(BackboneError, match=r"no usable tokenizer: it holds config.json.*for text"):
        load_preprocessor(tmp_path, "text")
    with pytest.raises(BackboneError, match="cannot load the tokenizer of 'somebody/model'"):
        load_preprocessor("somebody/model", "text")
