"""The data that travel with a script are the split that the search used."""

import io
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image

from autopeft.export.data import write_splits
from autopeft.tasks.load import resolve_task

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def read(folder: Path, name: str) -> dict[str, list[object]]:
    files = str(folder / f"{name}.parquet")
    return load_dataset("parquet", data_files=files, cache_dir=str(folder / "cache"), split="train").to_dict()


def test_pairs_keep_their_order_and_labels(tmp_path: Path) -> None:
    rows = [f"premise {i}\thypothesis {i}\t{'yes' if i % 3 else 'no'}" for i in range(30)]
    (tmp_path / "train.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *rows]) + "\n")
    task = resolve_task(str(tmp_path / "train.tsv"), confirmation_fraction=0.5)
    write_splits(task, tmp_path / "out")
    assert not (tmp_path / "out" / "test.parquet").exists()
    assert task.confirmation is not None
    for name, split in (
        ("train", task.train),
        ("validation", task.validation),
        ("confirmation", task.confirmation),
    ):
        data = read(tmp_path / "out", name)
        assert list(zip(data["text"], data["text_pair"], strict=True)) == list(split.inputs)
        assert data["label"] == split.targets.tolist()


def test_images_keep_their_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{i}.png")
    task = resolve_task(str(tmp_path / "images"))
    write_splits(task, tmp_path / "out")
    data = load_dataset(
        "parquet",
        data_files=str(tmp_path / "out" / "train.parquet"),
        cache_dir=str(tmp_path / "cache"),
        split="train",
    )
    for row, source, target in zip(data, task.train.inputs, task.train.targets, strict=True):
        assert isinstance(source, Path)
        assert np.array_equal(
            np.asarray(row["image"]), np.asarray(Image.open(io.BytesIO(source.read_bytes())))
        )
        assert row["label"] == target
