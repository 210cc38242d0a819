"""Optuna's samplers by name, over the same space and trials."""

import math
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.dsl import BoundSpace, Choice
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
    distributions = _distributions(space)
    for trial in trials:
        _add(study, space, distributions, trial)
    known = {trial.configuration.key for trial in trials}
    for _ in range(_ASKS):
        asked = study.ask(distributions)
        assignment = tuple(
            d.values[asked.params[d.name]]
            if isinstance(d, Choice) and len(d.values) > 2
            else asked.params[d.name]
            for d in space.decisions
        )
        configuration = space.configuration(space.shrink(rng, assignment))
        if configuration.key not in known:
            return configuration
    return space.configuration(fresh(space, trials, rng, 1)[0])


def _distributions(space: BoundSpace) -> dict[str, BaseDistribution]:
    """Sizes are ordinal: their index is the parameter. Switches are categories."""
    found: dict[str, BaseDistribution] = {}
    for decision in space.decisions:
        if not isinstance(decision, Choice):
            found[decision.name] = FloatDistribution(decision.low, decision.high, log=decision.log)
        elif len(decision.values) > 2:
            found[decision.name] = IntDistribution(0, len(decision.values) - 1)
        else:
            found[decision.name] = CategoricalDistribution(decision.values)
    return found


def _add(
    study: optuna.Study, space: BoundSpace, distributions: dict[str, BaseDistribution], trial: Trial
) -> None:
    assignment = space.assignment(trial.configuration)
    params = {
        d.name: d.values.index(value) if isinstance(d, Choice) and len(d.values) > 2 else value
        for d, value in zip(space.decisions, assignment, strict=True)
    }
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
