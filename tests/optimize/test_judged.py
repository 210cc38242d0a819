"""The front by posterior means."""

import random
from dataclasses import replace

import torch

from autopeft.confirmation import search_front
from autopeft.nouns import Trial, TrialStatus
from autopeft.optimize.judged import expected_front

from . import problem

torch.set_num_threads(1)


def noisy(seed: int, trials: int = 40) -> list[Trial]:
    """Random trials whose scores are off by a tenth of their range or so."""
    bound, rng = problem.space(), random.Random(seed)
    found = []
    for number, assignment in enumerate(dict.fromkeys(bound.sample(rng, trials))):
        configuration = bound.configuration(assignment)
        luck = rng.gauss(0, 0.05)
        found.append(
            problem.trial(bound, number, configuration, scores=problem.score(bound, configuration) + luck)
        )
    return found


def truly(trials: list[Trial]) -> float:
    """Hypervolume of what some trials are really worth."""
    bound = problem.space()
    return problem.front_volume(bound, [problem.trial(bound, t.number, t.configuration) for t in trials])


def test_it_is_nearer_to_the_truth_than_the_scores_are() -> None:
    seeds = range(8)
    by_means = [truly(expected_front(problem.space(), noisy(seed))) for seed in seeds]
    by_scores = [truly(search_front(noisy(seed))) for seed in seeds]
    assert sum(by_means) > sum(by_scores)


def test_members_are_complete_and_by_cost() -> None:
    trials = noisy(0)
    trials[3] = replace(trials[3], status=TrialStatus.RUNNING, scores={})
    trials[4] = replace(trials[4], status=TrialStatus.FAILED, scores={})
    trials[5] = replace(trials[5], status=TrialStatus.STOPPED, scores={1: 2.0})
    front = expected_front(problem.space(), trials)
    assert all(t.score is not None for t in front)
    assert [t.trainable for t in front] == sorted(t.trainable for t in front)


def test_three_scores_at_least() -> None:
    assert expected_front(problem.space(), noisy(0)[:2]) == []
    assert expected_front(problem.space(), noisy(0)[:3])
