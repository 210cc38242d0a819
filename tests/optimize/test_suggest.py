"""What every suggester promises."""

import statistics
from dataclasses import replace

import pytest
import torch

from autopeft.dsl import Interval
from autopeft.errors import UnknownNameError, UsedUpError
from autopeft.nouns import Configuration, Module, Trial, TrialKind, TrialStatus
from autopeft.optimize import SAMPLERS, find_suggester
from autopeft.optimize.suggest import tuned_rates

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


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_small_space_is_used_up_and_then_says_so(sampler: str) -> None:
    bound = problem.tiny()
    suggest = find_suggester(sampler)
    trials: list[Trial] = []
    for number in range(6):
        configuration = suggest(bound, trials, 0)
        trials.append(problem.trial(bound, number, configuration, scores=0.1 * number))
    assert len({t.configuration for t in trials}) == 6
    with pytest.raises(UsedUpError, match="every configuration of the space has been tried"):
        suggest(bound, trials, 0)


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
