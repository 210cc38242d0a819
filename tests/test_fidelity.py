"""A real search in which weak trials are stopped, through the installed command."""

from pathlib import Path

import pytest
from end_to_end import answer, autopeft

from autopeft.nouns import TrialKind, TrialStatus
from autopeft.service import _fidelity_so_far
from autopeft.store import Repository

CALL = (
    *("search", "--budget", "0.5%", "--epochs", "3", "--trials", "12", "--sampler", "random"),
    *("--study", "short", "--workers", "2", "--confirm-seeds", "0"),
)


def test_a_study_goes_on_as_it_began(tmp_path: Path) -> None:
    with Repository.open(str(tmp_path / "a.db")) as repository:
        repository.create_study("old", {"seed": 0}, 1_000, "autopeft")  # from before there was a choice
        repository.create_study("whole", {"fidelity": "none"}, 1_000, "autopeft")
        repository.create_study("short", {"fidelity": "epochs"}, 1_000, "autopeft")
        found = [_fidelity_so_far(repository, name) for name in ("old", "whole", "short", "new", None)]
    assert found == ["none", "none", "epochs", "epochs", "epochs"]


@pytest.mark.slow
def test_weak_trials_are_stopped_and_the_record_is_right(tmp_path: Path) -> None:
    done = autopeft(tmp_path, *CALL)
    assert done.returncode == 0, done.stderr
    summary = answer(tmp_path, "front", "short")
    counts = summary["counts"]
    assert counts["complete"] + counts["stopped"] == 12
    assert counts["stopped"] >= 1
    assert f"{counts['stopped']} stopped early" in done.stdout
    assert done.stderr.count("stopped after epoch 1, ") == counts["stopped"]

    with Repository.open(str(tmp_path / "autopeft.db")) as repository:
        trials = repository.trials(repository.get_study("short").id)
    assert len(trials) == 24
    complete = [t for t in trials if t.status is TrialStatus.COMPLETE]
    stopped = [t for t in trials if t.status is TrialStatus.STOPPED]
    assert {t.kind for t in stopped} == {TrialKind.SEARCH}
    assert (len(complete), len(stopped)) == (12 + counts["complete"], counts["stopped"])
    for trial in stopped:
        assert trial.scores.keys() == {1}
        assert (trial.score, trial.artifact, trial.reason, trial.attempt) == (None, "", "", 1)
        assert any(  # somebody had as good a score at the rung with as few parameters
            other.scores[1] >= trial.scores[1] and other.trainable <= trial.trainable
            for other in trials
            if other.kind is TrialKind.SEARCH and other.id != trial.id
        )
    assert all(t.scores.keys() == {1, 2, 3} and Path(t.artifact).is_dir() for t in complete)
    assert not {t.number for t in stopped} & {row["number"] for row in summary["front"]}
    # Warm actors live on when a trial is stopped: no more processes than workers have trained.
    assert len({t.details["process"] for t in complete}) <= 2

    again = autopeft(tmp_path, *CALL)
    assert again.returncode == 0
    assert "starting Ray" not in again.stderr
    other = autopeft(tmp_path, *CALL, "--fidelity", "none")
    assert other.returncode == 2
    assert 'fidelity was "epochs", now "none"' in other.stderr
