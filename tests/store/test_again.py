"""Transactions that a server cuts off: each is done again, and the database is as if it had been done once."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from postgres import Postgres, programs

from autopeft.errors import CutOffError, TakenError
from autopeft.nouns import TrialKind, TrialStatus
from autopeft.store import Repository, upgrade

from .conftest import a_configuration, on_postgres

WRITERS, TRIALS = 4, 10


def lose_answers(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have every second commit lose its connection once it is through; how often that was, in a list."""
    dialect = repository._engine.dialect
    commit = dialect.do_commit
    lost: list[int] = []
    due = [False]

    def committed(connection: Any) -> None:
        commit(connection)
        due[0] = not due[0]
        if due[0]:
            lost.append(1)
            connection.dbapi_connection.close()
            connection.dbapi_connection.commit()  # psycopg's own error

    monkeypatch.setattr(dialect, "do_commit", committed)
    return lost


def use(repository: Repository, name: str) -> Any:
    """All that a driver does, and what the database has afterwards."""
    study = repository.find_study(name)
    assert study is not None
    repository.join(study.id, owner=name, host="here", pid=os.getpid())
    repository.join(study.id, owner=f"{name} gone", host="there", pid=1)
    repository.note_asked(study.id, {"trials": 9})
    repository.set_reference_score(study.id, 0.1)
    ids = []
    for rank in range(1, 7):
        trial = repository.propose(
            study.id, TrialKind.SEARCH, a_configuration(rank), rank, 0, owner=name, at_most=8
        )
        assert trial is not None
        assert (trial.number, trial.status) == (rank - 1, TrialStatus.WAITING)
        ids.append(trial.id)
        assert repository.start_trial(trial.id, name).attempt == 1
        with pytest.raises(TakenError, match="it is running"):
            repository.start_trial(trial.id, name)
        assert repository.report(trial.id, 1, {"score": rank / 10, "train_loss": 1.0}, attempt=1)
    repository.complete(ids[0], {"seconds": 1.0}, {"threads": 1}, "/a", attempt=1)
    repository.fail(ids[1], "no memory", attempt=1)
    repository.stop(ids[2], attempt=1)
    repository.requeue(ids[3], attempt=1)
    repository.lose(ids[4], "gone", retries=1, attempt=1)
    claimed = [repository.claim(study.id, name) for _ in range(3)]
    assert [trial and trial.number for trial in claimed] == [3, 4, None]
    repository.record_front(study.id, 0, [0], 0.5, complete=1)
    assert repository.beat(name)
    (gone,) = [member for member in repository.drivers(study.id) if member.owner != name]
    repository.bury(study.id, gone, retries=1)
    found = repository.get_study(name)
    repository.leave(study.id, name)
    return (
        (found.settings, found.reference_score),
        [replace(trial, id=0) for trial in repository.trials(study.id)],
        repository.follow(study.id).read() == repository.trials(study.id),
        repository.fronts(study.id),
        repository.drivers(study.id),
    )


@on_postgres
def test_what_was_committed_though_nobody_heard_of_it_is_not_done_twice(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("calm", "cut off"):
        repository.create_study(name, {}, 1_000, "autopeft")
    calm = use(repository, "calm")
    lost = lose_answers(repository, monkeypatch)
    assert use(repository, "cut off") == calm
    assert len(lost) > 60


@on_postgres
def test_what_others_have_done_meanwhile_is_not_undone(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = repository.create_study("s", {}, 1_000, "autopeft")
    trial = repository.propose(study.id, TrialKind.SEARCH, a_configuration(), 1, 0, owner="a")
    assert trial is not None
    repository.start_trial(trial.id, "a")
    dialect = repository._engine.dialect
    commit = dialect.do_commit

    def other(connection: Any) -> None:
        monkeypatch.setattr(dialect, "do_commit", commit)
        commit(connection)
        assert repository.claim(study.id, "b") is not None  # before the answer gets lost
        repository.start_trial(trial.id, "b")
        connection.dbapi_connection.close()
        connection.dbapi_connection.commit()

    monkeypatch.setattr(dialect, "do_commit", other)
    assert not repository.requeue(trial.id, attempt=1)
    (found,) = repository.trials(study.id)
    assert (found.status, found.attempt) == (TrialStatus.RUNNING, 2)


@on_postgres
def test_what_cannot_be_done_twice_says_so(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_answers(repository, monkeypatch)
    with pytest.raises(CutOffError, match="cannot use the database"):
        repository.create_study("s", {}, 1_000, "autopeft")
    assert [study.name for study in repository.studies()] == ["s"]


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Postgres]:
    """One that may be stopped: the session's own is for others."""
    folder = programs()
    assert folder is not None
    made = Postgres.make(folder)
    upgrade(made.create("studies"))
    yield made
    made.remove()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_server_is_stopped_in_the_midst_of_writes(
    server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ended = threading.Event()

    with Repository.open(server.url("studies")) as repository:
        study = repository.create_study("s", {}, 1_000, "autopeft")

        def write(number: int) -> None:
            owner = str(number)
            repository.join(study.id, owner=owner, host="here", pid=os.getpid())
            for step in range(TRIALS):
                rank = 1 + number * TRIALS + step
                trial = repository.propose(
                    study.id, TrialKind.SEARCH, a_configuration(rank), 1, 0, owner=owner
                )
                assert trial is not None
                assert repository.start_trial(trial.id, owner).attempt == 1
                for rung in (1, 2, 3):
                    assert repository.report(trial.id, rung, {"score": rank + rung / 10}, attempt=1)
                repository.complete(trial.id, {"seconds": 1.0}, {}, f"/a/{rank}", attempt=1)

        def stop_and_start() -> None:
            while not ended.wait(0.7):
                server.stop()
                time.sleep(0.1)
                server.start()

        with ThreadPoolExecutor(WRITERS + 1) as pool:
            stopping = pool.submit(stop_and_start)
            try:
                list(pool.map(write, range(WRITERS)))
            finally:
                ended.set()
                stopping.result()
        found = repository.trials(study.id)
    assert [trial.number for trial in found] == list(range(WRITERS * TRIALS))
    assert {trial.status for trial in found} == {TrialStatus.COMPLETE}
    assert {trial.artifact for trial in found} == {f"/a/{n + 1}" for n in range(WRITERS * TRIALS)}
    assert all(len(trial.scores) == 3 and trial.attempt == 1 for trial in found)
    assert any("is tried again" in record.message for record in caplog.records)
