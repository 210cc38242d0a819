"""The confirmation as pure functions over trials."""

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.confirmation import choose, confirmed, confirming, missing, search_front
from autopeft.nouns import Configuration, Module, Trial, TrialKind, TrialStatus

SEED = 10


def configuration(size: int) -> Configuration:
    modules = [Module("lora", size, (0,), (("sites", ("q",)),))] if size else []
    return Configuration.of(modules, 1e-3)


def trial(
    number: int,
    size: int,
    score: float | None,
    kind: TrialKind = TrialKind.SEARCH,
    *,
    seed: int = SEED,
    status: TrialStatus = TrialStatus.COMPLETE,
    **measurements: float,
) -> Trial:
    """A trial whose trainable parameters are its size."""
    return Trial(
        id=number,
        number=number,
        kind=kind,
        configuration=configuration(size),
        trainable=size,
        seed=seed,
        status=status,
        scores={1: score} if score is not None else {},
        measurements=measurements,
        details={"confirmation_examples": 100} if "confirmation_score" in measurements else {},
    )


def confirm(number: int, size: int, seed: int, score: float, on_new: float, **measured: float) -> Trial:
    return trial(number, size, score, TrialKind.CONFIRM, seed=seed, confirmation_score=on_new, **measured)


HEADS = [trial(0, 0, 0.5, TrialKind.HEAD_ONLY)]
SEARCH = [trial(1, 1, 0.6), trial(2, 2, 0.55), trial(3, 3, 0.8), trial(4, 4, 0.9)]


def trials_of(pairs: list[tuple[Trial, int]], first: int = 100) -> list[Trial]:
    """Confirming trials for what is missing, as the driver adds them; complete."""
    return [
        confirm(first + i, of.trainable, seed, 0.5, 0.01 * of.trainable) for i, (of, seed) in enumerate(pairs)
    ]


def test_what_is_missing() -> None:
    pairs = missing([*HEADS, *SEARCH], 2)
    # Each first seed comes before a second one; 2 is dominated; the baseline is held against the front.
    assert [(of.number, seed) for of, seed in pairs] == [
        *((1, 11), (3, 11), (4, 11), (0, 11)),
        *((1, 12), (3, 12), (4, 12), (0, 12)),
    ]


def test_while_the_search_goes_on_only_the_baselines_are_settled() -> None:
    assert [(of.number, s) for of, s in missing([*HEADS, *SEARCH], 2, searched=False)] == [(0, 11), (0, 12)]
    tuning = [*HEADS, trial(9, 0, None, TrialKind.HEAD_ONLY, status=TrialStatus.RUNNING)]
    assert missing([*tuning, *SEARCH], 2, searched=False) == []


def test_nothing_is_confirmed_without_a_front() -> None:
    assert [of.number for of, _ in missing([*HEADS, *SEARCH], 1, expected=SEARCH[:2])] == [1, 3, 4, 2, 0]
    assert missing(HEADS, 3) == []
    assert missing([*HEADS, *SEARCH], 0) == []


def test_of_a_baseline_its_best_is_confirmed() -> None:
    heads = [trial(20 + i, 0, score, TrialKind.HEAD_ONLY) for i, score in enumerate((0.3, 0.5, 0.4))]
    assert [of.number for of, _ in missing([*heads, *SEARCH], 1)] == [1, 3, 4, 21]


@settings(deadline=None)
@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=8),
    seeds=st.integers(0, 4),
    more=st.integers(0, 3),
    taken=st.integers(0, 40),
)
def test_what_is_there_is_not_trained_again(scores: list[float], seeds: int, more: int, taken: int) -> None:
    study = [*HEADS, *(trial(i, i, score) for i, score in enumerate(scores, start=1))]
    pairs = missing(study, seeds)
    assert len(pairs) == seeds * (len(search_front(study)) + 1)
    there = trials_of(pairs[:taken])
    assert missing([*study, *there], seeds) == pairs[taken:]  # so an interrupted confirmation goes on
    every = trials_of(pairs)
    added = missing([*study, *every], seeds + more)
    assert len(added) == more * (len(search_front(study)) + 1)
    assert not {(of.configuration.key, seed) for of, seed in added} & {
        (t.configuration.key, t.seed) for t in every
    }
    assert all(seed > SEED for _, seed in added)  # none is the search's own training


def test_a_search_that_goes_further_confirms_its_new_members_only() -> None:
    study = [*HEADS, *SEARCH]
    anew = trials_of(missing(study, 3))
    further = [*study, *anew, trial(50, 5, 0.95)]
    assert [(of.number, seed) for of, seed in missing(further, 3)] == [(50, 11), (50, 12), (50, 13)]
    assert confirmed(further, SEARCH[3]) == confirmed([*study, *anew], SEARCH[3])


@settings(deadline=None)
@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=6), said=st.floats(0, 1))
def test_mean_standard_error_and_gap(scores: list[float], said: float) -> None:
    of = trial(1, 1, said)
    anew = [confirm(10 + i, 1, 11 + i, 0.5, score, test_score=score / 2) for i, score in enumerate(scores)]
    found = confirmed([of, *anew], of)
    assert found is not None
    assert found.mean == pytest.approx(statistics.fmean(scores))
    assert found.gap == pytest.approx(said - found.mean)
    assert (found.seeds, found.failed, found.held_back, found.examples) == (len(scores), 0, True, 100)
    assert found.validation_mean == 0.5
    assert found.test_mean == pytest.approx(found.mean / 2)
    if len(scores) == 1:
        assert found.standard_error is None
    else:
        error = statistics.stdev(scores) / math.sqrt(len(scores))
        assert found.standard_error == pytest.approx(error, abs=1e-12)
        assert found.test_standard_error == pytest.approx(error / 2, abs=1e-12)


def test_failed_and_open_trials_are_no_scores() -> None:
    of = SEARCH[0]
    failed = trial(30, 1, None, TrialKind.CONFIRM, seed=11, status=TrialStatus.FAILED)
    running = trial(31, 1, 0.1, TrialKind.CONFIRM, seed=12, status=TrialStatus.RUNNING)
    assert confirmed([of, failed, running], of) is None
    found = confirmed([of, failed, running, confirm(32, 1, 13, 0.6, 0.7)], of)
    assert found is not None
    assert (found.mean, found.seeds, found.failed, found.standard_error) == (0.7, 1, 1, None)


def test_where_nothing_is_held_back_the_seeds_are_all_that_is_new() -> None:
    of = SEARCH[0]
    found = confirmed([of, trial(30, 1, 0.4, TrialKind.CONFIRM, seed=11)], of)
    assert found is not None
    assert (found.mean, found.held_back, found.examples, found.test_mean) == (0.4, False, None, None)


def test_the_search_decides_until_all_of_its_front_is_confirmed() -> None:
    pairs = missing([*HEADS, *SEARCH], 1)
    part = trials_of(pairs[:2])
    chosen = choose([*HEADS, *SEARCH, *part])
    assert ([t.number for t in chosen.members], chosen.by_confirmed) == ([1, 3, 4], False)
    under_way = replace(confirm(9, 4, 11, 0.9, 0.1), status=TrialStatus.RUNNING)
    assert not choose([*HEADS, *SEARCH, *part, under_way]).by_confirmed


def test_the_winners_curse_costs_its_winner_the_place() -> None:
    anew = [confirm(10, 1, 11, 0.6, 0.58), confirm(11, 3, 11, 0.8, 0.79), confirm(12, 4, 11, 0.9, 0.7)]
    chosen = choose([*HEADS, *SEARCH, *anew])
    assert chosen.by_confirmed
    assert [t.number for t in chosen.members] == [1, 3]
    assert [t.number for t in chosen.fallen] == [4]
    assert chosen.knee is not None
    assert chosen.knee.number == 3


def test_what_was_confirmed_before_may_come_back() -> None:
    # 4 drove 5 off the search's front, but does not hold what it promised.
    driven_off = trial(5, 5, 0.89)
    anew = [
        *(confirm(10 + i, size, 11, 0.5, score) for i, (size, score) in enumerate([(1, 0.5), (3, 0.7)])),
        *(confirm(14, 4, 11, 0.5, 0.71), confirm(15, 5, 11, 0.5, 0.88)),
    ]
    chosen = choose([*HEADS, *SEARCH, driven_off, *anew])
    assert [t.number for t in chosen.members] == [1, 3, 4, 5]


def test_a_member_that_cannot_be_trained_again_falls() -> None:
    anew = [confirm(10, 1, 11, 0.6, 0.58), confirm(11, 3, 11, 0.8, 0.79)]
    failed = trial(12, 4, None, TrialKind.CONFIRM, seed=11, status=TrialStatus.FAILED)
    chosen = choose([*SEARCH, *anew, failed])
    assert ([t.number for t in chosen.members], [t.number for t in chosen.fallen]) == ([1, 3], [4])
    none = [trial(20 + i, i, None, TrialKind.CONFIRM, seed=11, status=TrialStatus.FAILED) for i in (1, 3, 4)]
    assert not choose([*SEARCH, *none]).by_confirmed  # nothing to choose by


def test_one_configuration_may_be_baseline_and_member() -> None:
    same = [trial(0, 1, 0.6, TrialKind.LORA_QV), trial(1, 1, 0.6), trial(2, 2, 0.7)]
    pairs = missing(same, 2)
    assert len(pairs) == 4  # it is trained anew once a seed
    anew = trials_of(pairs)
    assert len(confirming(anew, same[0])) == len(confirming(anew, same[1])) == 2


@settings(deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=10),
    baseline=st.floats(0, 1),
)
def test_the_confirmed_front_is_a_front(points: list[tuple[float, float]], baseline: float) -> None:
    study = [trial(i, i, said) for i, (said, _) in enumerate(points, start=1)]
    truth = {i: score for i, (_, score) in enumerate(points, start=1)}
    anew = [
        confirm(100 + i, of.trainable, seed, baseline, truth[of.trainable])
        for i, (of, seed) in enumerate(missing(study, 1))
    ]
    chosen = choose([*study, *anew])
    assert chosen.by_confirmed
    scores = [truth[t.trainable] for t in chosen.members]
    assert scores == sorted(set(scores))
    assert [t.trainable for t in chosen.members] == sorted(t.trainable for t in chosen.members)
    assert chosen.knee in chosen.members
    front = search_front(study)
    assert max(truth[t.trainable] for t in front) == scores[-1]
    assert {t.number for t in chosen.members} | {t.number for t in chosen.fallen} == {t.number for t in front}
