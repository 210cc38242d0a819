from collections.abc import Mapping

import pytest
from peers import METHODS, Method
from replay import replay

from autopeft.nouns import Configuration

from .small import small_table


class Scripted:
    """Asks for what it is given, and keeps what it is told."""

    def __init__(self, configurations: list[Configuration]) -> None:
        self.left = list(configurations)
        self.told: list[float] = []

    def ask(self, n: int) -> list[Configuration]:
        return [self.left.pop(0) for _ in range(n)]

    def tell(self, configuration: Configuration, values: Mapping[str, float]) -> None:
        self.told.append(values["score"])


class ScriptedMethod(Method):
    def make(self, space, seed, evaluations):
        return self.settings["peer"]


@pytest.fixture(scope="module")
def small():
    return small_table()


def scripted(configurations, trains_again=False):
    peer = Scripted(configurations)
    return ScriptedMethod("x", "x", "", {"peer": peer}, trains_again=trains_again), peer


def test_hypervolume_is_of_the_truths_and_never_falls(small):
    entries = list(small.entries.values())[:6]
    method, _ = scripted([entry.configuration for entry in entries])
    run = replay(method, small, 0, 6)
    assert run.found == tuple(small.hypervolume(entries[: n + 1]) for n in range(6))
    assert all(handed <= found for handed, found in zip(run.front, run.found, strict=True))
    assert len(run.seconds) == 6


def test_what_is_known_costs_nothing_and_is_told_the_same(small):
    a, b = [entry.configuration for entry in list(small.entries.values())[:2]]
    method, peer = scripted([a, a, small.head.configuration, b])
    run = replay(method, small, 0, 2)
    assert peer.left == []
    assert run.duplicates == 1
    assert peer.told[0] == peer.told[1]
    assert peer.told[2] == small.head.truth


def test_a_method_that_trains_again_pays_for_it(small):
    a, b = [entry.configuration for entry in list(small.entries.values())[:2]]
    method, peer = scripted([a, a, b], trains_again=True)
    run = replay(method, small, 0, 2)
    assert peer.left == [b]
    assert run.found[0] == run.found[1]


def test_asking_for_the_same_forever_ends(small):
    a = next(iter(small.entries.values())).configuration
    method, _ = scripted([a] * 100)
    assert len(replay(method, small, 0, 3).found) == 3


def test_methods_of_one_repeat_are_told_the_same(small):
    entries = [entry.configuration for entry in list(small.entries.values())[:5]]
    told = []
    for order in (entries, entries[::-1]):
        method, peer = scripted(order)
        replay(method, small, 3, 5)
        told.append(sorted(peer.told))
    assert told[0] == told[1]


@pytest.mark.parametrize("name", ["random", "optuna-tpe", "optuna-nsgaii"])
def test_a_run_is_a_function_of_its_repeat(small, name):
    first, again, other = (replay(METHODS[name], small, repeat, 15).found for repeat in (1, 1, 2))
    assert first == again != other


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["autopeft-no-probe", "optuna-gp", "botorch", "autopeft-paper", "autopeft-code"]
)
def test_the_methods_with_models_get_somewhere(small, name):
    run = replay(METHODS[name], small, 0, 16)
    assert 0 < run.found[-1] <= small.total
