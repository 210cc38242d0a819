"""The simulated machine; suggester and stopping rule are the real ones."""

from shapes import transformer

from autopeft.dsl import BoundSpace, read_space
from autopeft.nouns import Configuration, TrialStatus
from autopeft.optimize.halving import rungs
from autopeft.optimize.suggest import suggest_random
from autopeft.registry import space_text
from autopeft.run.simulator import Ended, Recorded, simulate

FULL = 9


def space() -> BoundSpace:
    shape = transformer(32, 3, 128, parameters=100_000)
    return read_space(space_text("autopeft"), "autopeft.yaml").bind(shape, 2_000)


def train(configuration: Configuration) -> Recorded:
    """A score and a pace of its own for every configuration, known from the first epoch."""
    number = int(configuration.key, 16)
    end, pace = number % 1_000 / 1_000, 1 + number % 7
    scores = [end * (e + 5) / (FULL + 5) for e in range(1, FULL + 1)]
    return Recorded(scores, [pace * e for e in range(1, FULL + 1)])


def search(epochs: int, at: tuple[int, ...] = rungs(FULL), workers: int = 3) -> list[Ended]:
    return simulate(space(), suggest_random, train, rungs=at, workers=workers, epochs=epochs, seed=0)


def test_stopping_tries_more_in_the_same_epochs() -> None:
    whole, stopping = search(180, ()), search(180)
    assert {e.trial.status for e in whole} == {TrialStatus.COMPLETE}
    assert 20 <= len(whole) <= 22  # nine epochs each; what is under way at the end is finished
    assert len(stopping) > 1.6 * len(whole)  # it is careful until some are complete
    for ended in (whole, stopping):
        assert sum(len(e.trial.scores) for e in ended) == ended[-1].epochs
        assert [e.epochs for e in ended] == sorted(e.epochs for e in ended)
        assert [e.seconds for e in ended] == sorted(e.seconds for e in ended)
        assert sorted(e.trial.number for e in ended) == list(range(len(ended)))
    for e in stopping:
        stopped = e.trial.status is TrialStatus.STOPPED
        assert max(e.trial.scores) in (rungs(FULL) if stopped else (FULL,))
    complete = [e.trial.scores[FULL] for e in stopping if e.trial.status is TrialStatus.COMPLETE]
    assert max(complete) >= max(e.trial.scores[FULL] for e in whole)


def test_workers_share_the_clock() -> None:
    one, three = search(90, (), workers=1), search(90, (), workers=3)
    assert [e.trial.number for e in one] == list(range(10))
    assert one[-1].seconds == sum(train(e.trial.configuration).seconds[-1] for e in one)
    assert three[-1].seconds < one[-1].seconds


def test_the_same_seed_is_the_same_search() -> None:
    assert search(60) == search(60)
