"""SMAC3, which installs beside autopeft: `pip install smac`.

Settings, by its documentation ("Multi-objective optimization", "Ask-and-tell interface" and the example "ParEGO"): the
hyperparameter optimisation facade (a random forest and expected improvement) with `ParEGO`; the facade's own Sobol start,
as long as ours; deterministic evaluations (`Scenario(deterministic=True)`), since otherwise its intensifier would spend a
third of the evaluations on repetitions; `retrain_after=1`, so that every proposal knows all results. Sizes are ordinal,
switches categorical. Costs are 1 - score and the log cost.
"""

import tempfile
import warnings
from collections.abc import Mapping

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, OrdinalHyperparameter
    from ConfigSpace import Configuration as Point
    from smac import HyperparameterOptimizationFacade, Scenario
    from smac.multi_objective.parego import ParEGO
    from smac.runhistory.dataclasses import TrialInfo, TrialValue

from autopeft.dsl import BoundSpace
from autopeft.nouns import Configuration
from autopeft.optimize.start import start_size
from peers.lattice import Lattice

_AHEAD = 20  # known points are told for nothing, and count as trials of the scenario all the same


class Smac:
    """A facade with its configuration space."""

    def __init__(self, space: BoundSpace, seed: int, evaluations: int) -> None:
        self._lattice = Lattice(space)
        self._asked: dict[str, list[tuple[TrialInfo, float]]] = {}
        self._config_space = config_space = ConfigurationSpace(seed=seed)
        for decision, size in zip(self._lattice.decisions, self._lattice.sizes, strict=True):
            positions = tuple(range(size))
            kind = OrdinalHyperparameter if decision.by_index else CategoricalHyperparameter
            config_space.add(kind(decision.name, positions))
        scenario = Scenario(
            config_space,
            objectives=["error", "cost"],
            n_trials=_AHEAD * evaluations,
            deterministic=True,
            seed=seed,
            output_directory=tempfile.mkdtemp(prefix="smac-"),
        )
        facade = HyperparameterOptimizationFacade
        self._facade = facade(
            scenario,
            lambda config, seed=0: 0.0,
            initial_design=facade.get_initial_design(scenario, n_configs=start_size(space), max_ratio=1.0),
            multi_objective_algorithm=ParEGO(scenario),
            config_selector=facade.get_config_selector(scenario, retrain_after=1),
            overwrite=True,
            logging_level=50,
        )

    def ask(self, n: int) -> list[Configuration]:
        """See `Peer`."""
        return [self._one() for _ in range(n)]

    def _one(self) -> Configuration:
        space = self._lattice.space
        while True:
            info = self._facade.ask()
            point = [int(info.config[decision.name]) for decision in self._lattice.decisions]
            assignment = self._lattice.assignment(point)
            cost = space.cost(assignment)
            place = space.cost_coordinate(cost)
            if cost <= space.limit:
                configuration = space.configuration(assignment)
                self._asked.setdefault(configuration.key, []).append((info, place))
                return configuration
            self._tell(info, 1.0, 1.0)  # over the budget

    def tell(self, configuration: Configuration, values: Mapping[str, float]) -> None:
        """See `Peer`."""
        asked = self._asked.get(configuration.key)
        if asked:
            info, place = asked.pop(0)
        else:
            point = self._lattice.point(self._lattice.space.assignment(configuration))
            names = [decision.name for decision in self._lattice.decisions]
            values_of = dict(zip(names, point, strict=True))
            info, place = TrialInfo(Point(self._config_space, values_of), seed=0), self._lattice.cost(point)
        self._tell(info, 1 - values["score"], place)

    def _tell(self, info: TrialInfo, error: float, cost: float) -> None:
        self._facade.tell(info, TrialValue(cost=[error, cost]), save=False)


def make(space: BoundSpace, seed: int, evaluations: int) -> Smac:
    return Smac(space, seed, evaluations)
