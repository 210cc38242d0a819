"""What every suggester promises."""

import itertools
import statistics
from dataclasses import replace

import pytest
import torch

from autopeft.dsl import BoundSpace, Interval, read_space
from autopeft.errors import UnknownNameError, UsedUpError
from autopeft.nouns import Configuration, Module, Trial, TrialKind, TrialStatus
from autopeft.optimize import SAMPLERS, find_suggester
from autopeft.optimize.suggest import fresh, generator, spread, tuned_rates

from . import problem

torch.set_num_threads(1)
STATUSES = (
    TrialStatus.COMPLETE,
    TrialStatus.COMPLETE,
    TrialStatus.RUNNING,
    TrialStatus.COMPLETE,
    TrialStatus.FAILED,
    TrialStatus.WAITING,
)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_never_known_and_never_over_budget(sampler: str) -> None:
    """Thirty trials of which some are pending, and some failed."""
    bound = problem.space(limit=2_000)
    n = {"botorch": 20, "optuna:gp": 12}.get(sampler, 30)  # the two that are slow
    trials = problem.run(find_suggester(sampler), bound, n, seed=0, statuses=STATUSES)
    assert len({t.configuration.key for t in trials}) == n
    assert all(bound.smallest <= t.trainable <= bound.limit for t in trials)
    assert all(bound.valid(bound.assignment(t.configuration)) for t in trials)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("n", [0, 3, 14])
def test_a_function_of_space_trials_and_seed(sampler: str, n: int) -> None:
    trials = problem.some_trials(problem.space(), n, pending=n // 7)
    suggestions = [find_suggester(sampler)(problem.space(), trials, seed) for seed in (0, 0, 1)]
    assert suggestions[0] == suggestions[1]
    if sampler != "botorch" or n == 0:  # once it has a model, another seed may well agree
        assert suggestions[0] != suggestions[2]


def test_an_unknown_sampler_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError) as raised:
        find_suggester("optuna:tpee")
    assert str(raised.value) == (
        "unknown sampler 'optuna:tpee': known are botorch, random, optuna:tpe, optuna:nsgaii, optuna:gp. "
        "Did you mean 'optuna:tpe'?"
    )


def tiny() -> BoundSpace:
    """A space of six configurations."""
    text = (
        "name: tiny\nlayers: {subset: [0, 1]}\nmodules: {p: {type: prefix, size: {choice: [1, 2]}}}\n"
        "training: {learning_rate: 0.001}\n"
    )
    return read_space(text, "t").bind(problem.SHAPE, 10_000)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_small_space_is_used_up_and_then_says_so(sampler: str) -> None:
    bound = tiny()
    suggest = find_suggester(sampler)
    trials: list[Trial] = []
    for number in range(6):
        configuration = suggest(bound, trials, 0)
        trials.append(problem.trial(bound, number, configuration, scores=0.1 * number))
    assert len({t.configuration for t in trials}) == 6
    with pytest.raises(UsedUpError, match="every configuration of the space has been tried"):
        suggest(bound, trials, 0)


def test_fresh_gives_what_there_is() -> None:
    bound = tiny()
    assert len(set(fresh(bound, [], generator(0, []), 256))) == 6


def start(seed: int, n: int) -> list[Configuration]:
    bound = problem.space()
    trials: list[Trial] = []
    for number in range(n):
        configuration = spread(bound, trials, seed)
        trials.append(problem.trial(bound, number, configuration))
    return [t.configuration for t in trials]


@pytest.mark.parametrize("seed", range(5))
def test_the_start_is_spread_over_cost_and_learning_rate(seed: int) -> None:
    """Of nine points no two rates are close, neither range has a wide gap, and one does not follow the other."""
    bound = problem.space()
    vectors = [bound.encode(bound.assignment(c)).vector for c in start(seed, 9)]
    rates = sorted(v[-2] for v in vectors)
    assert all(b - a > 0.06 for a, b in itertools.pairwise(rates))
    assert max(b - a for a, b in itertools.pairwise([0.0, *rates, 1.0])) < 0.3
    costs = sorted(v[-1] for v in vectors)
    assert max(b - a for a, b in itertools.pairwise([0.0, *costs, 1.0])) < 0.5
    correlation = statistics.correlation([v[-2] for v in vectors], [v[-1] for v in vectors])
    assert abs(correlation) < 0.7


def test_the_start_is_not_at_the_ends_of_the_learning_rate() -> None:
    places = [
        problem.space().encode(problem.space().assignment(c)).vector[-2]
        for s in range(10)
        for c in start(s, 8)
    ]
    assert 0.05 < statistics.mean(p < 0.1 or p > 0.9 for p in places) < 0.35
    assert statistics.quantiles(places, n=4) == pytest.approx([0.25, 0.5, 0.75], abs=0.1)


def test_the_start_never_repeats_a_trial() -> None:
    bound = tiny()
    trials: list[Trial] = []
    for number in range(6):
        trials.append(problem.trial(bound, number, spread(bound, trials, 0), scores=0.0))
    assert len({t.configuration for t in trials}) == 6


@pytest.mark.slow
def test_botorch_beats_random() -> None:
    """Hypervolume after 30 trials: the mean over four seeds, and each seed against the mean of random."""
    bound = problem.space()
    volumes = {
        name: [
            problem.front_volume(bound, problem.run(find_suggester(name), bound, 30, seed))
            for seed in range(seeds)
        ]
        for name, seeds in (("botorch", 4), ("random", 20))
    }
    spread_of_random = statistics.stdev(volumes["random"])
    assert statistics.mean(volumes["botorch"]) > statistics.mean(volumes["random"]) + 2 * spread_of_random
    assert min(volumes["botorch"]) > statistics.mean(volumes["random"])


def test_the_start_looks_near_the_best_baseline() -> None:
    bound = problem.space()
    lora = Module("lora", 1, (0,), (("alpha", 2), ("sites", ("q",))))
    trials = [
        Trial(i, i, kind, Configuration.of([lora], rate), 10, 0, TrialStatus.COMPLETE, scores={1: score})
        for i, (kind, rate, score) in enumerate(
            [(TrialKind.HEAD_ONLY, 1e-4, 0.3), (TrialKind.LORA_QV, 1e-3, 0.7), (TrialKind.LORA_QV, 1e-1, 0.1)]
        )
    ]
    suggest = find_suggester("botorch")
    rate = bound.decisions[-1]
    assert isinstance(rate, Interval)
    low, high = tuned_rates(bound, trials)
    assert high - low <= 0.5
    assert low <= rate.place(1e-3) <= high
    for number in range(3, 8):
        configuration = suggest(bound, trials, 0)
        assert low - 0.01 <= rate.place(configuration.learning_rate) <= high + 0.01
        trials.append(Trial(number, number, TrialKind.SEARCH, configuration, 10, 0, TrialStatus.RUNNING))
    assert tuned_rates(bound, []) == (0.0, 1.0)
    running = replace(
        trials[2], status=TrialStatus.RUNNING, scores={}
    )  # LoRA is not tuned yet: the heads speak
    assert tuned_rates(bound, [*trials[:2], running])[0] == 0.0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_baselines_are_no_points_of_the_space(sampler: str) -> None:
    bound = problem.space()
    foreign = Trial(
        0, 0, TrialKind.HEAD_ONLY, Configuration.of([], 1e-3), 0, 0, TrialStatus.COMPLETE, scores={1: 0.5}
    )
    configuration = find_suggester(sampler)(bound, [foreign], 0)
    assert configuration == find_suggester(sampler)(bound, [foreign], 0)
    assert bound.valid(bound.assignment(configuration))
