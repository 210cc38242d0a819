import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.report.points import points, thinned
from autopeft.store import Repository

from .filled import fill_losses, fill_three


def test_a_row_for_each_trial_with_values_of_the_metric(url: str) -> None:
    with Repository.open(url, read_only=True) as repository:
        study = repository.get_study("digits")
        frame = points(repository, study)
        trials = repository.trials(study.id)
    assert list(frame["number"]) == [t.number for t in trials]
    assert list(frame["trainable"]) == [t.trainable for t in trials]
    for row, trial in zip(frame.to_dict("records"), trials, strict=True):
        assert (trial.score is None and math.isnan(row["score"])) or row["score"] == trial.score
    assert frame.loc[12, "status"] == "running"
    assert pd.isna(frame.loc[12, "finished_at"])
    assert frame.loc[5, "finished_at"] >= frame.loc[5, "started_at"]


def test_a_loss_is_shown_as_it_is(tmp_path: Path) -> None:
    study = fill_losses(tmp_path / "a.db")
    with Repository.open(str(tmp_path / "a.db")) as repository:
        assert list(points(repository, study)["score"]) == [3.0, 2.5, 2.9, 2.5, 2.4]


def test_further_objectives_have_columns(tmp_path: Path) -> None:
    study = fill_three(tmp_path / "a.db")
    with Repository.open(str(tmp_path / "a.db")) as repository:
        memory = points(repository, study)["training_memory_bytes"]
    assert memory[1] == 3 * 2**20
    assert math.isnan(memory[6])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6_000), st.integers(0, 2**31), st.integers(100, 500))
def test_thinned_keeps_the_ends_of_the_picture(count: int, seed: int, most: int) -> None:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "trainable": draw.integers(1, 10**6, count),
            "score": draw.normal(size=count),
            "number": range(count),
        }
    )
    kept = thinned(frame, "trainable", "score", most=most)
    assert len(kept) <= max(most, 0)
    assert set(kept["number"]) <= set(frame["number"])
    assert len(kept) == count or len(kept) >= 10
    if count <= most:
        assert len(kept) == count


@pytest.mark.parametrize("column", ["trainable", "score"])
def test_what_lies_alone_is_kept(column: str) -> None:
    crowd = pd.DataFrame({"trainable": [1_000] * 5_000, "score": [0.5] * 5_000, "number": range(5_000)})
    alone = pd.DataFrame({"trainable": [10, 10**6], "score": [0.1, 0.9], "number": [5_000, 5_001]})
    kept = thinned(pd.concat([crowd, alone]), "trainable", "score", most=100)
    assert {5_000, 5_001} <= set(kept["number"])
