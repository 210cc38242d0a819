"""Trials that go to one worker together."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autopeft.nouns import Configuration, Module, TrialKind, TrialStatus
from autopeft.run.driver import Done, Driver
from autopeft.store import Repository

from .test_driver import answer, make_driver

PISSA = Module("lora", 2, (1,), (("alpha", 4.0), ("init", "pissa"), ("sites", ("q",))))


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with Repository.open(f"sqlite:///{tmp_path}/study.db") as repository:
        yield repository


def queue(repository: Repository, driver: Driver, *configurations: Configuration) -> None:
    for configuration in configurations:
        repository.add_trial(driver.study.id, TrialKind.SEARCH, configuration, 500, 3)


def heads(*rates: float) -> list[Configuration]:
    return [Configuration.of([], rate) for rate in rates]


def asked(driver: Driver) -> list[list[int]]:
    """The numbers of the trials in every pack that can be had now."""
    found = []
    while isinstance(pack := driver.next_pack(), list):
        found.append([trial.number for trial in pack])
    return found


def test_packs_are_full_while_there_are_trials(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=5, at_once=9, pack=2)
    queue(repository, driver, *heads(0.1, 0.2, 0.3, 0.4, 0.5))
    assert asked(driver) == [[0, 1], [2, 3], [4]]
    assert driver.next_pack() is None  # what is live may yet come back
    for trial in repository.trials(driver.study.id):
        driver.reported(trial.id, answer(1, 0.5, last=True))
    assert driver.next_pack() is Done
    driver.close()


def test_what_has_lost_a_worker_goes_alone(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=3, at_once=9, pack=3, retries=1)
    queue(repository, driver, *heads(0.1, 0.2, 0.3))
    assert asked(driver) == [[0, 1, 2]]
    for trial in repository.trials(driver.study.id):
        driver.lost(trial.id, "the worker was lost.")
    assert asked(driver) == [[0], [1], [2]]
    driver.close()


def test_who_cannot_share_goes_alone_or_with_others(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=6, at_once=9, pack=3)
    first, second, third = heads(0.1, 0.2, 0.3)
    longer = Configuration.of([], 0.1, {"epochs": 9})
    queue(repository, driver, first, second, Configuration.of([PISSA], 0.1), third, longer, *heads(0.6))
    assert asked(driver) == [[0, 1], [2], [3], [4], [5]]
    driver.close()


def test_live_packs_are_bounded(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=6, at_once=2, pack=2)
    queue(repository, driver, *heads(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    assert asked(driver) == [[0, 1], [2, 3]]
    assert driver.next_pack() is None
    for trial in repository.trials(driver.study.id)[:2]:
        driver.reported(trial.id, answer(1, 0.5, last=True))
    assert asked(driver) == [[4, 5]]
    driver.close()


def test_what_the_first_took_says_how_many_fit(repository: Repository, tmp_path: Path) -> None:
    """A GPU of which a trial takes a fifth: four of them are 80 %."""
    driver = make_driver(repository, tmp_path, wanted=9, at_once=1, pack=None)
    queue(repository, driver, *heads(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    assert asked(driver) == [[0]]
    for left_out, asked_next in (
        (3, [[1]]),
        (0, [[2, 3, 4, 5]]),
    ):  # the first does without some layers: it says little
        last = answer(1, 0.5, last=True)
        last["values"]["peak_memory_bytes"] = 2e9
        last["details"] |= {"device_memory_bytes": 10_000_000_000, "layers_left_out": left_out}
        live = next(t for t in repository.trials(driver.study.id) if t.status is not TrialStatus.COMPLETE)
        driver.reported(live.id, last)
        assert asked(driver) == asked_next
    driver.close()
