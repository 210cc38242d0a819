"""From the values of a label column to the problem, the classes and the targets."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import DataError
from autopeft.nouns import Problem
from autopeft.tasks.table import Table

_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
_FEW_VALUES = 10  # more different numbers than this, written as floats, are a quantity and not classes


def is_missing(value: Any) -> bool:
    """True for None, blank text and what is not a finite number."""
    return (
        value is None
        or (isinstance(value, float) and not math.isfinite(value))
        or (isinstance(value, str) and not value.strip())
    )


def label_values(table: Table, column: str) -> list[Any]:
    """The values of a label column, none of them missing.

    Raises:
        DataError: The column is absent, a label is missing, or is not one text or number.
    """
    if column not in table.columns:
        raise DataError(f"'{table.name}' has no label column '{column}'.")
    values = list(table.columns[column])
    for row, value in enumerate(values, start=1):
        if is_missing(value):
            raise DataError(f"row {row} of '{table.name}' has no label in column '{column}'.")
        if not isinstance(value, str | int | float):
            raise DataError(
                f"row {row} of '{table.name}' has no single label in column '{column}', but a {type(value).__name__}."
            )
    return values


def has_labels(table: Table, column: str) -> bool:
    """False for a table without the column, or with only missing labels or -1 in it, as published test sets have."""
    return any(not is_missing(v) and str(v) not in ("-1", "-1.0") for v in table.columns.get(column, ()))


def find_problem(table: Table, column: str) -> Problem:
    """Regression if the labels are numbers, written as floats, and many are different; else classification.

    "Many" is more than ten, or in fewer than 20 rows more than half of them.

    Raises:
        DataError: See `label_values`; or the labels are so many different ones that they are no classes.
    """
    values = label_values(table, column)
    if column in table.class_names:
        return "classification"
    distinct = set(values)
    numbers = all(_number(value) is not None for value in distinct)
    floats = any(isinstance(v, float) or (isinstance(v, str) and not _WHOLE.fullmatch(v)) for v in distinct)
    if numbers and floats and len(distinct) > min(_FEW_VALUES, len(values) // 2):
        return "regression"
    if len(distinct) > max(2, len(values) // 2):
        advice = "name another column by --label-column"
        if numbers:
            advice += ", or say that it is a quantity by --problem regression"
        elif all(isinstance(value, str) for value in distinct):
            advice += ", or say that it is a text to be written by --problem causal-lm or seq2seq"
        raise DataError(
            f"the label column '{column}' of '{table.name}' holds {len(distinct)} different values in "
            f"{len(values)} rows, which are no classes: {advice}."
        )
    return "classification"


def find_labels(table: Table, column: str) -> tuple[str, ...]:
    """Class names in order of class index: the order that the data declare, else numbers by value, else by text.

    Raises:
        DataError: See `label_values`; or there is one class only.
    """
    values = label_values(table, column)
    if len(set(values)) < 2:
        raise DataError(
            f"every row of '{table.name}' has the label '{values[0]}': there is nothing to learn."
        )
    if column in table.class_names:
        return table.class_names[column]
    distinct = set(values)
    if all(_number(value) is not None for value in distinct):
        return tuple(_number_name(n) for n in sorted({float(value) for value in distinct}))
    return tuple(sorted({str(value) for value in distinct}))


def class_targets(table: Table, column: str, labels: Sequence[str]) -> NDArray[np.int64]:
    """Class index of each row, ``(n,)``.

    Raises:
        DataError: See `label_values`; or a label is not among `labels`.
    """
    index = {name: i for i, name in enumerate(labels)}
    targets = np.empty(len(table), dtype=np.int64)
    for row, value in enumerate(label_values(table, column)):
        found = index.get(str(value))
        if found is None:
            number = _number(value)  # "1.0" in one file may be "1" in another
            found = None if number is None else index.get(_number_name(number))
        if found is None:
            raise DataError(
                f"row {row + 1} of '{table.name}' has the label '{value}', which the training data never show."
            )
        targets[row] = found
    return targets


def value_targets(table: Table, column: str) -> NDArray[np.float64]:
    """Value of each row, ``(n,)``.

    Raises:
        DataError: See `label_values`; or a label is not a finite number.
    """
    targets = np.empty(len(table), dtype=np.float64)
    for row, value in enumerate(label_values(table, column)):
        number = _number(value)
        if number is None:
            raise DataError(
                f"row {row + 1} of '{table.name}' has the label '{value}', but a regression needs finite numbers."
            )
        targets[row] = number
    return targets


def _number(value: Any) -> float | None:
    """The finite number that a label is or is written as, else None. Truth values are not numbers."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _number_name(number: float) -> str:
    """A number as a class name: `1` for 1.0."""
    return str(int(number)) if number.is_integer() else repr(number)
