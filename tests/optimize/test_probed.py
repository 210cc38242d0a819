"""What a probe says of points, and how a search begins with it."""

import random
from dataclasses import replace

import pytest
import torch

from autopeft.allocate.gradients import Gradients
from autopeft.allocate.spots import cuts
from autopeft.dsl import BoundSpace, read_space
from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.optimize import find_suggester
from autopeft.optimize.observation import observations
from autopeft.optimize.probed import believe_gradients, probed

from . import problem


def gradients(bound: BoundSpace) -> Gradients:
    """Of a task that is all about serial adapters in the last layer."""
    largest: dict = {}
    for point in bound.sample(random.Random(3), 200):
        for spot, cut in cuts(bound.configuration(point), bound.shape).items():
            largest[spot] = max(cut, largest.get(spot, cut))
    squares = {}
    for spot, cut in largest.items():
        high = 100.0 if spot.layer == 3 and spot.kind == "bottleneck serial ffn" else 0.01
        squares[spot] = (1, cut.size), (high, high * (1 + 0.1 * cut.size))
    return Gradients(largest, squares)


def probe(found: Gradients, status: TrialStatus = TrialStatus.COMPLETE) -> Trial:
    nothing = Configuration.of([], 1e-3)
    details = {"ranking": [], "gradients": found.to_json()}
    return Trial(0, 0, TrialKind.PROBE, nothing, 0, 0, status, scores={1: 0.5}, details=details)


def test_beliefs_are_norms_on_a_common_scale() -> None:
    bound = problem.space()
    found = gradients(bound)
    beliefs = believe_gradients(bound, found)
    assert len(beliefs) == 1 + len(found.kinds)
    points = list(dict.fromkeys(bound.sample(random.Random(7), 150)))
    for belief in beliefs:
        told = belief(points)
        assert told.shape == (len(points),)
        assert abs(float(told.mean())) < 0.4
        assert 0.5 < float(told.std()) < 2.0
    parts = torch.tensor([found.parts(bound.configuration(p), bound.shape) for p in points])
    norms = [parts.square().sum(1).sqrt(), *parts.T]
    for belief, norm in zip(beliefs, norms, strict=True):
        both = torch.stack([belief(points), norm])
        assert float(torch.corrcoef(both)[0, 1]) == pytest.approx(1.0)


def test_one_kind_of_module_is_one_belief() -> None:
    text = "name: one\nmodules: {m: {type: lora, sites: [q], rank: {choice: [1, 4]}}}\ntraining: {learning_rate: 0.01}\n"
    bound = read_space(text, "one").bind(problem.SHAPE, problem.LIMIT)
    assert len(believe_gradients(bound, gradients(bound))) == 1


def test_a_probe_that_is_not_through_says_nothing() -> None:
    bound = problem.space()
    trial = probe(gradients(bound))
    assert len(probed(bound, [trial])) > 1
    assert probed(bound, [replace(trial, status=TrialStatus.RUNNING, scores={})]) == []
    assert probed(bound, []) == []
    assert observations(bound, [trial]) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_search_begins_where_its_probe_points(seed: int) -> None:
    """The first suggestions have a serial adapter in the last layer, at costs from the smallest to near the budget."""
    bound = problem.space()

    def liked(trial: Trial) -> bool:
        return any(
            m.type == "bottleneck" and m.option("position") == "serial" and 3 in m.layers
            for m in trial.configuration.modules
        )

    trials = [probe(gradients(bound))]
    suggest = find_suggester("botorch")
    for number in range(4):
        trials.append(problem.trial(bound, number, suggest(bound, trials, seed)))
    places = [bound.cost_coordinate(trial.trainable) for trial in trials[1:]]
    assert sum(map(liked, trials[1:])) >= 3
    assert places[3] < places[1] < places[0] < places[2]
    assert len({trial.configuration.learning_rate for trial in trials[1:]}) == 4
