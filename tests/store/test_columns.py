import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.errors import StudyError
from autopeft.nouns import Configuration, Module, Study, TrialKind
from autopeft.store import Repository


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"{tmp_path}/studies.db"


def _study(repository: Repository) -> Study:
    return repository.create_study("one", {}, 1_000, "space")


def _configuration(size: int) -> Configuration:
    return Configuration.of([Module("lora", size, (0,), (("sites", ("q",)),))], 1e-3)


def test_a_row_has_the_last_value_of_each_objective(place: str) -> None:
    with Repository.open(place) as repository:
        study = _study(repository)
        trial = repository.add_trial(study.id, TrialKind.SEARCH, _configuration(1), 8, 0)
        other = repository.add_trial(study.id, TrialKind.SEARCH, _configuration(2), 16, 0)
        repository.start_trial(trial.id)
        repository.report(trial.id, 1, {"score": 0.5, "seconds": 9.0})
        repository.report(trial.id, 2, {"score": 0.25})
        repository.complete(trial.id, {"seconds": 3.0}, {})
        first, second = repository.columns(study.id, ["score", "seconds", "latency"])
        assert first[:6] == (0, "search", "complete", 8, 0, 1)
        assert first[8:] == (0.25, 3.0, None)  # the whole trial's seconds stand before those of its rungs
        assert second[:6] == (other.number, "search", "waiting", 16, 0, 0)
        assert second[8:] == (None, None, None)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.floats(0, 1)), max_size=6), st.booleans())
def test_columns_say_what_the_trials_say(reports: list[tuple[int, float]], ends: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, Repository.open(f"{folder}/a.db") as repository:
        study = _study(repository)
        trial = repository.add_trial(study.id, TrialKind.SEARCH, _configuration(1), 8, 0)
        repository.start_trial(trial.id)
        for rung, score in reports:
            repository.report(trial.id, rung, {"score": score})
        if ends and reports:
            repository.complete(trial.id, {}, {})
        (row,) = repository.columns(study.id, ["score"])
        (noun,) = repository.trials(study.id)
        last = noun.scores[max(noun.scores)] if noun.scores else None
        assert row[-1] == last
        assert row[2] == noun.status


def test_the_version_changes_with_all_that_is_shown(place: str) -> None:
    with Repository.open(place) as repository:
        study = _study(repository)
        seen = [repository.version(study.id)]

        def changed() -> bool:
            seen.append(repository.version(study.id))
            return seen[-1] not in seen[:-1]

        trial = repository.add_trial(study.id, TrialKind.SEARCH, _configuration(1), 8, 0)
        assert changed()
        repository.start_trial(trial.id)
        assert changed()
        repository.report(trial.id, 1, {"score": 0.5})
        assert changed()
        repository.report(trial.id, 2, {"score": 0.6})
        assert changed()
        repository.complete(trial.id, {}, {})
        assert changed()
        repository.set_reference_score(study.id, 0.1)
        assert changed()
        repository.record_front(study.id, trial.number, [trial.number], 0.5)
        assert changed()
        assert repository.version(study.id) == seen[-1]


def test_another_study_is_no_change(place: str) -> None:
    with Repository.open(place) as repository:
        study = _study(repository)
        before, of_all = repository.version(study.id), repository.version()
        other = repository.create_study("two", {}, 1_000, "space")
        repository.add_trial(other.id, TrialKind.SEARCH, _configuration(1), 8, 0)
        assert repository.version(study.id) == before
        assert repository.version() != of_all


def test_what_is_opened_to_be_read_refuses_every_change(place: str) -> None:
    with Repository.open(place) as repository:
        study = _study(repository)
    with Repository.open(place, read_only=True) as reading:
        assert reading.get_study("one") == study
        with pytest.raises(StudyError, match="readonly"):
            reading.add_trial(study.id, TrialKind.SEARCH, _configuration(1), 8, 0)
        with pytest.raises(StudyError, match="readonly"):
            reading.create_study("two", {}, 1, "space")
    with Repository.open(place) as repository:
        assert [one.name for one in repository.studies()] == ["one"]
        assert repository.trials(study.id) == []


def test_hypervolumes_are_in_the_order_in_which_they_were_found(place: str) -> None:
    with Repository.open(place) as repository:
        study = _study(repository)
        trial = repository.add_trial(study.id, TrialKind.SEARCH, _configuration(1), 8, 0)
        repository.record_front(study.id, trial.number, [trial.number], 0.25)
        other = repository.add_trial(study.id, TrialKind.SEARCH, _configuration(2), 16, 0)
        repository.record_front(study.id, other.number, [trial.number, other.number], 0.5)
        assert repository.hypervolumes() == {study.id: [0.25, 0.5]}
        assert math.isclose(sum(repository.hypervolumes()[study.id]), 0.75)


def test_where_trials_were_stopped(place: str) -> None:
    with Repository.open(place) as repository:
        study = _study(repository)
        for size, rungs in ((1, 1), (2, 2), (3, 2), (4, 2)):
            trial = repository.add_trial(study.id, TrialKind.SEARCH, _configuration(size), 8 * size, 0)
            repository.start_trial(trial.id)
            for rung in range(1, rungs + 1):
                repository.report(trial.id, rung, {"score": 0.5})
            if size < 4:
                repository.stop(trial.id)
            else:
                repository.complete(trial.id, {}, {})
        assert repository.stops(study.id) == {1: 1, 2: 2}
