"""Trials as observations."""

import math
from dataclasses import replace

from autopeft.nouns import Configuration, TrialKind, TrialStatus
from autopeft.optimize.observation import observations

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
