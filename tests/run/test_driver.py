"""The driver against a real database, with the reports that a worker would send."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shapes import transformer

from autopeft.confirmation import choose, confirmed, search_front
from autopeft.dsl import BoundSpace, read_space
from autopeft.errors import StudyError
from autopeft.nouns import Configuration, Module, Trial, TrialKind, TrialStatus
from autopeft.optimize.baselines import baselines
from autopeft.optimize.suggest import suggest_random
from autopeft.registry import find_objectives, space_text
from autopeft.run.driver import Done, Driver
from autopeft.store import LOST_WORKERS, Repository

H = 32
SHAPE = transformer(H, 3, 4 * H, parameters=100_000)


def space() -> BoundSpace:
    return read_space(space_text("autopeft"), "autopeft.yaml").bind(SHAPE, 2_000)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with Repository.open(f"sqlite:///{tmp_path}/study.db") as repository:
        yield repository


def make_driver(repository: Repository, tmp_path: Path, **changes: Any) -> Driver:
    study = repository.find_study("s") or repository.create_study("s", {"seed": 3}, 2_000, "autopeft")
    fields: dict[str, Any] = {
        "repository": repository,
        "study": study,
        "space": space(),
        "suggester": suggest_random,
        "wanted": 4,
        "at_once": 2,
        "artifacts": tmp_path / "artifacts",
        "deadline": None,
        "owner": "me",
    }
    return Driver(**{**fields, **changes})


def ask(driver: Driver, seconds: float = 10.0) -> Trial | type[Done]:
    """The next trial, polling as Ray Tune does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = driver.next_trial()
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError("no trial came")


def answer(rung: int, score: float, *, last: bool) -> dict[str, Any]:
    values = {"score": score, "train_loss": 0.5, **({"seconds": 1.0, "test_score": score} if last else {})}
    return {
        "rung": rung,
        "values": values,
        "last": last,
        "details": {"threads": 1} if last else {},
        "reason": "",
    }


def test_runs_to_its_end(repository: Repository, tmp_path: Path) -> None:
    ended: list[int] = []
    driver = make_driver(repository, tmp_path, on_done=lambda trial: ended.append(trial.number))
    for i in range(4):
        trial = ask(driver)
        assert isinstance(trial, Trial)
        committed = repository.trial(driver.study.id, trial.number)
        assert committed.status is TrialStatus.WAITING  # in the database before it leaves
        driver.started(trial.id)
        driver.reported(trial.id, answer(1, 0.5, last=False))
        driver.reported(trial.id, answer(2, 0.6 + 0.01 * i, last=True))
    assert ask(driver) is Done
    assert driver.finished
    driver.close()
    trials = repository.trials(driver.study.id)
    assert [t.status for t in trials] == [TrialStatus.COMPLETE] * 4
    assert ended == [0, 1, 2, 3]
    assert len({t.configuration.key for t in trials}) == 4
    assert all(t.trainable <= 2_000 and t.scores.keys() == {1, 2} for t in trials)
    assert trials[0].measurements["seconds"] == 1.0
    assert Path(trials[0].artifact) == tmp_path / "artifacts" / "s" / "trial-0"


def test_bounds_what_is_live(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path)
    first, second = ask(driver), ask(driver)
    assert isinstance(first, Trial)
    assert isinstance(second, Trial)
    time.sleep(0.1)
    assert driver.next_trial() is None
    driver.reported(first.id, answer(1, 0.5, last=True))
    assert isinstance(ask(driver), Trial)
    driver.close()


def test_reports_are_idempotent_and_late_ones_ignored(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=1)
    trial = ask(driver)
    assert isinstance(trial, Trial)
    for _ in range(2):
        driver.reported(trial.id, answer(1, 0.5, last=False))
    driver.reported(trial.id, answer(2, 0.7, last=True))
    driver.reported(trial.id, answer(2, 0.1, last=True))
    driver.failed(trial.id, "the worker was lost.")
    assert repository.trial(driver.study.id, 0).score == 0.7
    driver.close()


def test_a_failure_is_recorded_and_the_search_goes_on(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=2)
    first = ask(driver)
    assert isinstance(first, Trial)
    driver.reported(
        first.id, {"reason": "out of memory", "rung": 0, "values": {}, "last": False, "details": {}}
    )
    second = ask(driver)
    assert isinstance(second, Trial)
    driver.failed(second.id, "no memory")
    assert ask(driver) is Done
    driver.close()
    trials = repository.trials(driver.study.id)
    assert [(t.status, t.reason) for t in trials] == [
        (TrialStatus.FAILED, "out of memory"),
        (TrialStatus.FAILED, "no memory"),
    ]


def test_a_trial_whose_worker_is_lost_goes_to_another_one(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=1, retries=1)
    trial = ask(driver)
    assert isinstance(trial, Trial)
    driver.started(trial.id)
    driver.reported(trial.id, answer(1, 0.5, last=False))
    assert driver.next_trial() is None  # nothing is left to propose, but this one may come back
    driver.lost(trial.id, "the worker was lost.")
    again = ask(driver)
    assert isinstance(again, Trial)
    assert (again.id, again.scores) == (trial.id, {1: 0.5})
    driver.started(trial.id)
    driver.reported(trial.id, answer(2, 0.6, last=True))
    assert ask(driver) is Done
    driver.close()
    (found,) = repository.trials(driver.study.id)
    assert (found.status, found.attempt, found.score) == (TrialStatus.COMPLETE, 2, 0.6)
    assert found.details == {"threads": 1, LOST_WORKERS: ["the worker was lost."]}


def test_too_many_lost_workers_are_a_failure_and_a_person_may_try_again(
    repository: Repository, tmp_path: Path
) -> None:
    driver = make_driver(repository, tmp_path, wanted=1, retries=2)
    for _ in range(3):
        trial = ask(driver)
        assert isinstance(trial, Trial)
        folder = Path(driver.config(trial)["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint.safetensors").touch()
        driver.lost(trial.id, "the worker was lost.")
    assert not folder.exists()  # a failed trial keeps no checkpoint
    assert ask(driver) is Done
    driver.close()
    (found,) = repository.trials(driver.study.id)
    assert found.status is TrialStatus.FAILED
    assert found.reason == "the worker was lost. (3 workers were lost with this trial)"
    with pytest.raises(StudyError, match="trial 7 cannot be tried again: there is no such trial"):
        repository.retry(driver.study.id, [0, 7])
    assert repository.retry(driver.study.id) == [0]
    assert repository.retry(driver.study.id) == []
    with pytest.raises(StudyError, match="trial 0 cannot be tried again: it is waiting"):
        repository.retry(driver.study.id, [0])
    once_more = make_driver(repository, tmp_path, wanted=1)
    trial = ask(once_more)
    assert isinstance(trial, Trial)
    once_more.reported(trial.id, answer(1, 0.5, last=True))
    once_more.close()
    (found,) = repository.trials(driver.study.id)
    assert (found.status, found.reason, found.attempt) == (TrialStatus.COMPLETE, "", 4)
    assert found.details["earlier_failures"] == ["the worker was lost. (3 workers were lost with this trial)"]


def test_what_takes_too_long_has_failed(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=2, trial_seconds=0.3)
    first, second = ask(driver), ask(driver)
    assert isinstance(first, Trial)
    assert isinstance(second, Trial)
    assert driver.overdue() == set()
    driver.started(first.id)
    driver.started(second.id, together=1_000)  # in a large pack
    time.sleep(0.4)
    assert driver.overdue() == {first.id}
    driver.ran_out_of_time(first.id)
    driver.lost(first.id, "the worker was lost.")  # because it was ended
    assert driver.overdue() == set()
    driver.close()
    found = repository.trial(driver.study.id, 0)
    assert (found.status, found.reason) == (
        TrialStatus.FAILED,
        "it was not through after 0.3 seconds, its bound.",
    )


@pytest.mark.parametrize("moment", ["1999-12-31T23:59:59.999Z", "2099-01-01T00:00:00.000Z"])
def test_the_clock_jumps(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    driver = make_driver(repository, tmp_path, wanted=1, trial_seconds=60, deadline=time.monotonic() + 60)
    trial = ask(driver)
    assert isinstance(trial, Trial)
    driver.started(trial.id)
    for module in ("repository", "lease"):
        monkeypatch.setattr(f"autopeft.store.{module}.now", lambda: moment)
    assert repository.beat("me")
    assert driver.overdue() == set()
    driver.reported(trial.id, answer(1, 0.5, last=False))
    other = make_driver(repository, tmp_path, owner="somebody else", wanted=1)
    other.close()  # it looked at who is gone: its process says so, not the clock
    assert [member.owner for member in repository.drivers(driver.study.id)] == ["me"]
    driver.reported(trial.id, answer(2, 0.6, last=True))
    assert ask(driver) is Done
    driver.close()
    assert driver.finished
    (found,) = repository.trials(driver.study.id)
    assert (found.status, found.attempt, found.scores) == (TrialStatus.COMPLETE, 1, {1: 0.5, 2: 0.6})


def test_what_no_worker_can_do_ends_the_search_and_fails_no_trial(
    repository: Repository, tmp_path: Path
) -> None:
    driver = make_driver(repository, tmp_path, wanted=4)
    first, second = ask(driver), ask(driver)
    assert isinstance(first, Trial)
    assert isinstance(second, Trial)
    broken = {"reason": "the data have changed.", "broken": True, "rung": 0, "values": {}, "last": False}
    assert not driver.reported(first.id, broken)
    assert ask(driver) is Done
    driver.reported(second.id, answer(1, 0.5, last=True))  # its worker has the data of before
    driver.close()
    assert driver.broken == "the data have changed."
    assert not driver.finished
    assert [t.status for t in repository.trials(driver.study.id)] == [
        TrialStatus.WAITING,
        TrialStatus.COMPLETE,
    ]


def test_interrupted_trials_come_first_again(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path)
    first, second = ask(driver), ask(driver)
    assert isinstance(first, Trial)
    assert isinstance(second, Trial)
    driver.started(first.id)
    driver.close()  # as after Ctrl-C: the first was running, the second was still waiting
    again = make_driver(repository, tmp_path)
    assert [ask(again), ask(again)] == [repository.trial(again.study.id, n) for n in (0, 1)]
    again.close()
    assert len(repository.trials(again.study.id)) == 2


def test_baselines_come_first_and_set_the_reference(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=1)
    for kind, configuration in baselines(driver.space):
        repository.add_trial(driver.study.id, kind, configuration, 0, 3)
    kinds = []
    for i in range(13):
        trial = ask(driver)
        assert isinstance(trial, Trial)
        kinds.append(trial.kind)
        driver.reported(trial.id, answer(1, 0.4 + 0.01 * i, last=True))
    driver.close()
    assert kinds == [TrialKind.HEAD_ONLY] * 6 + [TrialKind.LORA_QV] * 6 + [TrialKind.SEARCH]
    study = repository.get_study("s")
    assert study.reference_score == pytest.approx(0.45)  # the best of the heads
    (front,) = repository.fronts(study.id)
    assert front.members == (12,)
    assert front.hypervolume > 0


def test_the_deadline_ends_the_search(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, deadline=time.monotonic() - 1)
    assert driver.next_trial() is Done
    driver.close()


def test_a_suggester_that_fails_does_not_end_the_search(repository: Repository, tmp_path: Path) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("no fit")

    driver = make_driver(repository, tmp_path, suggester=broken, wanted=1)
    assert isinstance(ask(driver), Trial)
    driver.close()


def test_stopping_during_the_last_trial_is_an_interruption(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=1)
    trial = ask(driver)
    assert isinstance(trial, Trial)
    driver.started(trial.id)
    assert driver.next_trial() is None  # nothing is left to start, but the trial is still being trained
    driver.close()
    assert not driver.finished
    assert repository.trial(driver.study.id, 0).status is TrialStatus.WAITING


def stopped_and_others(driver: Driver) -> list[Trial]:
    """Three equal trials that have passed the first rung, and a fourth that reports a worse score there."""
    for _ in range(3):
        trial = ask(driver)
        assert isinstance(trial, Trial)
        assert driver.reported(trial.id, answer(1, 0.8, last=False))
        assert not driver.reported(trial.id, answer(2, 0.9, last=True))
    weak = driver.repository.add_trial(
        driver.study.id,
        TrialKind.SEARCH,
        Configuration.of([Module("lora", 1, (0,), (("sites", ("q",)),))], 0.1),
        2_000,
        3,
    )
    trial = ask(driver)
    assert isinstance(trial, Trial)
    assert trial.id == weak.id
    assert not driver.reported(trial.id, answer(1, 0.1, last=False))
    return driver.repository.trials(driver.study.id)


def test_a_weak_trial_is_stopped_at_a_rung(repository: Repository, tmp_path: Path) -> None:
    ended: list[Trial] = []
    driver = make_driver(repository, tmp_path, rungs=(1,), on_done=ended.append)
    *others, weak = stopped_and_others(driver)
    assert weak.status is TrialStatus.STOPPED
    assert (weak.scores, weak.score, weak.reason, weak.artifact) == ({1: 0.1}, None, "", "")
    assert [t.status for t in others] == [TrialStatus.COMPLETE] * 3
    assert ended[-1] == weak
    # What comes late of it is not used, and it counts among the trials that were wanted.
    assert not driver.reported(weak.id, answer(2, 0.99, last=True))
    driver.failed(weak.id, "the worker was lost.")
    assert repository.trial(driver.study.id, weak.number) == weak
    assert ask(driver) is Done
    driver.close()
    assert weak.number not in repository.fronts(driver.study.id)[-1].members
    again = make_driver(repository, tmp_path, rungs=(1,))
    assert ask(again) is Done
    again.close()


def test_without_rungs_all_are_trained_to_the_end(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=5)
    for score in (0.9, 0.8, 0.7, 0.6, 0.1):
        trial = ask(driver)
        assert isinstance(trial, Trial)
        assert driver.reported(trial.id, answer(1, score, last=False))
        driver.reported(trial.id, answer(2, score, last=True))
    driver.close()
    assert repository.counts(driver.study.id)[TrialKind.SEARCH][TrialStatus.COMPLETE] == 5


def test_baselines_are_never_stopped(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=1, rungs=(1,))
    for kind, configuration in baselines(driver.space):
        repository.add_trial(driver.study.id, kind, configuration, 2_000, 3)
    for i in range(12):
        trial = ask(driver)
        assert isinstance(trial, Trial)
        assert driver.reported(trial.id, answer(1, 0.9 - 0.05 * i, last=False))
        driver.reported(trial.id, answer(2, 0.9 - 0.05 * i, last=True))
    driver.close()
    kinds = [t.kind for t in repository.trials(driver.study.id) if t.status is TrialStatus.COMPLETE]
    assert kinds == [TrialKind.HEAD_ONLY] * 6 + [TrialKind.LORA_QV] * 6


def test_a_trial_that_was_interrupted_goes_as_far_again(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, rungs=(1, 3))
    trial = ask(driver)
    assert isinstance(trial, Trial)
    for epoch in (1, 2):
        assert driver.reported(trial.id, answer(epoch, 0.1, last=False))
    driver.close()
    for _ in range(5):  # others have come meanwhile
        other = repository.add_trial(
            driver.study.id,
            TrialKind.SEARCH,
            suggest_random(space(), repository.trials(driver.study.id), 0),
            50,
            3,
        )
        repository.start_trial(other.id)
        repository.report(other.id, 1, {"score": 0.9})
        repository.fail(other.id, "lost")
    again = make_driver(repository, tmp_path, rungs=(1, 3))
    assert ask(again).id == trial.id  # type: ignore[union-attr]
    assert again.reported(trial.id, answer(1, 0.1, last=False))
    again.close()


def test_a_probe_is_recorded_with_its_ranking_and_without_an_adapter(
    repository: Repository, tmp_path: Path
) -> None:
    driver = make_driver(repository, tmp_path)
    nothing = Configuration.of([], 1e-3)
    probe = repository.add_trial(driver.study.id, TrialKind.PROBE, nothing, 0, 3)
    assert driver.config(probe)["probe"]
    trial = ask(driver)
    assert trial == probe
    driver.started(probe.id)
    ranking = [[nothing.to_json(), 1.0]]
    report = {"rung": 1, "values": {"score": 0.5, "seconds": 2.0}, "last": True, "reason": ""}
    driver.reported(probe.id, {**report, "details": {"ranking": ranking}})
    driver.close()
    found = repository.trials(driver.study.id)[0]
    assert found.status is TrialStatus.COMPLETE
    assert found.details["ranking"] == ranking
    assert not found.artifact
    assert repository.fronts(driver.study.id) == []


MEMORY = "training_memory_bytes"


def test_a_study_of_other_objectives(repository: Repository, tmp_path: Path) -> None:
    wanted = find_objectives("score,trainable,memory")[1]
    driver = make_driver(repository, tmp_path, wanted=3, objectives=wanted, confirm_seeds=2)
    (kind, head), *_ = baselines(driver.space)
    repository.add_trial(driver.study.id, kind, head, 0, 3)

    def report(trial: Trial, score: float, memory: float) -> None:
        last = answer(1, score, last=True)
        last["values"] |= {MEMORY: memory, "confirmation_score": score}
        driver.reported(trial.id, last)

    searched = []
    for score, memory in ((0.5, 1e6), (0.6, 1.5e6), (0.7, 1.9e6), (0.5, 1.8e6)):
        trial = ask(driver)
        assert isinstance(trial, Trial)
        report(trial, score, memory)
        searched.append(trial.number)
    fronts = repository.fronts(driver.study.id)
    assert fronts[0].hypervolume > 0  # from 2e6 bytes on: twice the head's
    assert set(fronts[-1].members) <= set(searched[1:])
    assert {t.number for t in search_front(repository.trials(driver.study.id), wanted)} == set(
        fronts[-1].members
    )
    anew = []
    while isinstance(trial := ask(driver), Trial):
        assert trial.kind is TrialKind.CONFIRM
        report(trial, 0.6, 1e6 * trial.seed)
        anew.append(trial)
    driver.close()
    assert len(anew) == 2 * (len(fronts[-1].members) + 1)
    trials = repository.trials(driver.study.id)
    member = next(t for t in trials if t.number == fronts[-1].members[0])
    found = confirmed(trials, member, wanted)
    assert found is not None
    assert found.objectives[MEMORY].mean == pytest.approx(4.5e6)  # seeds 4 and 5
    assert found.objectives[MEMORY].standard_error == pytest.approx(0.5e6)
    assert choose(trials, wanted).by_confirmed


def part(keep: float, score: float, folder: Path) -> dict[str, Any]:
    """What a worker says of a part of a trial's training."""
    lora = Module("lora", 4, (0, 1), (("sites", ("q",)),))
    whole = Configuration.of([lora], 1e-3, None, {"type": "dylora", "keep": keep})
    plan = Configuration.of([Module("lora", round(4 * keep), (0, 1), lora.options)], 1e-3)
    return {
        "configuration": whole.to_json(),
        "allocation": {"plan": plan.to_json(), "trainable": round(512 * keep)},
        "values": {"score": score, "test_score": score},
        "folder": str(folder / f"keep-{keep}"),
    }


def test_parts_of_a_training_are_trials_of_their_own_and_join_the_front(
    repository: Repository, tmp_path: Path
) -> None:
    driver = make_driver(repository, tmp_path, wanted=1)
    trial = ask(driver)
    assert isinstance(trial, Trial)
    last = answer(2, 0.6, last=True)
    last["details"]["parts"] = [part(0.25, 0.5, tmp_path), part(0.5, 0.9, tmp_path)]
    driver.reported(trial.id, last)
    assert ask(driver) is Done  # one search trial was wanted, and one is there
    driver.close()
    trials = repository.trials(driver.study.id)
    small, large = (t for t in trials if t.kind is TrialKind.TRUNCATED)
    assert (small.trainable, small.score, small.details["of"]) == (128, 0.5, trial.number)
    assert small.plan.modules[0].size == 1
    assert small.configuration.modules[0].size == 4
    assert small.artifact == str(tmp_path / "keep-0.25")
    assert large.measurements["test_score"] == 0.9
    assert large in search_front(trials)
    assert "parts" not in repository.trial(driver.study.id, trial.number).details


def test_parts_that_are_there_already_are_not_added_again(repository: Repository, tmp_path: Path) -> None:
    """The process ended between the parts and the trial itself, which was then trained again."""
    driver = make_driver(repository, tmp_path, wanted=1)
    trial = ask(driver)
    assert isinstance(trial, Trial)
    one = part(0.5, 0.7, tmp_path)
    driver._add_part(trial, one, 2)
    last = answer(2, 0.6, last=True)
    last["details"]["parts"] = [one]
    driver.reported(trial.id, last)
    driver.close()
    kinds = [t.kind for t in repository.trials(driver.study.id)]
    assert kinds.count(TrialKind.TRUNCATED) == 1
