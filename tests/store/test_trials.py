import math
from collections.abc import Callable

import pytest
from sqlalchemy import event

from autopeft.errors import StudyError
from autopeft.nouns import Configuration, Front, Study, Trial, TrialKind, TrialStatus
from autopeft.store import Repository
from autopeft.store.repository import NOT_A_NUMBER

from .conftest import a_configuration

Add = Callable[..., Trial]


def test_a_trial_is_read_back_as_it_was_added(repository: Repository, study: Study) -> None:
    added = repository.add_trial(study.id, TrialKind.SEARCH, a_configuration(), trainable=2**40, seed=2**40)
    assert added.number == 0
    assert added.configuration == a_configuration()
    assert (added.trainable, added.seed, added.status, added.attempt) == (
        2**40,
        2**40,
        TrialStatus.WAITING,
        0,
    )
    assert repository.trial(study.id, 0) == added
    assert repository.trials(study.id) == [added]


def test_the_frozen_backbone_is_a_configuration_too(repository: Repository, study: Study) -> None:
    frozen = Configuration.of([], 1e-3)
    repository.add_trial(study.id, TrialKind.HEAD_ONLY, frozen, trainable=0, seed=0)
    assert repository.trial(study.id, 0).configuration == frozen


def test_numbers_count_up_in_each_study(repository: Repository, study: Study, add: Add) -> None:
    other = repository.create_study("t", {}, 1, "x")
    assert [add(rank).number for rank in (1, 2, 3)] == [0, 1, 2]
    assert repository.add_trial(other.id, TrialKind.SEARCH, a_configuration(), 1, 0).number == 0
    assert [trial.number for trial in repository.trials(study.id)] == [0, 1, 2]
    with pytest.raises(StudyError, match="no study with the id 99"):
        repository.add_trial(99, TrialKind.SEARCH, a_configuration(), 1, 0)


def test_nothing_is_trained_twice(repository: Repository, study: Study, add: Add) -> None:
    add(1)
    add(2)
    with pytest.raises(StudyError, match="already trial 1 of the study"):
        add(2)
    add(2, kind=TrialKind.LORA_QV)
    repository.add_trial(study.id, TrialKind.SEARCH, a_configuration(2), trainable=200, seed=1)
    assert len(repository.trials(study.id)) == 4


def test_an_absent_trial_is_answered_with_the_range(repository: Repository, study: Study, add: Add) -> None:
    with pytest.raises(StudyError, match="no trial 0 in the study: it has none yet"):
        repository.trial(study.id, 0)
    add(1)
    add(2)
    with pytest.raises(StudyError, match="no trial 2 in the study: they are 0 to 1"):
        repository.trial(study.id, 2)
    with pytest.raises(StudyError, match="no trial with the id 77"):
        repository.start_trial(77)


def test_the_way_of_a_trial(repository: Repository, add: Add, study: Study) -> None:
    trial = add()
    started = repository.start_trial(trial.id)
    assert (started.status, started.attempt) == (TrialStatus.RUNNING, 1)
    assert repository.report(trial.id, 1, {"score": 0.5, "train_loss": 2.0})
    assert repository.report(trial.id, 2, {"score": 0.75, "train_loss": 1.0})
    running = repository.trial(study.id, 0)
    assert running.scores == {1: 0.5, 2: 0.75}
    assert running.score is None
    assert repository.complete(trial.id, {"seconds": 3.5, "test_score": 0.7}, {"threads": 2}, "/a/0")
    done = repository.trial(study.id, 0)
    assert done.status is TrialStatus.COMPLETE
    assert done.score == 0.75
    assert done.measurements == {"train_loss": 1.0, "seconds": 3.5, "test_score": 0.7}
    assert (done.details, done.artifact, done.reason) == ({"threads": 2}, "/a/0", "")


def test_only_a_waiting_trial_is_started(repository: Repository, add: Add) -> None:
    trial = add()
    repository.start_trial(trial.id)
    with pytest.raises(StudyError, match="trial 0 cannot be started: it is running"):
        repository.start_trial(trial.id)
    repository.fail(trial.id, "out of memory")
    with pytest.raises(StudyError, match="it is failed"):
        repository.start_trial(trial.id)


def test_a_lost_worker_s_trial_is_started_again(repository: Repository, add: Add, study: Study) -> None:
    trial = add()
    assert not repository.requeue(trial.id)
    repository.start_trial(trial.id)
    repository.report(trial.id, 1, {"score": 0.5})
    assert repository.requeue(trial.id)
    again = repository.trial(study.id, 0)
    assert (again.status, again.attempt, again.scores) == (TrialStatus.WAITING, 1, {1: 0.5})
    assert repository.start_trial(trial.id).attempt == 2


def test_the_last_report_of_a_rung_stands(repository: Repository, add: Add, study: Study) -> None:
    trial = add()
    repository.start_trial(trial.id)
    for score in (0.5, 0.5, 0.6):
        assert repository.report(trial.id, 1, {"score": score})
    assert repository.trial(study.id, 0).scores == {1: 0.6}


def test_a_whole_trial_s_value_stands_before_a_rung_s(repository: Repository, add: Add, study: Study) -> None:
    trial = add()
    repository.report(trial.id, 0, {"seconds": 9.0})
    repository.report(trial.id, 1, {"seconds": 4.0, "score": 0.1})
    assert repository.trial(study.id, 0).measurements == {"seconds": 9.0}


def test_scores_have_rungs_from_one(repository: Repository, add: Add) -> None:
    trial = add()
    with pytest.raises(ValueError, match="rungs count from 1"):
        repository.report(trial.id, 0, {"score": 0.5})
    with pytest.raises(ValueError, match="rungs count from 1"):
        repository.report(trial.id, -1, {"train_loss": 0.5})


def test_a_final_trial_never_changes(repository: Repository, add: Add, study: Study) -> None:
    trials = [add(1), add(2)]
    repository.report(trials[0].id, 1, {"score": 0.5})
    assert repository.complete(trials[0].id, {"seconds": 1.0}, {"a": 1}, "/a")
    assert repository.fail(trials[1].id, "out of memory")
    before = repository.trials(study.id)
    for trial in trials:
        assert not repository.report(trial.id, 2, {"score": 0.9})
        assert not repository.complete(trial.id, {"seconds": 2.0}, {"a": 2}, "/b")
        assert not repository.fail(trial.id, "another reason")
        assert not repository.requeue(trial.id)
    assert repository.trials(study.id) == before


def test_a_trial_without_a_score_is_not_complete(repository: Repository, add: Add, study: Study) -> None:
    trial = add()
    repository.start_trial(trial.id)
    repository.report(trial.id, 1, {"train_loss": 1.0})
    with pytest.raises(StudyError, match="trial 0 cannot be complete: no score was reported"):
        repository.complete(trial.id, {"score": 0.9, "seconds": 1.0}, {})
    unchanged = repository.trial(study.id, 0)
    assert unchanged.status is TrialStatus.RUNNING
    assert unchanged.measurements == {"train_loss": 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_a_number_fails_the_trial(
    repository: Repository, add: Add, study: Study, value: float
) -> None:
    reported, told = add(1), add(2)
    repository.report(reported.id, 1, {"score": 0.5})
    assert repository.report(reported.id, 2, {"score": value, "train_loss": value})
    assert repository.trial(study.id, 0).scores == {1: 0.5}
    assert repository.complete(reported.id, {"seconds": 1.0}, {"threads": 1}, "/a")
    repository.report(told.id, 1, {"score": 0.5})
    assert repository.complete(told.id, {"score": value}, {})
    for trial in repository.trials(study.id):
        assert (trial.status, trial.reason, trial.artifact) == (TrialStatus.FAILED, NOT_A_NUMBER, "")
    assert repository.trial(study.id, 0).measurements == {"seconds": 1.0}


def test_a_score_told_at_the_end_is_the_last_rung_s(repository: Repository, add: Add, study: Study) -> None:
    trial = add()
    repository.report(trial.id, 1, {"score": 0.4})
    repository.report(trial.id, 2, {"score": 0.5})
    repository.complete(trial.id, {"score": 0.6}, {})
    done = repository.trial(study.id, 0)
    assert (done.scores, done.score, done.measurements) == ({1: 0.4, 2: 0.6}, 0.6, {})


def test_a_given_up_attempt_is_not_used(repository: Repository, add: Add, study: Study) -> None:
    trial = add()
    first = repository.start_trial(trial.id).attempt
    assert repository.report(trial.id, 1, {"score": 0.5}, attempt=first)
    repository.requeue(trial.id)
    assert not repository.report(trial.id, 2, {"score": 0.9}, attempt=first)
    second = repository.start_trial(trial.id).attempt
    assert not repository.report(trial.id, 2, {"score": 0.9}, attempt=first)
    assert not repository.complete(trial.id, {}, {}, attempt=first)
    assert not repository.fail(trial.id, "lost", attempt=first)
    assert repository.trial(study.id, 0).scores == {1: 0.5}
    assert repository.complete(trial.id, {}, {}, attempt=second)


def test_a_stopped_trial_keeps_its_scores(repository: Repository, add: Add, study: Study) -> None:
    trial = add()
    attempt = repository.start_trial(trial.id).attempt
    with pytest.raises(StudyError, match="trial 0 cannot be stopped at a rung: no score was reported"):
        repository.stop(trial.id, attempt=attempt)
    repository.report(trial.id, 1, {"score": 0.5, "train_loss": 2.0}, attempt=attempt)
    assert not repository.stop(trial.id, attempt=attempt + 1)
    assert repository.stop(trial.id, attempt=attempt)
    stopped = repository.trial(study.id, 0)
    assert (stopped.status, stopped.scores, stopped.score) == (TrialStatus.STOPPED, {1: 0.5}, None)
    assert (stopped.reason, stopped.artifact) == ("", "")
    assert not repository.report(trial.id, 2, {"score": 0.9}, attempt=attempt)
    assert not repository.complete(trial.id, {}, {}, attempt=attempt)
    assert not repository.fail(trial.id, "lost")
    assert not repository.stop(trial.id)
    assert not repository.requeue(trial.id)
    assert repository.trial(study.id, 0) == stopped


def test_trials_are_counted_by_kind(repository: Repository, add: Add, study: Study) -> None:
    add(1)
    repository.fail(add(2).id, "x")
    repository.start_trial(add(3).id)
    add(1, kind=TrialKind.LORA_QV)
    assert repository.counts(study.id)[TrialKind.SEARCH] == {
        TrialStatus.WAITING: 1,
        TrialStatus.RUNNING: 1,
        TrialStatus.COMPLETE: 0,
        TrialStatus.STOPPED: 0,
        TrialStatus.FAILED: 1,
    }
    assert sum(repository.counts(study.id)[TrialKind.HEAD_ONLY].values()) == 0


def test_reading_trials_takes_as_many_queries_for_many_as_for_one(
    repository: Repository, add: Add, study: Study
) -> None:
    for rank in range(1, 21):
        trial = add(rank)
        repository.report(trial.id, 1, {"score": rank / 100, "train_loss": 1.0})
        repository.complete(trial.id, {}, {}, f"/a/{rank}")
    statements: list[str] = []
    event.listen(
        repository._engine,
        "before_cursor_execute",
        lambda c, cursor, statement, *rest: statements.append(statement),
    )
    trials = repository.trials(study.id)
    assert len([s for s in statements if s.startswith("SELECT")]) == 2
    assert [trial.score for trial in trials] == [rank / 100 for rank in range(1, 21)]
    assert [trial.artifact for trial in trials] == [f"/a/{rank}" for rank in range(1, 21)]


def test_a_front_is_stored_when_its_members_change(repository: Repository, add: Add, study: Study) -> None:
    for rank in (1, 2, 3):
        add(rank)
    assert repository.fronts(study.id) == []
    assert repository.record_front(study.id, 0, [0], 0.1)
    assert not repository.record_front(study.id, 1, [0], 0.1)
    assert repository.record_front(study.id, 2, [2, 0], 0.3)
    assert repository.record_front(study.id, 2, [0], 0.1)
    assert repository.fronts(study.id) == [
        Front((0,), 0.1, after_trial=0),
        Front((2, 0), 0.3, after_trial=2),
        Front((0,), 0.1, after_trial=2),
    ]


def test_a_front_holds_trials_of_its_study_only(repository: Repository, add: Add, study: Study) -> None:
    add(1)
    other = repository.create_study("t", {}, 1, "x")
    with pytest.raises(StudyError, match="cannot hold trial 4"):
        repository.record_front(study.id, 0, [0, 4], 0.1)
    with pytest.raises(StudyError, match="cannot hold trial 0"):
        repository.record_front(other.id, 0, [0], 0.1)
    assert repository.fronts(study.id) == []
    assert repository.fronts(other.id) == []
