"""A study whose objectives are not score and trainable alone: its suggester, and its hypervolume.

The first suggestions are those of a search of score and trainable parameters without a probe: spread over cost, and over
learning rates near the baselines' best. Then they are those of `autopeft.optimize.general`, on the search's trials: a complete
one is told, one under way is pending, one that failed is known and teaches nothing. What the default search knows beyond
that (the probe, earlier studies, scores of trials that were stopped) speaks of the score against the parameters only, and
takes no part.
"""

import math
from collections.abc import Sequence

import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume

from autopeft.confirmation import FOUND
from autopeft.dsl import BoundSpace
from autopeft.nouns import Configuration, Trial, TrialKind
from autopeft.optimize.general import TRAINABLE, Told, find_general
from autopeft.optimize.observation import observations, searched
from autopeft.optimize.start import start, start_size
from autopeft.optimize.suggest import Suggester, tuned_rates
from autopeft.pareto import REFERENCE_COST
from autopeft.registry import Objective
from autopeft.trade_off import values_of

_BASELINES = (TrialKind.HEAD_ONLY, TrialKind.LORA_QV)
_BEYOND = math.log(2)  # on a log scale, volume is counted from twice the worst baseline


def find_suggester_of(sampler: str, objectives: Sequence[Objective]) -> Suggester:
    """The suggester with this name, for a study of these objectives.

    Raises:
        UnknownNameError: There is none.
    """
    propose = find_general(sampler)

    def suggest(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
        known = told(space, trials, objectives)
        if sampler == "botorch" and (
            len(known) < start_size(space) or sum(one.complete for one in known) < 2
        ):
            seen = observations(space, trials)
            return space.configuration(start(space, seen, seed, tuned_rates(space, trials)))
        return space.configuration(propose(space, objectives, known, seed))

    return suggest


def told(space: BoundSpace, trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Told]:
    """What a study's search trials say of the objectives that are measured."""
    measured = [objective.name for objective in objectives if not objective.known]
    found = []
    for trial in searched(trials):
        assignment = space.assignment(trial.configuration)
        if not trial.status.final:
            found.append(Told(assignment, None))
            continue
        values = values_of(trial, objectives) or dict.fromkeys(measured, math.nan)
        found.append(Told(assignment, {name: values[name] for name in measured}))
    return found


def reference_point(
    trials: Sequence[Trial], objectives: Sequence[Objective], reference_score: float
) -> list[float] | None:
    """From where volume is counted, as coordinates: what the baselines, which are through, came to.

    Of the score it is the reference of every study: the best of the frozen backbone with its head only. Of trainable
    parameters it is a tenth of the scale beyond the budget. Of all others it is the worst baseline's value, and beyond: twice
    as much (or half of it, where more is better) where ratios count, else by as much as the worst is from the best.

    Returns:
        None while a baseline is under way, and where none is complete.
    """
    baselines = [trial for trial in trials if trial.kind in _BASELINES]
    found = [values for trial in baselines if (values := values_of(trial, objectives))]
    if not found or not all(trial.status.final for trial in baselines):
        return None
    point = []
    for objective in objectives:
        coordinates = [objective.coordinate(values[objective.name]) for values in found]
        worst, best = min(coordinates), max(coordinates)
        if objective.name == "score":
            point.append(objective.coordinate(reference_score))
        elif objective.name == TRAINABLE:
            point.append(-REFERENCE_COST)
        else:
            point.append(worst - (_BEYOND if objective.log else best - worst))
    return point


def hypervolume(
    space: BoundSpace, trials: Sequence[Trial], objectives: Sequence[Objective], reference: Sequence[float]
) -> float:
    """The volume that the search's complete trials dominate, above the reference point.

    Axes are the objectives' coordinates (logarithms where ratios count), and of trainable parameters the place in the
    budget, from 0 at the cheapest configuration to 1 at the limit, as in `autopeft.pareto.hypervolume`.

    Args:
        space: The study's.
        trials: All of the study.
        objectives: Its objectives.
        reference: From `reference_point`.
    """
    points = []
    for trial in trials:
        values = values_of(trial, objectives) if trial.kind in FOUND else None
        if values is not None:
            points.append(
                [
                    -space.cost_coordinate(trial.trainable)
                    if objective.name == TRAINABLE
                    else objective.coordinate(values[objective.name])
                    for objective in objectives
                ]
            )
    if not points:
        return 0.0
    volume = Hypervolume(torch.tensor(reference, dtype=torch.float64))
    return float(volume.compute(torch.tensor(points, dtype=torch.float64)))
