"""The data of a study as a model reads them: token ids, so that every trainer learns what the study learnt.

Trainers join, cut and frame texts in ways of their own. `labels` are those of transformers' models: of a language model the ids
themselves, -100 where nothing is to be learnt.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict, disable_progress_bars

from autopeft.export.recipe import Recipe
from autopeft.tasks.batches import Encoded, EncodedText, encode
from autopeft.tasks.preprocessor import load_preprocessor
from autopeft.tasks.sequences import NO_TARGET, EncodedSequences
from autopeft.tasks.task import Task

Row = dict[str, Any]


def write_lines(task: Task, recipe: Recipe, folder: Path) -> None:
    """Write `data/train.jsonl`, `data/validation.jsonl` and, where there is one, `data/test.jsonl`: an example a line."""
    (folder / "data").mkdir(parents=True)
    for name, rows in _splits(task, recipe):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "data" / f"{name}.jsonl").write_text(text, encoding="utf-8")


def write_folder(task: Task, recipe: Recipe, folder: Path) -> None:
    """Write the same into `data`, in the form of `datasets.load_from_disk`."""
    disable_progress_bars()
    splits = {name: Dataset.from_list(rows) for name, rows in _splits(task, recipe)}
    DatasetDict(splits).save_to_disk(str(folder / "data"))


def write_nothing(task: Task, recipe: Recipe, folder: Path) -> None:
    """Of a recipe that brings data of its own."""


def _splits(task: Task, recipe: Recipe) -> Iterator[tuple[str, list[Row]]]:
    tokenizer = load_preprocessor(recipe.model, "text")
    settings = dataclasses.replace(task.settings, max_length=recipe.schedule.max_length)
    train = task.train.targets
    for name, split in {"train": task.train, "validation": task.validation, "test": task.test}.items():
        if split is None:
            continue
        rows = rows_of(encode(split, settings, tokenizer), shifted=recipe.problem == "causal-lm")
        if recipe.problem == "regression":  # as trials are trained on them
            values = torch.as_tensor(train).double()
            mean, deviation = float(values.mean()), max(float(values.std()), 1e-12)
            rows = [{**row, "labels": (row["labels"] - mean) / deviation} for row in rows]
        yield name, rows


def rows_of(encoded: Encoded, *, shifted: bool) -> list[Row]:
    """The examples of a split, with `labels`.

    Args:
        encoded: As trials read them.
        shifted: Whether a target stands where it is predicted, one before its token; `labels` stand at the token.
    """
    if isinstance(encoded, EncodedText):
        columns = {name: [list(row) for row in rows] for name, rows in encoded.features.items()}
        labels = encoded.labels.tolist()
        return [
            {**{name: rows[i] for name, rows in columns.items()}, "labels": label}
            for i, label in enumerate(labels)
        ]
    assert isinstance(encoded, EncodedSequences)
    return [
        {
            "input_ids": list(ids),
            "attention_mask": [1] * len(ids),
            "labels": [NO_TARGET, *targets][: len(ids)] if shifted else list(targets),
        }
        for ids, targets in zip(encoded.inputs, encoded.targets, strict=True)
    ]
