"""Bounds as they are typed, and the trial of the front that they mean."""

from pathlib import Path

import pytest

from autopeft.errors import InputError
from autopeft.registry import find_objectives
from autopeft.report import pick
from autopeft.report.bounds import parse_bounds
from autopeft.store import Repository

from .filled import FOUND, LOSSES, confirm, fill, fill_losses, fill_three

_, WANTED = find_objectives("score,trainable,memory,time")


def read(text: str, direction: str = "maximize") -> list[tuple[str, str, float]]:
    bounds = parse_bounds(text, WANTED, metric="accuracy", direction=direction, parameters=200_000)  # type: ignore[arg-type]
    return [(one.objective.typed, one.test, one.limit) for one in bounds]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("trainable<=0.1%", [("trainable", "<=", 200)]),
        ("trainable < 3k", [("trainable", "<", 3000)]),
        ("memory<=8GiB", [("memory", "<=", 8 * 2**30)]),
        ("memory<=8GB", [("memory", "<=", 8e9)]),
        ("training_memory_bytes<=512", [("memory", "<=", 512)]),
        ("time<=1.5h", [("time", "<=", 5400)]),
        ("score>=0.9", [("score", ">=", 0.9)]),
        ("accuracy>0.9", [("score", ">", 0.9)]),
        ("score>=.9 and trainable<=1%", None),
        ("score>=0.9 and trainable<=1%", [("score", ">=", 0.9), ("trainable", "<=", 2000)]),
        ("time<=90s,memory<=1e6", [("time", "<=", 90), ("memory", "<=", 1e6)]),
    ],
)
def test_what_is_typed(text: str, found: list[tuple[str, str, float]] | None) -> None:
    if found is None:
        with pytest.raises(InputError, match=r"cannot read '\.9' in the bound 'score>=\.9'"):
            read(text)
    else:
        assert read(text) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("memry<=1GiB", "unknown objective of the study 'memry': known are score, trainable, memory, time. Did you"),
        ("latency<=1s", "unknown objective of the study 'latency'"),
        ("trainable>=1%", "asks for a worse trainable: it is better when it is smaller, so bound it with at most: write <="),
        ("score<=0.9", "asks for a worse score: it is better when it is larger, so bound it with at least: write >="),
        ("score=0.9", "cannot read the bound 'score=0.9': write it as trainable<=0.1% or score>=0.9"),
        ("score>=", "cannot read the bound 'score>='"),
        ("trainable<=0.1% or score>=1", "cannot read the bound 'trainable<=0.1% or score>=1': cannot read the budget"),
        ("memory<=8 quids", "cannot read '8 quids' in the bound 'memory<=8 quids': write a value such as 8GiB"),
        ("trainable<=much", "cannot read the budget 'much'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        read(text)
    assert words in str(raised.value)


def test_a_loss_is_bounded_from_above() -> None:
    assert read("score<=2.5", "minimize") == [("score", "<=", 2.5)]
    with pytest.raises(InputError, match="asks for a worse score"):
        read("score>=2.5", "minimize")


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = tmp_path / "studies.db"
    fill(path)
    return str(path)


def picked(db: str, text: str, study: str = "digits") -> int:
    with Repository.open(db) as repository:
        return pick(repository, repository.get_study(study), text).number


# The front of `digits`: trial 6 (128 parameters, 0.75), 7 (450, 0.90), 8 (1,800, 0.92), of a backbone of 200,000.
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("trainable<=1%", 8),
        ("trainable<=1000", 7),
        ("trainable<=450", 7),
        ("trainable<450", 6),
        ("score>=0.9", 7),
        ("score>0.9", 8),
        ("accuracy >= 0.5", 6),
        ("score>=0.8 and trainable<=2k", 7),
    ],
)
def test_the_trial_that_is_meant(db: str, text: str, number: int) -> None:
    assert picked(db, text) == number


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("score>=0.95", "score is at best 0.92. Allow more."),
        ("trainable<=100", "trainable is at best 128"),
        ("score>=0.91,trainable<=500", "each is met by some of its trials, and no trial meets all"),
    ],
)
def test_nothing_within(db: str, text: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        picked(db, text)
    assert f"nothing on the front of 'digits' is within '{text}'" in str(raised.value)
    assert words in str(raised.value)


def test_confirmed_means_decide(db: str) -> None:
    confirm(db, FOUND)  # 7: 0.89, and 8 falls off the front
    assert picked(db, "trainable<=1%") == 7
    with pytest.raises(InputError, match=r"score is at best 0\.89"):
        picked(db, "score>=0.9")


def test_losses_are_their_own_values(db: str) -> None:
    fill_losses(db)
    with Repository.open(db) as repository:
        from autopeft.report import summarise

        front = summarise(repository, repository.get_study("text")).front
    values = [(row.number, row.score) for row in front if row.score is not None]
    best = min(values, key=lambda pair: pair[1])
    assert picked(db, f"score<={values[0][1]}", "text") == front[0].number
    assert picked(db, f"loss<={best[1]}", "text") == best[0]
    confirm(db, LOSSES, "text")
    assert picked(db, "loss<=100", "text")


def test_other_objectives(db: str) -> None:
    fill_three(db, "three")
    # 3: 2 MiB and 0.80; the best within so much memory is the best score of those.
    number = picked(db, "memory<=3MiB", "three")
    with Repository.open(db) as repository:
        study = repository.get_study("three")
        chosen = repository.trial(study.id, number)
        within = [
            t
            for t in repository.trials(study.id)
            if t.score is not None and t.measurements.get("training_memory_bytes", 1e12) <= 3 * 2**20
        ]
    assert chosen.score == max(t.score or 0.0 for t in within)
