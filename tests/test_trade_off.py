"""What trials are compared by."""

from dataclasses import replace

import pytest

from autopeft import pareto
from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.registry import find_objectives
from autopeft.trade_off import front, further, is_default, knee, values_of

DEFAULT = find_objectives("score,trainable")[1]
THREE = find_objectives("score,trainable,memory")[1]
MEMORY = "training_memory_bytes"
TRIAL = Trial(
    *(1, 1, TrialKind.SEARCH, Configuration.of([], 1e-3), 100, 0, TrialStatus.COMPLETE),
    scores={1: 0.5},
    measurements={MEMORY: 7.0},
)


def test_which_objectives_are_the_default_ones() -> None:
    assert is_default(())
    assert is_default(find_objectives("trainable,score")[1])
    assert not is_default(THREE)
    assert [objective.name for objective in further(THREE)] == [MEMORY]


def test_the_values_of_a_trial() -> None:
    assert values_of(TRIAL, THREE) == {"score": 0.5, "trainable": 100.0, MEMORY: 7.0}
    assert values_of(TRIAL, ()) == {"score": 0.5, "trainable": 100.0}
    assert values_of(replace(TRIAL, measurements={}), THREE) is None
    assert values_of(replace(TRIAL, status=TrialStatus.STOPPED), DEFAULT) is None


POINTS = [(0.7, 100), (0.9, 1_000), (0.85, 300), (0.6, 500)]


@pytest.mark.parametrize("objectives", [(), DEFAULT])
def test_score_and_trainable_have_functions_of_their_own(objectives: tuple[()]) -> None:
    values = [{"score": score, "trainable": float(cost)} for score, cost in POINTS]
    assert front(values, objectives) == pareto.front(POINTS) == [0, 2, 1]
    assert knee(values, objectives) == pareto.knee(POINTS) == 2


def test_of_others_the_front_is_by_ascending_trainable_parameters() -> None:
    memory = (10.0, 10.0, 90.0, 1.0)
    values = [
        {"score": score, "trainable": float(cost), MEMORY: m}
        for (score, cost), m in zip(POINTS, memory, strict=True)
    ]
    assert front(values, THREE) == [0, 2, 3, 1]
    assert knee(values, THREE) == 0
    only_memory = find_objectives("score,memory")[1]
    assert front(values, only_memory) == [3, 1]
    assert knee([], THREE) is None
