"""A synthetic study: a space, and a score that is known for every configuration."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from shapes import VIT

from autopeft.dsl import BoundSpace, read_space
from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.optimize import Suggester
from autopeft.pareto import hypervolume
from autopeft.registry import space_text

SHAPE = VIT
LIMIT = 10_000


def space(name: str = "autopeft", limit: int = LIMIT) -> BoundSpace:
    return read_space(space_text(name), name).bind(SHAPE, limit)


def score(bound: BoundSpace, configuration: Configuration) -> float:
    """Like an accuracy: grows with the log of the parameters, prefers late layers, one kind and one rate."""
    size = bound.cost_coordinate(bound.cost(bound.assignment(configuration)))
    late = sum(m.layers.count(3) + 0.5 * m.layers.count(2) for m in configuration.modules)
    late /= len(configuration.modules)
    serial = any(dict(m.options).get("position") == "serial" for m in configuration.modules)
    off = math.log10(configuration.learning_rate / 2e-3)
    return 0.5 + 0.2 * size + 0.1 * min(late, 1.0) + 0.08 * serial - 0.25 * off**2


def trial(
    bound: BoundSpace,
    number: int,
    configuration: Configuration,
    status: TrialStatus = TrialStatus.COMPLETE,
    scores: float | None = None,
) -> Trial:
    value = score(bound, configuration) if scores is None else scores
    return Trial(
        id=number,
        number=number,
        kind=TrialKind.SEARCH,
        configuration=configuration,
        trainable=bound.cost(bound.assignment(configuration)),
        seed=0,
        status=status,
        scores={1: value} if status is TrialStatus.COMPLETE else {},
    )


def run(
    suggest: Suggester,
    bound: BoundSpace,
    n: int,
    seed: int,
    statuses: Sequence[TrialStatus] = (TrialStatus.COMPLETE,),
) -> list[Trial]:
    """A study of n trials whose statuses go round; what is pending is complete four trials later."""
    trials: list[Trial] = []
    for number in range(n):
        for i, earlier in enumerate(trials[:-4]):
            if earlier.status in (TrialStatus.RUNNING, TrialStatus.WAITING):
                value = score(bound, earlier.configuration)
                trials[i] = replace(earlier, status=TrialStatus.COMPLETE, scores={1: value})
        configuration = suggest(bound, trials, seed)
        trials.append(trial(bound, number, configuration, statuses[number % len(statuses)]))
    return trials


def some_trials(bound: BoundSpace, n: int, seed: int = 0, pending: int = 0) -> list[Trial]:
    """Random trials with noisy scores, the last of them still running."""
    rng = random.Random(seed)
    found = []
    for number, assignment in enumerate(bound.sample(rng, n + pending)):
        configuration = bound.configuration(assignment)
        status = TrialStatus.COMPLETE if number < n else TrialStatus.RUNNING
        noisy = score(bound, configuration) + rng.gauss(0, 0.02)
        found.append(trial(bound, number, configuration, status, noisy))
    return found


def front_volume(bound: BoundSpace, trials: Sequence[Trial]) -> float:
    points = [(t.score, t.trainable) for t in trials if t.score is not None]
    return hypervolume(points, reference_score=0.4, smallest=bound.smallest, limit=bound.limit)


def tiny() -> BoundSpace:
    """A space of six configurations."""
    text = (
        "name: tiny\nlayers: {subset: [0, 1]}\nmodules: {p: {type: prefix, size: {choice: [1, 2]}}}\n"
        "training: {learning_rate: 0.001}\n"
    )
    return read_space(text, "t").bind(SHAPE, 10_000)
