"""From the rows of a table to the examples of a problem with a target for each token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import DataError
from autopeft.tasks.causal_lm import ANSWERS, Chat
from autopeft.tasks.table import Table
from autopeft.tasks.task import Split, TaskSettings


def sequence_split(settings: TaskSettings, table: Table) -> Split:
    """The examples of a table.

    Raises:
        DataError: A column is absent, or a row does not hold what the problem needs.
    """
    text, label = settings.text, settings.label
    assert text is not None
    if settings.problem == "token-classification":
        assert label is not None
        words, tags = word_lists(table, text), tag_lists(table, label)
        _refuse_uneven(table, words, tags)
        return Split(
            tuple(words), objects([_indices(table, row, settings.labels) for row in enumerate(tags, 1)])
        )
    if settings.problem == "causal-lm" and _has_chats(table, text):
        return _chat_split(table, text, label)
    if label is not None:
        return Split(tuple(_texts(table, text)), objects(_texts(table, label)))
    texts = _lines(table, text)
    return Split(tuple(texts), objects(texts))


def tag_names(table: Table, column: str) -> tuple[str, ...]:
    """The names of the tags in order of their index: the order that the data declare, else by text, `O` first.

    Raises:
        DataError: The column does not hold lists of tags, or there is one tag only.
    """
    if column in table.class_names:
        return table.class_names[column]
    found = {tag for tags in tag_lists(table, column) for tag in tags}
    if len(found) < 2:
        raise DataError(
            f"every word of '{table.name}' has the tag '{min(found)}': there is nothing to learn."
        )
    return tuple(sorted(found, key=lambda tag: (tag != "O", tag)))


def word_lists(table: Table, column: str) -> list[tuple[str, ...]]:
    """The words of each row.

    Raises:
        DataError: A row has no list of words.
    """
    return [_list_of(table, column, row, "words") for row in enumerate(_column(table, column), 1)]


def tag_lists(table: Table, column: str) -> list[tuple[str, ...]]:
    """The tags of each row, as text.

    Raises:
        DataError: A row has no list of tags.
    """
    return [_list_of(table, column, row, "tags") for row in enumerate(_column(table, column), 1)]


def objects(values: Sequence[Any]) -> NDArray[Any]:
    """Values of any kind as an array, ``(n,)``, of objects."""
    found = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        found[i] = value
    return found


def _list_of(table: Table, column: str, row: tuple[int, Any], what: str) -> tuple[str, ...]:
    number, value = row
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"row {number} of '{table.name}' has no list of {what} in column '{column}'.")
    return tuple(str(one) for one in value)


def _refuse_uneven(table: Table, words: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> None:
    for row, (some, others) in enumerate(zip(words, tags, strict=True), start=1):
        if len(some) != len(others):
            raise DataError(f"row {row} of '{table.name}' has {len(some)} words, but {len(others)} tags.")


def _indices(table: Table, row: tuple[int, Sequence[str]], names: Sequence[str]) -> tuple[int, ...]:
    number, tags = row
    unknown = next((tag for tag in tags if tag not in names), None)
    if unknown is not None:
        raise DataError(
            f"row {number} of '{table.name}' has the tag '{unknown}', which the training data never show."
        )
    return tuple(names.index(tag) for tag in tags)


def _column(table: Table, name: str) -> Sequence[Any]:
    if name not in table.columns:
        raise DataError(
            f"'{table.name}' has no column '{name}' as the training data have: it has {', '.join(table.columns)}."
        )
    return table.columns[name]


def _texts(table: Table, column: str) -> list[str]:
    values = _column(table, column)
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str) or not value.strip():
            kind = (
                ""
                if value is None or isinstance(value, str)
                else f", but a value of type {type(value).__name__}"
            )
            raise DataError(f"row {row} of '{table.name}' has no text in column '{column}'{kind}.")
    return list(values)


def _lines(table: Table, column: str) -> list[str]:
    """Texts of which some may be empty: an empty line is part of a text."""
    values = _column(table, column)
    if all(value is None or isinstance(value, str) for value in values):
        return [value or "" for value in values]
    return _texts(table, column)  # which says what is wrong


def _chat_split(table: Table, text: str, label: str | None) -> Split:
    """Chats with nothing before them, or prompts and completions that are chats."""
    chats = [_chat(table, text, row) for row in enumerate(_column(table, text), 1)]
    if label is None:
        prompts: list[Chat] = [()] * len(chats)
    else:
        prompts, chats = chats, [_chat(table, label, row) for row in enumerate(_column(table, label), 1)]
    for row, chat in enumerate(chats, start=1):
        if not any(role == ANSWERS for role, _ in chat):
            raise DataError(
                f"row {row} of '{table.name}' has no message of the {ANSWERS} in column '{label or text}', so nothing to learn."
            )
    return Split(tuple(prompts), objects(chats))


def _has_chats(table: Table, column: str) -> bool:
    return isinstance(next(iter(_column(table, column)), None), list | tuple)


def _chat(table: Table, column: str, row: tuple[int, Any]) -> Chat:
    number, value = row
    messages = value if isinstance(value, list | tuple) else [value]
    for message in messages:
        if not isinstance(message, dict) or not all(
            isinstance(message.get(k), str) for k in ("role", "content")
        ):
            raise DataError(
                f"row {number} of '{table.name}' has no list of messages in column '{column}': each needs a role and a "
                "content, both texts."
            )
    return tuple((message["role"], message["content"]) for message in messages)
