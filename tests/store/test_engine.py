"""A PostgreSQL server that is stopped, and started again."""

import threading
import time
from collections.abc import Iterator

import pytest
from postgres import Postgres, programs

from autopeft.errors import StudyError
from autopeft.nouns import TrialKind
from autopeft.store import Repository, engine, upgrade

from .conftest import a_configuration


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Iterator[Postgres]:
    """One that may be stopped: the session's own is for others."""
    folder = programs()
    assert folder is not None
    made = Postgres.make(folder)
    upgrade(made.create("studies"))
    yield made
    made.remove()


def test_a_server_that_was_there_is_waited_for(server: Postgres) -> None:
    with Repository.open(server.url("studies")) as repository:
        study = repository.create_study("s", {}, 1_000, "autopeft")
        server.stop()
        later = threading.Timer(3.0, server.start)
        later.start()
        began = time.monotonic()
        trial = repository.add_trial(study.id, TrialKind.SEARCH, a_configuration(), 100, 0)
        assert time.monotonic() - began > 2.0
        later.join()
        assert repository.trials(study.id) == [trial]


def test_it_is_not_waited_for_in_vain(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 1)
    with Repository.open(server.url("studies")) as repository:
        server.stop()
        try:
            with pytest.raises(StudyError, match="cannot use the database"):
                repository.studies()
        finally:
            server.start()
        repository.studies()


def test_a_server_that_never_answered_is_an_error_at_once(server: Postgres) -> None:
    began = time.monotonic()
    with pytest.raises(StudyError, match="cannot use the database"):
        Repository.open(server.url("no_such_database"))
    assert time.monotonic() - began < engine.BUSY_SECONDS / 2
