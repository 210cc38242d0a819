"""Optuna's samplers, through its own ask and tell: maximise the score, minimise the log cost.

Settings, by the documentation of Optuna 5.0 (API reference of `optuna.samplers`):

- `TPESampler()`: `multivariate` is documented as chosen by the number of objectives, and as False for several. The
  multivariate one with `group` is measured beside it. No decision is conditional here, so `group` changes little.
- `NSGAIISampler(population_size=20)`: the documented default of 50 is two generations of a hundred evaluations; twenty
  make five. The default is measured beside it.
- `GPSampler()`: as it is; by default it does not take the objectives for deterministic, which the score is not.

The log cost rather than the cost: the front is judged on a log scale, and Gaussian processes like it better. Lists of
numbers are asked for by position, so that samplers see the order. The FAQ ("How can I ignore duplicated samples?")
returns the known value when parameters come again; the benchmark does that for every method. Switching everything off
means the head alone, whose score is known before a search begins, and which is told in the same way.
"""

from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import create_trial

from autopeft.dsl import BoundSpace, Levels
from autopeft.nouns import Configuration
from peers.lattice import Lattice


class OptunaSampler:
    """A study of one sampler."""

    def __init__(self, space: BoundSpace, sampler: optuna.samplers.BaseSampler) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._lattice = Lattice(space)
        self._study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        self._asked: dict[str, list[tuple[optuna.Trial, float]]] = {}

    def ask(self, n: int) -> list[Configuration]:
        """See `Peer`."""
        return [self._one() for _ in range(n)]

    def _one(self) -> Configuration:
        space = self._lattice.space
        while True:
            trial = self._study.ask()
            point = [d.position(d.ask(trial)) for d in self._lattice.decisions]
            assignment = self._lattice.assignment(point)
            cost = space.cost(assignment)
            if cost <= space.limit:
                configuration = space.configuration(assignment)
                self._asked.setdefault(configuration.key, []).append((trial, space.cost_coordinate(cost)))
                return configuration
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)  # over the budget

    def tell(self, configuration: Configuration, values: Mapping[str, float]) -> None:
        """See `Peer`."""
        asked = self._asked.get(configuration.key)
        if asked:
            trial, cost = asked.pop(0)
            self._study.tell(trial, [values["score"], cost])
            return
        point = self._lattice.point(self._lattice.space.assignment(configuration))
        params, distributions = {}, {}
        for decision, position in zip(self._lattice.decisions, point, strict=True):
            value = decision.values[position]
            params[decision.name] = position if decision.by_index else value
            distributions[decision.name] = _distribution(decision)
        cost = self._lattice.cost(point)
        self._study.add_trial(
            create_trial(params=params, distributions=distributions, values=[values["score"], cost])
        )


def _distribution(decision: Levels) -> BaseDistribution:
    # As `Levels.ask` asks for it.
    if decision.by_index:
        return IntDistribution(0, len(decision.values) - 1)
    return CategoricalDistribution(decision.values)


def make(space: BoundSpace, seed: int, evaluations: int, *, sampler: str) -> OptunaSampler:
    if sampler == "tpe":
        return OptunaSampler(space, optuna.samplers.TPESampler(seed=seed))
    if sampler == "tpe-multivariate":
        return OptunaSampler(space, optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True))
    if sampler == "nsgaii":
        return OptunaSampler(space, optuna.samplers.NSGAIISampler(seed=seed, population_size=20))
    if sampler == "nsgaii-50":
        return OptunaSampler(space, optuna.samplers.NSGAIISampler(seed=seed))
    if sampler == "gp":
        return OptunaSampler(space, optuna.samplers.GPSampler(seed=seed))
    raise ValueError(f"no sampler '{sampler}'")
