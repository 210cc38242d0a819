"""A second data set, whose labels do not matter."""

from dataclasses import replace
from pathlib import Path

import pytest

from autopeft.errors import DataError
from autopeft.tasks.load import resolve_task
from autopeft.tasks.task import TaskSettings
from autopeft.tasks.untouched import find_untouched, load_untouched

from .test_load import ROWS, write, write_images


@pytest.fixture
def texts(tmp_path: Path) -> TaskSettings:
    return resolve_task(str(write(tmp_path / "task.csv", ROWS))).settings


def test_texts_without_labels(tmp_path: Path, texts: TaskSettings) -> None:
    rows = [{"id": i, "content": f"a sentence {i}" if i else ""} for i in range(5)]
    found = find_untouched(str(write(tmp_path / "other.tsv", rows)), texts)
    assert found["column"] == "content"
    split, how = load_untouched(found, replace(texts, text_pair="second"))
    assert split.inputs == tuple(f"a sentence {i}" for i in range(1, 5))  # an empty one is left out
    assert how.text_pair is None


def test_the_tasks_own_column_comes_first_and_an_only_one_needs_no_name(
    tmp_path: Path, texts: TaskSettings
) -> None:
    both = [{"text": "a", "sentence": "b"}] * 3
    assert find_untouched(str(write(tmp_path / "both.jsonl", both)), texts)["column"] == "text"
    alone = [{"body": "a"}] * 3
    assert find_untouched(str(write(tmp_path / "alone.jsonl", alone)), texts)["column"] == "body"


def test_images(tmp_path: Path) -> None:
    task = resolve_task(str(write_images(tmp_path / "pets", 5))).settings
    split, _ = load_untouched(find_untouched(str(write_images(tmp_path / "others", 3, ("fox",))), task), task)
    assert len(split) == 3
    starter = resolve_task("starter").settings
    assert find_untouched("starter", starter)["source"] == "starter"


def test_what_cannot_be_used(tmp_path: Path, texts: TaskSettings) -> None:
    odd = write(tmp_path / "odd.jsonl", [{"a": "x", "b": "y"}] * 2)
    with pytest.raises(
        DataError, match=r"has the columns 'a', 'b', of which several may be the text .* call it 'text'"
    ):
        find_untouched(str(odd), texts)
    with pytest.raises(DataError, match="none is the text"):
        find_untouched(str(write_images(tmp_path / "pets", 2)), replace(texts, text="body"))
    with pytest.raises(DataError, match="holds a value of type int where a text should be"):
        find_untouched(str(write(tmp_path / "numbers.jsonl", [{"text": 1}] * 2)), texts)
    with pytest.raises(DataError, match="is empty"):
        find_untouched(str(write(tmp_path / "empty.csv", [{"text": "", "label": "a"}] * 2)), texts)
    with pytest.raises(DataError, match="there is no file or folder"):
        find_untouched(str(tmp_path / "nowhere.csv"), texts)


def test_data_that_have_changed_are_refused(tmp_path: Path, texts: TaskSettings) -> None:
    found = find_untouched(str(write(tmp_path / "other.csv", ROWS)), texts)
    write(tmp_path / "other.csv", ROWS[1:])
    with pytest.raises(DataError, match="have changed since the study began"):
        load_untouched(found, texts)
