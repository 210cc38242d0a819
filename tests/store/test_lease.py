import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from autopeft.errors import StudyError
from autopeft.nouns import Study, Trial, TrialStatus
from autopeft.store import Repository, lease
from autopeft.store.process import is_alive, process_start

Add = Callable[..., Trial]
HERE = {"host": "here", "pid": os.getpid()}

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


def test_a_live_driver_keeps_others_out(repository: Repository, study: Study) -> None:
    repository.acquire(study.id, owner="a", **HERE)
    with pytest.raises(StudyError, match=f"'s' is being searched by process {os.getpid()} on here"):
        repository.acquire(study.id, owner="b", **HERE)
    assert not repository.heartbeat(study.id, "b")
    assert not repository.release(study.id, "b")
    assert repository.heartbeat(study.id, "a")
    assert repository.release(study.id, "a")
    assert not repository.heartbeat(study.id, "a")
    repository.acquire(study.id, owner="b", **HERE)


def test_each_study_has_its_own_lease(repository: Repository, study: Study) -> None:
    other = repository.create_study("t", {}, 1, "x")
    repository.acquire(study.id, owner="a", **HERE)
    repository.acquire(other.id, owner="b", **HERE)
    with pytest.raises(StudyError, match="no study with the id 99"):
        repository.acquire(99, owner="a", **HERE)


def test_acquiring_puts_running_trials_back(repository: Repository, study: Study, add: Add) -> None:
    waiting, running, failed = add(1), add(2), add(3)
    repository.start_trial(running.id)
    repository.fail(failed.id, "x")
    elsewhere = repository.create_study("t", {}, 1, "x")
    repository.acquire(study.id, owner="a", **HERE)
    trials = repository.trials(study.id)
    assert [trial.status for trial in trials] == [
        TrialStatus.WAITING,
        TrialStatus.WAITING,
        TrialStatus.FAILED,
    ]
    assert [trial.attempt for trial in trials] == [0, 1, 0]
    repository.start_trial(waiting.id)
    repository.acquire(elsewhere.id, owner="a", **HERE)
    repository.acquire(study.id, owner="a", **HERE)  # once more: a heartbeat
    assert repository.trial(study.id, 0).status is TrialStatus.RUNNING


def test_from_another_host_the_heartbeat_decides(
    repository: Repository, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = datetime.now(UTC) - timedelta(seconds=50)
    with monkeypatch.context() as past:
        past.setattr(lease, "now", lambda: long_ago.isoformat(timespec="milliseconds"))
        repository.acquire(study.id, owner="a", host="there", pid=1)
    with pytest.raises(StudyError, match="process 1 on there"):
        repository.acquire(study.id, owner="b", **HERE)
    repository.acquire(study.id, owner="b", **HERE, stale_after_seconds=40)
    assert not repository.heartbeat(study.id, "a")


@needs_proc
def test_a_process_that_got_a_dead_one_s_id_is_not_it(
    repository: Repository, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as past:
        past.setattr(lease, "process_start", lambda pid: "1")
        repository.acquire(study.id, owner="a", **HERE)
    repository.acquire(study.id, owner="b", **HERE)


def test_where_processes_cannot_be_asked_the_heartbeat_decides(
    repository: Repository, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "is_alive", lambda pid, start: None)
    repository.acquire(study.id, owner="a", **HERE)
    with pytest.raises(StudyError, match="is being searched"):
        repository.acquire(study.id, owner="b", **HERE)
    repository.acquire(study.id, owner="b", **HERE, stale_after_seconds=-1)


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
    repository.acquire(study.id, owner="driver", host=socket.gethostname(), pid=os.getpid())
    trial = repository.waiting(study.id)[0]
    repository.start_trial(trial.id)
    repository.report(trial.id, 1, {"score": 0.5})
    print("ready", flush=True)
    input()
""")


def test_a_killed_driver_s_study_is_taken_over(repository: Repository, study: Study, add: Add) -> None:
    add()
    me = {"owner": "me", "host": socket.gethostname(), "pid": os.getpid()}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, repository.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        with pytest.raises(StudyError, match=f"process {driver.pid} on"):
            repository.acquire(study.id, **me)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        repository.acquire(study.id, **me)
    finally:
        driver.kill()
        driver.communicate()
    trial = repository.trial(study.id, 0)
    assert (trial.status, trial.attempt, trial.scores) == (TrialStatus.WAITING, 1, {1: 0.5})
    assert not repository.heartbeat(study.id, "driver")
    assert not repository.release(study.id, "driver")
