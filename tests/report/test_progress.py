from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft import pareto
from autopeft.nouns import Study, TrialKind
from autopeft.report.points import points
from autopeft.report.progress import Common, common_of, fate, hypervolume_curve
from autopeft.store import Repository

from .filled import LIMIT, SETTINGS, fill, fill_losses

STUDY = Study(1, "s", SETTINGS, LIMIT, "autopeft", 0.0, "")
COMMON = Common(0.0, 64, LIMIT)


def _frame(found: list[tuple[float, int]]) -> pd.DataFrame:
    at = pd.Timestamp("2026-01-01", tz="UTC")
    return pd.DataFrame(
        {
            "number": range(len(found)),
            "kind": TrialKind.SEARCH,
            "status": "complete",
            "score": [score for score, _ in found],
            "trainable": [cost for _, cost in found],
            "started_at": [at + pd.Timedelta(seconds=i) for i in range(len(found))],
            "finished_at": [at + pd.Timedelta(seconds=i + 1) for i in range(len(found))],
        }
    )


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.9]), st.sampled_from([64, 100, 128, 500, 2_000])),
        min_size=1,
        max_size=20,
    )
)
def test_the_curve_is_the_hypervolume_of_all_trials_so_far(found: list[tuple[float, int]]) -> None:
    curve = hypervolume_curve(_frame(found), STUDY, COMMON)
    for count, volume in zip(curve["trials"], curve["hypervolume"], strict=True):
        whole = pareto.hypervolume(found[:count], reference_score=0.0, smallest=64, limit=LIMIT)
        assert volume == pytest.approx(whole)
    assert curve["trials"].iloc[-1] == len(found)
    risen = set(curve["trials"])
    for count in range(1, len(found) + 1):
        if count not in risen:  # what is not in it has not raised the hypervolume
            before = pareto.hypervolume(found[: count - 1], reference_score=0.0, smallest=64, limit=LIMIT)
            now = pareto.hypervolume(found[:count], reference_score=0.0, smallest=64, limit=LIMIT)
            assert now == pytest.approx(before)


def test_a_loss_rises_too(tmp_path: Path) -> None:
    study = fill_losses(tmp_path / "a.db")
    with Repository.open(str(tmp_path / "a.db")) as repository:
        common = common_of(study)
        assert common is not None
        curve = hypervolume_curve(points(repository, study), study, common)
    expected = pareto.hypervolume(
        [(-2.9, 128), (-2.5, 450), (-2.4, 1_800)], reference_score=-3.0, smallest=64, limit=LIMIT
    )
    assert curve["hypervolume"].iloc[-1] == pytest.approx(expected)


def test_what_several_studies_are_counted_from(tmp_path: Path) -> None:
    study = fill(tmp_path / "a.db")
    lower = Study(2, "t", {**SETTINGS, "backbone": {"smallest": 32}}, 9_000, "autopeft", 0.5, "")
    assert common_of(study, lower) == Common(0.5, 32, 9_000)
    assert common_of(study, Study(3, "u", SETTINGS, 1, "autopeft", None, "")) is None
    assert common_of() is None


def test_what_became_of_the_trials(url: str) -> None:
    with Repository.open(url) as repository:
        became = fate(points(repository, repository.get_study("digits")))
    assert became.counts == {"waiting": 1, "running": 1, "complete": 5, "stopped": 0, "failed": 1}
    assert became.workers == 1
    assert became.per_hour is not None
    assert set(became.seconds) == {"complete", "stopped", "failed"}
