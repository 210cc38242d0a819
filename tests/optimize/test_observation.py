"""Trials as observations."""

import math
import random
from dataclasses import replace

import pytest

from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.optimize import find_suggester
from autopeft.optimize.observation import observations, probed

from . import problem


def test_every_status_says_what_it_can() -> None:
    bound = problem.space()
    trials = [replace(t, scores={1: 0.1, 3: t.scores[1]}) for t in problem.some_trials(bound, 6)]
    trials[1] = replace(trials[1], status=TrialStatus.FAILED, scores={})
    trials[2] = replace(trials[2], status=TrialStatus.RUNNING, scores={1: 0.2})
    trials[3] = replace(trials[3], status=TrialStatus.STOPPED, scores={1: 0.1})
    baseline = replace(trials[0], kind=TrialKind.HEAD_ONLY, configuration=Configuration.of([], 1e-3))
    found = observations(bound, [baseline, *trials])
    assert [one.assignment for one in found] == [bound.assignment(t.configuration) for t in trials]
    assert found[0].score == trials[0].scores[3]
    assert found[0].measured
    assert found[0].variance == 0
    assert math.isnan(found[1].score or 0.0)
    assert not found[1].measured
    assert not found[1].pending
    assert found[2].pending
    # All others began at 0.1 as well and ended higher: so would this one have, and nobody knows it exactly.
    assert found[3].score is not None
    assert found[3].score > 0.3
    assert found[3].variance > 0


def probe(ranking: list[tuple[Configuration, float]], status: TrialStatus = TrialStatus.COMPLETE) -> Trial:
    rows = [[configuration.to_json(), score] for configuration, score in ranking]
    details = {"ranking": rows, "parts": {"a": [0.0] * len(rows), "b": [2 * score for _, score in ranking]}}
    nothing = Configuration.of([], 1e-3)
    return Trial(0, 0, TrialKind.PROBE, nothing, 0, 0, status, scores={1: 0.5}, details=details)


def test_what_a_probe_says() -> None:
    bound = problem.space()
    points = [bound.canonical(p) for p in bound.sample(random.Random(0), 5)]
    trial = probe([(bound.configuration(p), float(i)) for i, p in enumerate(points)])
    whole, first, second = probed(bound, [trial])
    assert [(one.assignment, one.score) for one in whole] == [(p, float(i)) for i, p in enumerate(points)]
    assert [one.score for one in first] == [0.0] * 5
    assert [(one.assignment, one.score) for one in second] == [(p, 2.0 * i) for i, p in enumerate(points)]
    assert probed(bound, [replace(trial, status=TrialStatus.RUNNING, scores={})]) == []
    assert observations(bound, [trial]) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_search_begins_where_its_probe_points(seed: int) -> None:
    """A probe that likes serial adapters in the last layer: the first suggestions have them, at every cost."""
    bound = problem.space()

    def liked(configuration: Configuration) -> float:
        return sum(
            m.type == "bottleneck" and m.option("position") == "serial" and 3 in m.layers
            for m in configuration.modules
        )

    configurations = [bound.configuration(p) for p in bound.sample(random.Random(1), 80)]
    trials = [probe([(c, liked(c)) for c in configurations])]
    suggest = find_suggester("botorch")
    for number in range(4):
        configuration = suggest(bound, trials, seed)
        trials.append(problem.trial(bound, number, configuration))
    with_probe = sum(liked(t.configuration) for t in trials[1:])
    blind = problem.run(find_suggester("botorch"), bound, 4, seed)
    assert with_probe >= 3
    assert with_probe > sum(liked(t.configuration) for t in blind) - 1
