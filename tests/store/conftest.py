from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopeft.nouns import Configuration, Module, Study, Trial, TrialKind
from autopeft.store import Repository


def a_configuration(rank: int = 8) -> Configuration:
    lora = Module("lora", rank, (0, 1), (("alpha", 16.0), ("sites", ("q", "v"))))
    return Configuration.of([lora], learning_rate=1e-3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "autopeft.db"


@pytest.fixture
def repository(path: Path) -> Iterator[Repository]:
    with Repository.open(str(path)) as opened:
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
