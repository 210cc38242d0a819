"""Several drivers of one study at once, with the reports that workers would send."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopeft.confirmation import FOUND, search_front
from autopeft.nouns import Trial, TrialKind, TrialStatus
from autopeft.optimize.suggest import suggest_random
from autopeft.run import driver as driver_module
from autopeft.run.driver import Done, Driver
from autopeft.store import Repository

from .test_driver import answer, ask, make_driver


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with Repository.open(f"sqlite:///{tmp_path}/study.db") as repository:
        yield repository


@pytest.fixture(autouse=True)
def _quick_hearts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "_HEARTBEAT_SECONDS", 0.05)


def trial_of(driver: Driver) -> Trial:
    found = ask(driver)
    assert isinstance(found, Trial)
    return found


def vanish(driver: Driver) -> None:
    """As a process that was killed on another host: nothing is given back, and its heart beats no more."""
    driver._closing.set()
    driver._heart.join()
    driver._pool.shutdown()


def elsewhere(driver: Driver) -> None:
    """Its row says that it runs on another host, where nobody can ask for its process."""
    with driver.repository._writer.begin() as connection:
        connection.exec_driver_sql(f"UPDATE driver SET host = 'there' WHERE owner = '{driver.owner}'")


def test_two_drivers_share_the_trials(repository: Repository, tmp_path: Path) -> None:
    one, two = (make_driver(repository, tmp_path, owner=name, wanted=4) for name in ("one", "two"))
    taken = [trial_of(one), trial_of(two), trial_of(one), trial_of(two)]
    assert [t.number for t in taken] == [0, 1, 2, 3]
    assert len({t.configuration.key for t in taken}) == 4
    for driver, trial in zip((one, two, one, two), taken, strict=True):
        driver.reported(trial.id, answer(1, 0.5, last=True))
    assert ask(one) is Done
    assert ask(two) is Done
    for driver in (one, two):
        driver.close()
        assert driver.finished
    assert len(repository.trials(one.study.id)) == 4


def test_a_search_is_at_its_end_when_the_others_trials_are(repository: Repository, tmp_path: Path) -> None:
    one, two = (make_driver(repository, tmp_path, owner=name, wanted=2) for name in ("one", "two"))
    first, second = trial_of(one), trial_of(two)
    one.reported(first.id, answer(1, 0.5, last=True))
    assert one.next_trial() is None  # the other may yet go, and leave its trial
    two.reported(second.id, answer(1, 0.6, last=True))
    assert ask(one) is Done
    for driver in (one, two):
        driver.close()


def test_the_trials_of_one_that_leaves_are_taken_over(repository: Repository, tmp_path: Path) -> None:
    one, two = (make_driver(repository, tmp_path, owner=name, wanted=2) for name in ("one", "two"))
    first, second = trial_of(one), trial_of(two)
    two.started(second.id)
    one.reported(first.id, answer(1, 0.5, last=True))
    two.close()
    assert not two.finished
    again = trial_of(one)
    assert again.id == second.id
    one.reported(again.id, answer(1, 0.5, last=True))
    assert ask(one) is Done
    one.close()
    assert [t.attempt for t in repository.trials(one.study.id)] == [1, 2]


def test_the_trials_of_one_that_vanishes_are_taken_over(repository: Repository, tmp_path: Path) -> None:
    one, two = (make_driver(repository, tmp_path, owner=name, wanted=2, retries=1) for name in ("one", "two"))
    elsewhere(two)
    first, second = trial_of(one), trial_of(two)
    two.reported(second.id, answer(1, 0.4, last=False))
    one.reported(first.id, answer(1, 0.5, last=True))
    vanish(two)
    again = trial_of(one)
    assert (again.id, again.scores) == (second.id, {1: 0.4})
    one.started(again.id)
    # It was alive after all, behind a broken network: what it says now is of an attempt that was given up.
    assert not two.reported(second.id, answer(2, 0.9, last=True))
    assert one.reported(again.id, answer(1, 0.4, last=False))
    one.reported(again.id, answer(2, 0.7, last=True))
    assert ask(one) is Done
    one.close()
    found = repository.trial(one.study.id, second.number)
    assert (found.status, found.attempt, found.scores) == (TrialStatus.COMPLETE, 2, {1: 0.4, 2: 0.7})


def test_one_that_was_given_up_joins_again(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, owner="one", wanted=2)
    trial = trial_of(driver)
    (member,) = repository.drivers(driver.study.id)
    while not repository.bury(driver.study.id, member, retries=0):
        (member,) = repository.drivers(driver.study.id)
    driver.started(trial.id)  # its claim went with it
    again = trial_of(driver)
    assert again.id == trial.id
    driver.reported(again.id, answer(1, 0.5, last=True))
    second = trial_of(driver)
    driver.reported(second.id, answer(1, 0.5, last=True))
    assert ask(driver) is Done
    driver.close()
    assert [t.attempt for t in repository.trials(driver.study.id)] == [1, 1]


def test_what_another_has_proposed_meanwhile_is_proposed_again(
    repository: Repository, tmp_path: Path
) -> None:
    """Both know the same, so both suggesters say the same."""
    asked: list[int] = []

    def suggest(space: Any, trials: list[Trial], seed: int) -> Any:
        asked.append(len(trials))
        return suggest_random(space, trials, seed)

    one, two = (
        make_driver(repository, tmp_path, owner=name, wanted=3, suggester=suggest) for name in ("one", "two")
    )
    for driver in (one, two):
        driver._prepare([])
        assert driver._next is not None
        driver._next.exception(10)
    first, second = trial_of(one), trial_of(two)
    assert (first.number, second.number) == (0, 1)
    assert asked[:2] == [0, 0]
    assert 1 in asked  # the second was asked once more, and was told of the first
    for driver in (one, two):
        driver.close()


@pytest.mark.timeout(120)
def test_drivers_in_parallel_make_as_many_as_were_wanted(repository: Repository, tmp_path: Path) -> None:
    drivers = [make_driver(repository, tmp_path, owner=str(n), wanted=12, at_once=2) for n in range(3)]
    failed: list[BaseException] = []

    def run(driver: Driver) -> None:
        try:
            while isinstance(trial := ask(driver, 60), Trial):
                driver.started(trial.id)
                driver.reported(trial.id, answer(1, 0.5 + trial.trainable / 10_000, last=True))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(driver,)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for driver in drivers:
        driver.close()
    assert failed == []
    trials = repository.trials(drivers[0].study.id)
    assert [t.number for t in trials] == list(range(12))
    assert all(t.status is TrialStatus.COMPLETE and t.attempt == 1 for t in trials)
    assert len({t.configuration.key for t in trials}) == 12
    assert repository.counts(drivers[0].study.id)[TrialKind.SEARCH][TrialStatus.COMPLETE] == 12
    last = repository.standing(drivers[0].study.id, FOUND).front
    assert last is not None
    assert last.members == tuple(t.number for t in search_front(trials))
