"""What a task is: its settings, its splits. Frozen; reading is in `autopeft.tasks.load`."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from autopeft.nouns import Problem

Modality: TypeAlias = Literal["text", "image"]

ImageSource: TypeAlias = Path | bytes | NDArray[np.uint8]
"""An image file, the bytes of one, or its pixels ``(height, width, 3)``."""

Input: TypeAlias = str | tuple[str, ...] | tuple[tuple[str, str], ...] | ImageSource
"""One example without its target: a text, a pair of texts, words, a chat (who says what), or an image."""


class SourceKind(StrEnum):
    """How the data of a task are kept."""

    TABLE = "table"  # csv, tsv, json, jsonl or parquet files
    TEXT = "text"  # txt files, or files of a word a line in the manner of CoNLL
    IMAGES = "images"  # folders of images, a sub-folder per class
    HUB = "hub"  # a data set of the Hugging Face hub
    STARTER = "starter"  # the images that ship with scikit-learn


@dataclass(frozen=True)
class TaskSettings:
    """Everything that a task's data, targets and score depend on: enough to load the same data elsewhere.

    Attributes:
        source: How the data are kept.
        data: What is trained on: absolute path, hub id, or `starter`.
        validation: Absolute path, or the name of the split for `hub` and `starter`; None: a share of the
            training data is held out.
        test: As `validation`; None: there is no test split.
        modality: `text` or `image`.
        problem: What is learnt; see `autopeft.nouns.Problem`.
        text: Column of the (first) text, words, prompt, source or chat; None for images.
        text_pair: Column of the second text of a pair, or None.
        image: Column of the image; None for text.
        label: Column of the target; None where a text or a chat is its own.
        labels: Names of classes or tags, in order of their index; empty where the targets are neither.
        metric: A name of `autopeft.tasks.metrics.METRICS`.
        validation_fraction: Share of the training data held out when `validation` is None, in (0, 1).
        split_seed: Seed of that split.
        max_length: Most tokens of a text or pair, special tokens included.
        fingerprint: 64 hexadecimal digits over the content of the data.
        confirmation_fraction: Share of the validation examples that the search never sees, in [0, 1).
        files: The fingerprint of each split's file or folder alone, by its path, to say which one has changed; empty for the
            starter, the hub, and in studies from before there were these.
    """

    source: SourceKind
    data: str
    validation: str | None
    test: str | None
    modality: Modality
    problem: Problem
    text: str | None
    text_pair: str | None
    image: str | None
    label: str | None
    labels: tuple[str, ...]
    metric: str
    validation_fraction: float
    split_seed: int
    max_length: int
    fingerprint: str
    confirmation_fraction: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_labels(self) -> int:
        """Outputs of a new task head: one per class or tag, or 1 for regression."""
        return len(self.labels) or 1

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; `from_json` reads it back."""
        return {**asdict(self), "source": self.source.value, "labels": list(self.labels)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TaskSettings":
        """Read what `to_json` wrote. Raises: KeyError, if a field is missing."""
        # Studies of the first version have no confirmation fraction: they held nothing back.
        values = {
            one.name: data[one.name]
            for one in fields(cls)
            if one.name in data or (one.default is MISSING and one.default_factory is MISSING)
        }
        values["source"] = SourceKind(values["source"])
        values["labels"] = tuple(values["labels"])
        return cls(**values)


@dataclass(frozen=True, eq=False)
class Split:
    """Examples, in the order of their source.

    Attributes:
        inputs: One per example.
        targets: ``(n,)``: class indices, int64, or values, float64; of other problems objects: a tuple of tag indices, a text or a
            chat. Of plain text the target is the text itself.
    """

    inputs: tuple[Input, ...]
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> "Split":
        """The examples at these places, in this order."""
        return Split(
            tuple(self.inputs[int(i)] for i in indices), self.targets[np.asarray(indices, dtype=np.int64)]
        )


@dataclass(frozen=True, eq=False)
class Task:
    """Data, ready to be encoded.

    Attributes:
        settings: What it was loaded by.
        train: Trained on.
        validation: The search chooses by the score on it.
        test: Never chosen by; None if the data have none.
        confirmation: Held back from validation: what the search found is scored on it anew, and the knee and the
            best are chosen by that. None where nothing is held back.
    """

    settings: TaskSettings
    train: Split
    validation: Split
    test: Split | None
    confirmation: Split | None = None

    @property
    def num_labels(self) -> int:
        """Outputs of the task head: one per class, or 1 for regression."""
        return self.settings.num_labels
