"""Optuna's samplers by name, over the same space and trials."""

import math
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.dsl import BoundSpace, Interval, Levels
from autopeft.dsl.decisions import met
from autopeft.nouns import Configuration, Trial, TrialStatus
from autopeft.optimize.suggest import fresh, generator, searched

_ASKS = 20


def suggest_optuna(sampler: str, space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
    """The next configuration of an Optuna sampler: maximise the score, minimise the cost; a `Suggester`.

    The study is rebuilt from the trials at every call. What the sampler proposes outside the budget is shrunk
    into it; what is already known is asked again, at most twenty times, and then sampled.

    Args:
        sampler: `tpe`, `nsgaii` or `gp`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = searched(trials)
    rng = generator(seed, trials)
    samplers: dict[str, type[optuna.samplers.BaseSampler]] = {
        "tpe": optuna.samplers.TPESampler,
        "nsgaii": optuna.samplers.NSGAIISampler,
        "gp": optuna.samplers.GPSampler,
    }
    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=samplers[sampler](seed=rng.getrandbits(31)),
    )
    for trial in trials:
        _add(study, space, trial)
    known = {trial.configuration.key for trial in trials}
    for _ in range(_ASKS):
        configuration = space.configuration(space.to_optuna(study.ask()))
        if configuration.key not in known:
            return configuration
    return space.configuration(fresh(space, trials, rng, 1)[0])


def _distribution(decision: Levels | Interval) -> BaseDistribution:
    """As `Levels.ask` and `Interval.ask` ask for it: the index of what is ordered, categories of the rest."""
    if isinstance(decision, Levels):
        if decision.by_index:
            return IntDistribution(0, len(decision.values) - 1)
        return CategoricalDistribution(decision.values)
    if decision.whole:
        return IntDistribution(int(decision.low), int(decision.high), log=decision.log)
    return FloatDistribution(decision.low, decision.high, log=decision.log)


def _add(study: optuna.Study, space: BoundSpace, trial: Trial) -> None:
    assignment = space.assignment(trial.configuration)
    params, distributions = {}, {}
    for decision, value in zip(space.decisions, assignment, strict=True):
        if met(decision.needs, assignment):  # what was asked for
            by_index = isinstance(decision, Levels) and decision.by_index
            distributions[decision.name] = _distribution(decision)
            params[decision.name] = decision.position(value) if by_index else value  # type: ignore[union-attr]
    states = {
        TrialStatus.COMPLETE: optuna.trial.TrialState.COMPLETE,
        TrialStatus.FAILED: optuna.trial.TrialState.FAIL,
    }
    state = states.get(trial.status, optuna.trial.TrialState.RUNNING)
    values = [trial.score, float(trial.trainable)] if trial.score is not None else None
    if trial.score is not None and not math.isfinite(trial.score):
        state, values = optuna.trial.TrialState.FAIL, None
    study.add_trial(
        optuna.trial.create_trial(state=state, params=params, distributions=distributions, values=values)
    )
