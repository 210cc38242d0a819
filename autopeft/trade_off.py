"""What the trials of a study are compared by: their values of its objectives, and which of them are on the front.

Score against trainable parameters, what a search is for by default, has functions of its own in `autopeft.pareto`: a front in
O(n log n), and a knee that knows that parameters are counted on a log scale inside a budget. All other objectives are
compared as coordinates (`Objective.coordinate`).
"""

from collections.abc import Mapping, Sequence

from autopeft import pareto
from autopeft.nouns import Trial
from autopeft.registry import TRADE_OFF, Objective

Values = Mapping[str, float]
"""By the objectives' names, in their units; `score` and `trainable` are always there."""


def is_default(objectives: Sequence[Objective]) -> bool:
    """Whether it is score against trainable parameters; also meant where nothing is said."""
    return not objectives or {objective.name for objective in objectives} == set(TRADE_OFF)


def further(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """The objectives besides score and trainable, which every trial says."""
    return tuple(objective for objective in objectives if objective.name not in TRADE_OFF)


def values_of(trial: Trial, objectives: Sequence[Objective]) -> Values | None:
    """A trial's values; None unless it is complete and has all of them."""
    if trial.score is None:
        return None
    found = {"score": trial.score, "trainable": float(trial.trainable)}
    for objective in further(objectives):
        if objective.name not in trial.measurements:
            return None
        found[objective.name] = trial.measurements[objective.name]
    return found


def front(values: Sequence[Values], objectives: Sequence[Objective]) -> list[int]:
    """Indices of those that no other dominates, by ascending trainable parameters."""
    if is_default(objectives):
        return pareto.front(_points(values))
    members = pareto.non_dominated(_coordinates(values, objectives))
    return sorted(members, key=lambda i: (values[i]["trainable"], -values[i]["score"], i))


def knee(values: Sequence[Values], objectives: Sequence[Objective]) -> int | None:
    """Index of the member of the front that is neither here nor there; None of no values.

    Of score against trainable parameters it is `pareto.knee`, of other objectives `pareto.nearest_to_ideal`.
    """
    if is_default(objectives):
        return pareto.knee(_points(values))
    return pareto.nearest_to_ideal(_coordinates(values, objectives))


def _points(values: Sequence[Values]) -> list[tuple[float, int]]:
    return [(one["score"], int(one["trainable"])) for one in values]


def _coordinates(values: Sequence[Values], objectives: Sequence[Objective]) -> list[tuple[float, ...]]:
    return [tuple(o.coordinate(one[o.name]) for o in objectives) for one in values]
