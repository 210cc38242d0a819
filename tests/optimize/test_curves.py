import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.optimize.curves import complete, foretold

FULL = 6


def curve(rng: random.Random, noise: float = 0.02) -> dict[int, float]:
    """Rises towards an end of its own; what is good at the end is good early, with noise."""
    end = rng.gauss(0.6, 0.05)
    return {e: end - 0.15 * (FULL - e) / FULL + rng.gauss(0, noise) for e in range(1, FULL + 1)}


def cut(whole: dict[int, float], rung: int) -> dict[int, float]:
    return {e: s for e, s in whole.items() if e <= rung}


def test_what_is_measured_is_sure_and_what_is_empty_unknown() -> None:
    assert complete([{1: 0.5, 2: 0.7}, {}, {1: 0.4}], 2)[:2] == [(0.7, 0.0), None]
    assert complete([], 3) == []


def test_with_nothing_to_learn_from_the_score_stays_and_is_unsure() -> None:
    ((mean, variance),) = [told for told in complete([{1: 0.5}], 3) if told]
    assert mean == 0.5
    assert variance >= 0.25
    told = complete([{1: 0.5}, {1: 0.6}], 3)
    assert [t and t[0] for t in told] == [0.5, 0.6]


@pytest.mark.parametrize("learnt", [2, 5, 20, 100])
def test_the_end_is_foretold_better_than_by_the_mean_and_as_well_as_it_says(learnt: int) -> None:
    rng = random.Random(learnt)
    errors, plain, scaled = [], [], []
    for _ in range(200):
        known = [curve(rng) for _ in range(learnt)]
        new = curve(rng)
        told = complete([*known, cut(new, 2)], FULL)[-1]
        assert told is not None
        errors.append(told[0] - new[FULL])
        scaled.append((told[0] - new[FULL]) ** 2 / told[1])
        plain.append(sum(c[FULL] for c in known) / learnt - new[FULL])
    rmse = math.sqrt(sum(e**2 for e in errors) / len(errors))
    assert rmse < math.sqrt(sum(e**2 for e in plain) / len(plain))
    assert sum(scaled) / len(scaled) < 1.5  # the variance is no boast
    if learnt >= 20:
        assert sum(scaled) / len(scaled) > 0.5  # and no cowardice
        assert rmse < 0.035  # of which the noise of the two ends is 0.028


def test_the_mean_comes_back() -> None:
    """Early scores that are noise alone: all are foretold to end alike."""
    rng = random.Random(0)
    known = [{1: rng.gauss(0.5, 0.1), 2: rng.gauss(0.7, 0.001)} for _ in range(300)]
    low, high = complete([*known, {1: 0.3}, {1: 0.7}], 2)[-2:]
    assert low is not None
    assert high is not None
    assert abs(high[0] - low[0]) < 0.05


def test_far_from_what_is_known_it_is_less_sure() -> None:
    rng = random.Random(0)
    known = [curve(rng) for _ in range(6)]
    near, far = complete([*known, {1: 0.5}, {1: -0.5}], FULL)[-2:]
    assert near is not None
    assert far is not None
    assert far[1] > near[1]


unhurried = settings(deadline=None, max_examples=60)  # the machine may be busy
scores = st.integers(-16, 16).map(lambda n: n / 16) | st.floats(-1, 1)
coarse = st.dictionaries(st.integers(1, 4), st.integers(-16, 16).map(lambda n: n / 16), max_size=4)
curves = st.dictionaries(st.integers(1, 4), scores, max_size=4)


@unhurried
@given(st.lists(curves, max_size=12))
def test_always_finite_and_never_sure_of_what_was_not_measured(found: list[dict[int, float]]) -> None:
    for one, told in zip(found, complete(found, 4), strict=True):
        assert (told is None) == (not one)
        if told is not None:
            assert math.isfinite(told[0])
            assert (told[1] == 0) == (4 in one)
            assert told[1] >= 0


@unhurried
@given(st.lists(coarse, min_size=1, max_size=8), st.sampled_from([0.5, 2.0, 64.0]))
def test_the_unit_of_the_score_does_not_matter(found: list[dict[int, float]], unit: float) -> None:
    if len({s for one in found for s in one.values()}) < 2:
        return
    scaled = [{e: unit * s for e, s in one.items()} for one in found]
    for told, other in zip(complete(found, 4), complete(scaled, 4), strict=True):
        if told is not None and other is not None:
            assert other[0] == pytest.approx(unit * told[0], rel=1e-3, abs=1e-5 * unit)


def test_trials_of_a_study() -> None:
    def trial(number: int, status: TrialStatus, scores: dict[int, float]) -> Trial:
        configuration = Configuration.of([], 1e-3)
        return Trial(number, number, TrialKind.SEARCH, configuration, 0, 0, status, scores=scores)

    ended = [trial(n, TrialStatus.COMPLETE, {1: 0.5 + n / 100, 3: 0.7 + n / 100}) for n in range(6)]
    others = [
        trial(6, TrialStatus.STOPPED, {1: 0.5}),
        trial(7, TrialStatus.RUNNING, {1: 0.5}),
        trial(8, TrialStatus.FAILED, {1: 0.5}),
        trial(9, TrialStatus.WAITING, {}),
    ]
    told = foretold([*ended, *others])
    assert told[:6] == [(t.score, 0.0) for t in ended]
    assert told[6] is not None
    assert told[6][0] == pytest.approx(0.7, abs=0.02)
    assert told[6][1] > 0
    assert told[7:] == [None, None, None]
    assert foretold(others) == [None] * 4
    early = trial(10, TrialStatus.COMPLETE, {1: 0.6, 2: 0.4})  # it got no better, and that was its end
    assert foretold([*ended, early])[-1] == (0.4, 0.0)
