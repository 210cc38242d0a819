"""Texts or images of a second data set, whose labels do not matter: what `forgetting` is measured on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from autopeft.errors import DataError
from autopeft.tasks.columns import LABEL_OUTRIGHT, TEXT
from autopeft.tasks.images import check_image
from autopeft.tasks.sources import Sources, find_sources, read_sources
from autopeft.tasks.table import Table
from autopeft.tasks.task import Input, SourceKind, Split, TaskSettings


def find_untouched(data: str, task: TaskSettings) -> dict[str, Any]:
    """Where a second data set is, and what is read of it, as a study's settings hold it; JSON.

    Of a table it is the column with the task's own name for texts or images, else with a usual one, else the only one.

    Args:
        data: A file, a folder or a hub id, as for a task; of several splits the training examples.
        task: The task, whose backbone reads texts or images.

    Raises:
        DataError: There is nothing of this kind, or no such column.
    """
    sources = find_sources(data)
    tables = read_sources(Sources(sources.kind, sources.train, *_other_splits(sources.kind)))
    column = _column(tables.train, task)
    _inputs(tables.train, column, task)
    return {
        "source": sources.kind.value,
        "data": sources.train,
        "column": column,
        "fingerprint": tables.fingerprint,
    }


def load_untouched(settings: Mapping[str, Any], task: TaskSettings) -> tuple[Split, TaskSettings]:
    """The same data again, and the settings to encode them by: single texts, or images.

    Raises:
        DataError: They are gone, or are not what they were.
    """
    kind = SourceKind(settings["source"])
    tables = read_sources(Sources(kind, settings["data"], *_other_splits(kind)))
    if tables.fingerprint != settings["fingerprint"]:
        raise DataError(
            f"the data of '{settings['data']}' have changed since the study began: bring the old data back, or start a "
            "new study."
        )
    inputs = _inputs(tables.train, settings["column"], task)
    return Split(inputs, np.zeros(len(inputs), dtype=np.int64)), replace(task, text_pair=None)


def _other_splits(kind: SourceKind) -> tuple[str | None, str | None]:
    return ("validation", "test") if kind is SourceKind.STARTER else (None, None)


def _column(table: Table, task: TaskSettings) -> str:
    own, usual = (task.image, ("image", "img")) if task.modality == "image" else (task.text, TEXT)
    inputs = [name for name in table.columns if name.lower() not in LABEL_OUTRIGHT]
    fitting = [name for name in inputs if (name in table.images) == (task.modality == "image")]
    named = [name for name in fitting if name == own] or [name for name in fitting if name.lower() in usual]
    found = named or fitting
    if len(found) != 1:
        listed = ", ".join(f"'{name}'" for name in table.columns)
        which = "several may be" if found else "none is"
        raise DataError(
            f"'{table.name}' has the columns {listed}, of which {which} the {task.modality} to measure forgetting on: call "
            f"it '{own or usual[0]}'."
        )
    return found[0]


def _inputs(table: Table, column: str, task: TaskSettings) -> tuple[Input, ...]:
    """Those that are there: an empty text is left out."""
    inputs = tuple(
        v for v in table.columns[column] if v is not None and not (isinstance(v, str) and not v.strip())
    )
    if not inputs:
        raise DataError(
            f"the column '{column}' of '{table.name}' is empty: there is nothing to measure forgetting on."
        )
    for one in inputs:
        if task.modality == "image":
            check_image(one)
        elif not isinstance(one, str):
            raise DataError(
                f"the column '{column}' of '{table.name}' holds a value of type {type(one).__name__} where a text should be."
            )
    return inputs
