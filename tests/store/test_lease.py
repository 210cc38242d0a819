import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autopeft.errors import StudyError, TakenError
from autopeft.nouns import Study, Trial, TrialStatus
from autopeft.store import LOST_WORKERS, Lookout, Repository, lease
from autopeft.store.process import is_alive, process_start

Add = Callable[..., Trial]
HERE: dict[str, Any] = {"host": "here", "pid": os.getpid()}
THERE: dict[str, Any] = {"host": "there", "pid": 1}

WAITING, RUNNING, FAILED = TrialStatus.WAITING, TrialStatus.RUNNING, TrialStatus.FAILED
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


def statuses(repository: Repository, study: Study) -> list[TrialStatus]:
    return [trial.status for trial in repository.trials(study.id)]


def member(repository: Repository, study: Study, owner: str) -> lease.Member:
    return next(one for one in repository.drivers(study.id) if one.owner == owner)


def test_drivers_share_a_study(repository: Repository, study: Study, add: Add) -> None:
    added = [add(rank) for rank in (1, 2, 3)]
    other = repository.create_study("t", {}, 1, "x")
    repository.join(study.id, owner="a", **HERE)
    repository.join(study.id, owner="b", **THERE)
    repository.join(other.id, owner="c", **THERE)
    assert [one.owner for one in repository.drivers(study.id)] == ["a", "b"]
    claimed = [repository.claim(study.id, owner) for owner in ("a", "b", "a", "b")]
    assert claimed == [*added, None]
    assert repository.claim(other.id, "c") is None
    with pytest.raises(StudyError, match="no study with the id 99"):
        repository.join(99, owner="a", **HERE)


def test_only_who_has_claimed_a_trial_starts_it(repository: Repository, study: Study, add: Add) -> None:
    trial = add()
    repository.join(study.id, owner="a", **HERE)
    with pytest.raises(TakenError, match="trial 0 cannot be started: it is another driver's"):
        repository.start_trial(trial.id, "a")
    repository.claim(study.id, "a")
    for other in ("b", None):
        with pytest.raises(TakenError, match="it is another driver's"):
            repository.start_trial(trial.id, other)
    assert repository.start_trial(trial.id, "a").status is RUNNING
    assert repository.claim(study.id, "b") is None


def test_a_requeued_trial_is_anybodys(repository: Repository, study: Study, add: Add) -> None:
    trial = add()
    for owner, attempt in (("a", 1), ("b", 2)):
        assert repository.claim(study.id, owner) == repository.trial(study.id, 0)
        assert repository.start_trial(trial.id, owner).attempt == attempt
        assert repository.requeue(trial.id)


def test_who_leaves_leaves_its_trials(repository: Repository, study: Study, add: Add) -> None:
    claimed, running, done = add(1), add(2), add(3)
    for _ in range(3):
        repository.claim(study.id, "a")
    repository.start_trial(running.id, "a")
    repository.start_trial(done.id, "a")
    repository.fail(done.id, "out of memory")
    repository.join(study.id, owner="a", **HERE)
    repository.leave(study.id, "a")
    assert statuses(repository, study) == [WAITING, WAITING, FAILED]
    assert repository.drivers(study.id) == []
    assert not repository.beat("a")
    assert [repository.claim(study.id, "b") for _ in range(3)] == [
        repository.trial(study.id, claimed.number),
        repository.trial(study.id, running.number),
        None,
    ]


def test_what_nobody_has_waits_again_when_a_driver_joins(
    repository: Repository, study: Study, add: Add
) -> None:
    of_one_who_is_there, of_one_who_is_not, nobodys = add(1), add(2), add(3)
    repository.join(study.id, owner="b", **THERE)
    for trial, owner in ((of_one_who_is_there, "b"), (of_one_who_is_not, "c")):
        assert repository.claim(study.id, owner) == trial
        repository.start_trial(trial.id, owner)
    repository.start_trial(nobodys.id)
    repository.join(study.id, owner="a", **HERE)
    repository.join(study.id, owner="a", **HERE)  # once more, which changes nothing
    assert statuses(repository, study) == [RUNNING, WAITING, WAITING]


def test_a_trial_is_lost_so_often_and_then_failed(repository: Repository, study: Study, add: Add) -> None:
    trial = add()
    for losses in (1, 2, 3):
        owner = f"driver {losses}"
        repository.join(study.id, owner=owner, **THERE)
        assert repository.claim(study.id, owner) is not None
        repository.start_trial(trial.id, owner)
        repository.report(trial.id, 1, {"score": 0.5}, attempt=losses)
        assert repository.bury(study.id, member(repository, study, owner), retries=2)
        assert not repository.report(trial.id, 2, {"score": 0.9}, attempt=losses)  # it was not dead after all
    found = repository.trial(study.id, 0)
    assert (found.status, found.attempt, found.scores) == (FAILED, 3, {1: 0.5})
    gone = "the search that trained it, process 1 on there, is gone."
    assert found.reason == f"{gone} (3 workers were lost with this trial)"
    assert found.details[LOST_WORKERS] == [gone] * 3


def test_what_was_only_claimed_loses_nothing(repository: Repository, study: Study, add: Add) -> None:
    add()
    for _ in range(3):
        repository.join(study.id, owner="b", **THERE)
        repository.claim(study.id, "b")
        assert repository.bury(study.id, member(repository, study, "b"), retries=0)
        assert statuses(repository, study) == [WAITING]


def test_a_worker_is_lost_as_a_driver_is(repository: Repository, study: Study, add: Add) -> None:
    trial = add()
    assert not repository.lose(trial.id, "gone", retries=1)
    for attempt, status in ((1, WAITING), (2, FAILED)):
        repository.claim(study.id, "a")
        repository.start_trial(trial.id, "a")
        assert not repository.lose(trial.id, "gone", retries=1, attempt=attempt + 1)
        assert repository.lose(trial.id, "gone", retries=1, attempt=attempt)
        assert statuses(repository, study) == [status]
    assert repository.trial(study.id, 0).reason == "gone (2 workers were lost with this trial)"
    assert not repository.lose(trial.id, "again", retries=9)


def test_a_sign_of_life_saves_a_driver(repository: Repository, study: Study) -> None:
    repository.join(study.id, owner="b", **THERE)
    seen = member(repository, study, "b")
    assert repository.beat("b")
    assert not repository.bury(study.id, seen, retries=0)
    assert repository.beat("b")
    assert repository.bury(study.id, member(repository, study, "b"), retries=0)
    assert not repository.beat("b")
    assert not repository.bury(study.id, seen, retries=0)


def test_from_another_host_heartbeats_decide(repository: Repository, study: Study) -> None:
    repository.join(study.id, owner="b", **THERE)
    lookout = Lookout("here", patience=3)

    def gone() -> list[str]:
        return [one.owner for one in lookout.gone(repository.drivers(study.id))]

    assert [gone() for _ in range(3)] == [[], [], []]
    repository.beat("b")  # in the last moment
    assert [gone() for _ in range(4)] == [[], [], [], ["b"]]


def test_on_its_own_host_a_drivers_process_decides(repository: Repository, study: Study) -> None:
    repository.join(study.id, owner="a", **HERE)
    lookout = Lookout("here", patience=1)
    assert [lookout.gone(repository.drivers(study.id)) for _ in range(4)] == [[]] * 4  # silent, but alive
    child = subprocess.Popen([sys.executable, "-c", ""])
    repository.join(study.id, owner="b", host="here", pid=child.pid)
    child.wait()
    assert [one.owner for one in lookout.gone(repository.drivers(study.id))] == ["b"]


@needs_proc
def test_a_process_that_got_a_dead_ones_id_is_not_it(
    repository: Repository, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as past:
        past.setattr(lease, "process_start", lambda pid: "1")
        repository.join(study.id, owner="a", **HERE)
    assert [one.owner for one in Lookout("here").gone(repository.drivers(study.id))] == ["a"]


def test_where_processes_cannot_be_asked_heartbeats_decide(
    repository: Repository, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "is_alive", lambda pid, start: None)
    repository.join(study.id, owner="a", **HERE)
    lookout = Lookout("here", patience=2)
    assert [len(lookout.gone(repository.drivers(study.id))) for _ in range(3)] == [0, 0, 1]


@needs_proc
def test_a_process_is_alive_until_it_is_killed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = process_start(child.pid)
    assert start.isdigit()
    assert is_alive(child.pid, start)
    assert is_alive(child.pid, "")
    assert not is_alive(child.pid, start + "0")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid, start)  # killed, and nobody has waited for it yet
    child.communicate()
    assert not is_alive(child.pid, start)
    assert process_start(child.pid) == ""


DRIVER = textwrap.dedent("""
    import os, socket, sys
    from autopeft.store import Repository

    repository = Repository.open(sys.argv[1])
    study = repository.get_study("s")
    repository.join(study.id, owner="driver", host=socket.gethostname(), pid=os.getpid())
    trial = repository.claim(study.id, "driver")
    repository.start_trial(trial.id, "driver")
    repository.report(trial.id, 1, {"score": 0.5})
    print("ready", flush=True)
    input()
""")


def test_a_killed_drivers_trials_are_taken_over(repository: Repository, study: Study, add: Add) -> None:
    add()
    host = socket.gethostname()
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, repository.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        assert Lookout(host).gone(repository.drivers(study.id)) == []
        repository.join(study.id, owner="me", host=host, pid=os.getpid())
        assert repository.claim(study.id, "me") is None
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        (gone,) = Lookout(host).gone(repository.drivers(study.id))
        assert repository.bury(study.id, gone, retries=1)
    finally:
        driver.kill()
        driver.communicate()
    trial = repository.claim(study.id, "me")
    assert trial is not None
    assert (trial.status, trial.attempt, trial.scores) == (WAITING, 1, {1: 0.5})
    assert not repository.beat("driver")
