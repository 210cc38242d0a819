"""Optuna's samplers by name, over the same space and observations."""

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.dsl import Assignment, BoundSpace, Interval, Levels, SearchSpace
from autopeft.dsl.decisions import met
from autopeft.optimize.observation import Observation
from autopeft.optimize.start import fresh, generator

_ASKS = 20


def propose_optuna(sampler: str, space: BoundSpace, seen: Sequence[Observation], seed: int) -> Assignment:
    """The next point of an Optuna sampler: maximise the score, minimise the cost.

    The study is rebuilt from the observations at every call. What the sampler proposes outside the budget is shrunk
    into it; what is already known is asked again, at most twenty times, and then sampled.

    Args:
        sampler: `tpe`, `nsgaii` or `gp`.
        space: The space.
        seen: All observations so far.
        seed: Of everything random.

    Raises:
        UsedUpError: Every point is known.
    """
    rows: list[tuple[Assignment, list[float] | None]] = [
        (one.assignment, None if one.score is None else [one.score, float(space.cost(one.assignment))])
        for one in seen
    ]
    return ask_optuna(sampler, space, ["maximize", "minimize"], rows, seed)


def ask_optuna(
    sampler: str,
    space: SearchSpace,
    directions: Sequence[str],
    seen: Sequence[tuple[Assignment, Sequence[float] | None]],
    seed: int,
) -> Assignment:
    """The next point of an Optuna sampler, of any objectives; see `propose_optuna`.

    Args:
        sampler: `tpe`, `nsgaii` or `gp`.
        space: The space.
        directions: `maximize` or `minimize`, of each objective.
        seen: Points with their objectives: None while they are pending, one that is not finite if they failed.
        seed: Of everything random.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rng = generator(seed, len(seen))
    samplers: dict[str, type[optuna.samplers.BaseSampler]] = {
        "tpe": optuna.samplers.TPESampler,
        "nsgaii": optuna.samplers.NSGAIISampler,
        "gp": optuna.samplers.GPSampler,
    }
    study = optuna.create_study(
        directions=list(directions),
        sampler=samplers[sampler](seed=rng.getrandbits(31)),
    )
    for assignment, values in seen:
        _add(study, space, assignment, values)
    known = {assignment for assignment, _ in seen}
    for _ in range(_ASKS):
        point = space.canonical(space.to_optuna(study.ask()))
        if point not in known:
            return point
    return fresh(space, known, rng, 1)[0]


def _distribution(decision: Levels | Interval) -> BaseDistribution:
    """As `Levels.ask` and `Interval.ask` ask for it: the index of what is ordered, categories of the rest."""
    if isinstance(decision, Levels):
        if decision.by_index:
            return IntDistribution(0, len(decision.values) - 1)
        return CategoricalDistribution(decision.values)
    if decision.whole:
        return IntDistribution(int(decision.low), int(decision.high), log=decision.log)
    return FloatDistribution(decision.low, decision.high, log=decision.log)


def _add(
    study: optuna.Study, space: SearchSpace, assignment: Assignment, values: Sequence[float] | None
) -> None:
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for decision, value in zip(space.decisions, assignment, strict=True):
        if met(decision.needs, assignment):  # what was asked for
            by_index = isinstance(decision, Levels) and decision.by_index
            distributions[decision.name] = _distribution(decision)
            params[decision.name] = decision.position(value) if by_index else value  # type: ignore[union-attr]
    states = optuna.trial.TrialState
    told = list(values) if values is not None and all(map(math.isfinite, values)) else None
    state = states.COMPLETE if told else states.RUNNING if values is None else states.FAIL
    study.add_trial(
        optuna.trial.create_trial(state=state, params=params, distributions=distributions, values=told)
    )
