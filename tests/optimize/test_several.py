"""Suggestions and volume of a study of any objectives."""

import math
from dataclasses import replace

import pytest
from shapes import VIT

from autopeft.dsl import BoundSpace, read_space
from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.optimize.several import find_suggester_of, hypervolume, reference_point, told
from autopeft.optimize.start import start_size
from autopeft.optimize.suggest import suggest_botorch
from autopeft.registry import find_objectives, space_text

THREE = find_objectives("score,trainable,memory")[1]
MEMORY = "training_memory_bytes"


def space() -> BoundSpace:
    return read_space(space_text("tiny"), "tiny").bind(VIT, 5_000)


def trial(
    number: int,
    configuration: Configuration,
    cost: int,
    score: float,
    memory: float,
    kind: TrialKind = TrialKind.SEARCH,
) -> Trial:
    return Trial(
        *(number, number, kind, configuration, cost, 0, TrialStatus.COMPLETE, 1),
        scores={1: score},
        measurements={MEMORY: memory},
    )


def searched(n: int, objectives: str, sampler: str = "botorch", seed: int = 0) -> list[Trial]:
    """A search whose score is better at 1,000 parameters, and whose memory grows with the number of layers."""
    bound, wanted = space(), find_objectives(objectives)[1]
    suggest = find_suggester_of(sampler, wanted)
    trials: list[Trial] = []
    for i in range(n):
        configuration = suggest(bound, trials, seed)
        cost = bound.cost(bound.assignment(configuration))
        layers = sum(len(module.layers) for module in configuration.modules)
        score = 1 - abs(math.log10(cost) - 3) / 4
        trials.append(trial(i, configuration, cost, score, 1e6 * (1 + layers)))
    return trials


@pytest.mark.parametrize(
    "objectives", ["score,memory", "score,trainable,memory", "score,bytes,memory,trainable"]
)
def test_a_search(objectives: str) -> None:
    trials = searched(start_size(space()) + 2, objectives)
    assert len({one.configuration.key for one in trials}) == len(trials)
    assert all(0 < one.trainable <= 5_000 for one in trials)
    assert searched(len(trials), objectives) == trials  # a function of the trials and the seed


def test_it_starts_as_the_default_search_does_without_a_probe() -> None:
    bound = space()
    few = searched(2, "score,trainable,memory")
    assert few[0].configuration == suggest_botorch(bound, [], 0)
    assert few[1].configuration == suggest_botorch(bound, few[:1], 0)


@pytest.mark.parametrize("sampler", ["random", "optuna:tpe"])
def test_other_samplers_too(sampler: str) -> None:
    trials = searched(4, "score,trainable,memory", sampler)
    assert len({one.configuration.key for one in trials}) == 4


def test_what_is_told() -> None:
    bound = space()
    complete, waiting, failed, without = searched(4, "score,memory")
    waiting = replace(waiting, status=TrialStatus.WAITING, scores={})
    failed = replace(failed, status=TrialStatus.FAILED)
    without = replace(without, measurements={})
    head = trial(9, Configuration.of([], 1e-3), 0, 0.1, 1.0, TrialKind.HEAD_ONLY)
    found = told(bound, [head, complete, waiting, failed, without], THREE)
    assert [one.assignment for one in found] == [
        bound.assignment(one.configuration) for one in (complete, waiting, failed, without)
    ]
    assert found[0].values == {"score": complete.score, MEMORY: complete.measurements[MEMORY]}
    assert found[1].values is None
    assert [one.complete for one in found] == [True, False, False, False]
    assert find_suggester_of("botorch", THREE)(bound, [complete, waiting, failed], 0) not in [
        one.configuration for one in (complete, waiting, failed)
    ]


def heads() -> list[Trial]:
    configurations = [Configuration.of([], rate) for rate in (1e-3, 1e-2)]
    return [
        trial(20 + i, one, 0, 0.4 + 0.1 * i, memory, TrialKind.HEAD_ONLY)
        for i, (one, memory) in enumerate(zip(configurations, (1e6, 4e6), strict=True))
    ]


def test_volume_counts_from_what_the_baselines_came_to() -> None:
    first, second = heads()
    wanted = [0.5, -1.1, -math.log(8e6)]  # twice the worst baseline's memory
    assert reference_point([first, second], THREE, 0.5) == pytest.approx(wanted)
    under_way = replace(second, status=TrialStatus.RUNNING)
    assert reference_point([first, under_way], THREE, 0.5) is None
    failed = replace(second, status=TrialStatus.FAILED)
    assert reference_point([first, failed], THREE, 0.5) == pytest.approx([0.5, -1.1, -math.log(2e6)])
    assert reference_point([failed], THREE, 0.5) is None
    density = find_objectives("score,density")[1]
    ends = [
        replace(one, measurements={"activation_density": value})
        for one, value in zip(heads(), (0.3, 0.4), strict=True)
    ]
    assert reference_point(ends, density, 0.5) == pytest.approx([0.5, -0.5])  # as far again


def test_the_volume_of_boxes() -> None:
    bound = space()
    one, other = (Configuration.of([], rate) for rate in (1e-3, 1e-2))
    reference = [0.5, -1.1, -math.log(8e6)]
    cost = bound.cost_coordinate(500)
    trials = [trial(1, one, bound.limit, 0.7, 2e6), trial(2, other, 500, 0.6, 4e6)]
    boxes = [0.2 * 0.1 * math.log(4), 0.1 * (1.1 - cost) * math.log(2)]
    both = 0.1 * 0.1 * math.log(2)
    assert hypervolume(bound, trials[:1], THREE, reference) == pytest.approx(boxes[0])
    assert hypervolume(bound, trials, THREE, reference) == pytest.approx(sum(boxes) - both)
    assert hypervolume(bound, heads(), THREE, reference) == 0  # baselines are no points of the search
    worse = trial(3, other, 500, 0.5, 4e6)
    assert hypervolume(bound, [worse], THREE, reference) == 0
