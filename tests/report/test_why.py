import random

import numpy as np
import pytest

from autopeft.dsl import read_space
from autopeft.nouns import Configuration, Study, Trial, TrialKind, TrialStatus
from autopeft.report.why import decisions, foretold, importance, space_of

from .filled import LIMIT, SHAPE, SPACE, WHOLE, lora

STUDY = Study(1, "s", WHOLE, LIMIT, "serials", None, "")


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    """Forty points of the space whose score is their learning rate's logarithm and nothing else, but for a little noise."""
    space = read_space(SPACE, "serials").bind(SHAPE, LIMIT)
    draw, found = random.Random(0), []
    for number, point in enumerate(space.sample(draw, 40)):
        configuration = space.configuration(point)
        score = 0.5 + 0.1 * float(np.log10(configuration.learning_rate)) + draw.gauss(0, 0.002)
        found.append(
            Trial(
                id=number,
                number=number,
                kind=TrialKind.SEARCH,
                configuration=configuration,
                trainable=100,
                seed=0,
                status=TrialStatus.COMPLETE,
                scores={1: score},
            )
        )
    return found


def test_the_decision_that_makes_the_score_is_the_most_important(trials: list[Trial]) -> None:
    space = space_of(STUDY)
    assert space is not None
    worth = importance(space, decisions(space, trials, "accuracy"), "score")
    assert next(iter(worth)) == "learning_rate"
    assert worth["learning_rate"] > 0.8
    assert sum(worth.values()) == pytest.approx(1.0)


def test_what_says_nothing_has_no_importance(trials: list[Trial]) -> None:
    space = space_of(STUDY)
    assert space is not None
    table = decisions(space, trials, "accuracy")
    assert importance(space, table, "trainable") == {}  # all the same
    assert importance(space, table[:3], "score") == {}
    assert importance(space, table, "latency") == {}


def test_a_table_of_decisions_in_values_of_the_metric(trials: list[Trial]) -> None:
    space = space_of(STUDY)
    assert space is not None
    table = decisions(space, trials, "loss")
    assert table["score"][0] == -(trials[0].score or 0)
    assert table["learning_rate"][0] == trials[0].configuration.learning_rate
    foreign = Trial(99, 99, TrialKind.SEARCH, lora(8, 1e-3), 1, 0, TrialStatus.COMPLETE, scores={1: 0.5})
    baseline = Trial(98, 98, TrialKind.HEAD_ONLY, Configuration.of([], 1e-3), 0, 0, TrialStatus.COMPLETE)
    assert len(decisions(space, [*trials, foreign, baseline], "loss")) == len(trials)


def test_the_surrogate_foretells_what_it_was_not_told(trials: list[Trial]) -> None:
    space = space_of(STUDY)
    assert space is not None
    found = foretold(space, trials, "accuracy")
    assert [one.number for one in found] == list(range(40))
    errors = [abs(one.mean - one.measured) for one in found]
    spread = np.std([one.measured for one in found])
    assert np.mean(errors) < spread / 4
    assert sum(one.within <= 3 for one in found) > 30
    assert foretold(space, trials[:9], "accuracy") == []


def test_a_study_that_does_not_say_its_space() -> None:
    assert space_of(Study(1, "s", {"backbone": {}, "space": {}}, LIMIT, "x", None, "")) is None
    broken = {**WHOLE, "space": {"name": "x", "text": "name: x\nmodules: {}"}}
    assert space_of(Study(1, "s", broken, LIMIT, "x", None, "")) is None
