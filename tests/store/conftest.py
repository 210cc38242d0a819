"""What the tests of the store share. Those that ask for `url` or `repository` run on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from autopeft.nouns import Configuration, Module, Study, Trial, TrialKind
from autopeft.store import Repository

_numbers = count()

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""For a test of what only SQLite has."""

on_postgres = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
"""For a test of what only PostgreSQL has."""


def a_configuration(rank: int = 8) -> Configuration:
    lora = Module("lora", rank, (0, 1), (("alpha", 16.0), ("sites", ("q", "v"))))
    return Configuration.of([lora], learning_rate=1e-3)


def database(request: pytest.FixtureRequest, kind: str, folder: Path) -> str:
    """The URL of a new database with our tables; in PostgreSQL a copy of one that has them."""
    if kind == "sqlite":
        return f"sqlite:///{folder}/autopeft.db"
    server = request.getfixturevalue("postgres")
    return str(server.create(f"test_{next(_numbers)}", template="autopeft_template"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "autopeft.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database(request, request.param, tmp_path)


@pytest.fixture
def repository(url: str) -> Iterator[Repository]:
    with Repository.open(url) as opened:
        yield opened


@pytest.fixture
def study(repository: Repository) -> Study:
    return repository.create_study("s", {"seed": 1}, limit=1000, space="autopeft")


@pytest.fixture
def add(repository: Repository, study: Study) -> Callable[..., Trial]:
    """Adds a trial that differs from the others by its rank."""

    def add(rank: int = 8, kind: TrialKind = TrialKind.SEARCH) -> Trial:
        return repository.add_trial(study.id, kind, a_configuration(rank), trainable=rank * 100, seed=0)

    return add
