"""The driver's last part: what the search found is trained anew, through the same database."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autopeft.confirmation import choose, confirmed, search_front
from autopeft.nouns import Trial, TrialKind, TrialStatus
from autopeft.optimize.baselines import baselines
from autopeft.optimize.judged import expected_front
from autopeft.run.driver import Done, Driver
from autopeft.store import Repository

from .test_driver import answer, ask, make_driver, space

SEARCH, CONFIRM = TrialKind.SEARCH, TrialKind.CONFIRM


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with Repository.open(f"sqlite:///{tmp_path}/study.db") as repository:
        yield repository


def train(driver: Driver, trial: Trial, score: float, on_new: float | None = None) -> None:
    """What a worker reports: of a confirming trial, a score on new examples too."""
    last = answer(1, score, last=True)
    if driver.config(trial)["confirm"]:
        last["values"]["confirmation_score"] = on_new
    driver.reported(trial.id, last)


def run_to_the_end(driver: Driver, better: float = 1.0) -> list[Trial]:
    """Ask and train until nothing is left; the search scores by size, and the confirmation finds it 0.1 too high.

    Args:
        driver: Of the study.
        better: How much the larger is better; below 0, worse.
    """
    asked: list[Trial] = []
    while isinstance(trial := ask(driver), Trial):
        asked.append(trial)
        score = 0.5 + better * trial.trainable / 10_000
        train(driver, trial, score, score - 0.1)
    driver.close()
    return asked


def test_the_front_and_the_baselines_are_trained_anew(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=3, confirm_seeds=2)
    for kind, configuration in baselines(driver.space)[:2]:
        repository.add_trial(driver.study.id, kind, configuration, 0, 3)
    asked = run_to_the_end(driver)
    assert driver.finished
    trials = repository.trials(driver.study.id)
    front = search_front(trials)
    candidates = {t.number for t in [*front, *expected_front(driver.space, trials)]}
    kinds = [t.kind for t in asked]
    assert kinds[2:5] == [SEARCH] * 3
    assert kinds[5:] == [CONFIRM] * 2 * (len(candidates) + 1)  # they, and the better head
    anew = [t for t in trials if t.kind is CONFIRM]
    assert {t.seed for t in anew} == {4, 5}  # the study's is 3
    assert {t.configuration.key for t in anew} >= {t.configuration.key for t in front}
    found = [confirmed(trials, t) for t in front]
    assert all(one is not None and one.gap == pytest.approx(0.1) and one.seeds == 2 for one in found)
    assert choose(trials).by_confirmed
    assert repository.fronts(driver.study.id)[-1].members == tuple(
        t.number for t in front
    )  # the search's own


def test_it_waits_for_the_searchs_last_trials(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=2, confirm_seeds=1)
    first, second = ask(driver), ask(driver)
    assert isinstance(first, Trial)
    assert isinstance(second, Trial)
    train(driver, first, 0.5)
    assert driver.next_trial() is None  # the second may yet change the front
    train(driver, second, 0.9)
    assert isinstance(anew := ask(driver), Trial)
    assert (anew.kind, driver.config(anew)["confirm"]) == (CONFIRM, True)
    driver.close()


def test_an_interrupted_confirmation_goes_on(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=2, confirm_seeds=3, at_once=1)
    while (trial := ask(driver)) is not Done:
        assert isinstance(trial, Trial)
        if trial.kind is CONFIRM:
            driver.started(trial.id)
            break
        train(driver, trial, 0.5)
    driver.close()
    assert not driver.finished
    again = make_driver(repository, tmp_path, wanted=2, confirm_seeds=3)
    asked = run_to_the_end(again)
    assert asked[0].number == 2  # what was left behind
    pairs = [(t.configuration.key, t.seed) for t in repository.trials(again.study.id) if t.kind is CONFIRM]
    assert len(pairs) == len(set(pairs)) == 3
    assert run_to_the_end(make_driver(repository, tmp_path, wanted=2, confirm_seeds=3)) == []


def test_a_longer_search_keeps_what_was_confirmed(repository: Repository, tmp_path: Path) -> None:
    before = run_to_the_end(make_driver(repository, tmp_path, wanted=2, confirm_seeds=2))
    first = {t.number: repository.trial(1, t.number) for t in before}
    after = run_to_the_end(make_driver(repository, tmp_path, wanted=6, confirm_seeds=2))
    assert [t.kind for t in after][:4] == [SEARCH] * 4
    trials = repository.trials(1)
    assert all(trials[number] == t for number, t in first.items())
    assert choose(trials).by_confirmed
    front = [*search_front(trials), *expected_front(space(), trials)]
    members = {t.configuration.key for t in front}
    assert all(t.configuration.key in members for t in after if t.kind is CONFIRM)


def test_one_that_had_bad_luck_is_tried_too(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every point is thought to be on the front."""
    monkeypatch.setattr(
        "autopeft.run.driver.expected_front",
        lambda space, trials: [t for t in trials if t.kind is SEARCH and t.score is not None],
    )
    driver = make_driver(repository, tmp_path, wanted=6, confirm_seeds=1)
    run_to_the_end(driver, better=-1.0)
    trials = repository.trials(driver.study.id)
    assert len(search_front(trials)) == 1  # the smallest
    assert sum(t.kind is CONFIRM for t in trials) == 6
    assert driver.to_confirm(trials) == []


def test_the_suggester_learns_nothing_from_it(repository: Repository, tmp_path: Path) -> None:
    run_to_the_end(make_driver(repository, tmp_path, wanted=2, confirm_seeds=2))
    taught: list[TrialKind] = []
    plain = make_driver(repository, tmp_path, wanted=3)
    suggest = plain.suggester

    def listening(space: object, trials: list[Trial], seed: int) -> object:
        taught.extend(t.kind for t in trials)
        return suggest(space, trials, seed)  # type: ignore[arg-type]

    plain.suggester = listening  # type: ignore[assignment]
    run_to_the_end(plain)
    assert set(taught) == {SEARCH}


def test_no_time_no_confirmation(repository: Repository, tmp_path: Path) -> None:
    run_to_the_end(make_driver(repository, tmp_path, wanted=2))
    late = make_driver(repository, tmp_path, wanted=2, confirm_seeds=3, deadline=time.monotonic() - 1)
    assert ask(late) is Done
    late.close()
    assert not any(t.kind is CONFIRM for t in repository.trials(1))


def test_a_confirming_trial_may_fail(repository: Repository, tmp_path: Path) -> None:
    driver = make_driver(repository, tmp_path, wanted=1, confirm_seeds=2)
    trial = ask(driver)
    assert isinstance(trial, Trial)
    train(driver, trial, 0.5)
    first, second = ask(driver), ask(driver)
    assert isinstance(first, Trial)
    assert isinstance(second, Trial)
    driver.failed(first.id, "the worker was lost.")
    train(driver, second, 0.5, 0.4)
    assert ask(driver) is Done
    driver.close()
    trials = repository.trials(1)
    assert [t.status for t in trials] == [TrialStatus.COMPLETE, TrialStatus.FAILED, TrialStatus.COMPLETE]
    found = confirmed(trials, trials[0])
    assert found is not None
    assert (found.mean, found.seeds, found.failed) == (0.4, 1, 1)
