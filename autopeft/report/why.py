"""Why configurations are good: what each decision is worth, and how far the surrogate can be believed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from autopeft.dsl import BoundSpace, Levels, read_space
from autopeft.errors import AutopeftError
from autopeft.nouns import BackboneShape, Study, Trial, TrialKind, TrialStatus
from autopeft.tasks.direction import oriented

_FOREST_TRIALS = 400  # that fANOVA is told: its forest takes seconds with more, and hardly changes
_FOLDS = 5
_FOLDED = 150  # observations that the surrogate's check is made with


@dataclass(frozen=True)
class Foretold:
    """What the surrogate says of a trial that it was not told, and what was measured.

    Attributes:
        number: The trial.
        mean: What was foretold, in values of the metric.
        deviation: Its standard deviation, the measurement's noise included.
        measured: What was measured.
    """

    number: int
    mean: float
    deviation: float
    measured: float

    @property
    def within(self) -> float:
        """How many standard deviations lie between the two."""
        return abs(self.measured - self.mean) / max(self.deviation, 1e-12)


def space_of(study: Study) -> BoundSpace | None:
    """The study's space on its backbone; None where the study does not say enough for it, or the space is no longer one."""
    written, recorded = study.settings.get("space", {}).get("text"), study.settings["backbone"].get("shape")
    if not written or recorded is None:
        return None
    try:
        space = read_space(written, study.settings["space"]["name"])
        return space.bind(BackboneShape.from_json(recorded), study.limit)
    except AutopeftError:
        return None


def decisions(space: BoundSpace, trials: Sequence[Trial], metric: str) -> pd.DataFrame:
    """A row for each complete trial of the search: `number`, `trainable`, `score` (in values of the metric), `seconds`, further
    objectives, and the value of every decision by its name; a decision without effect is at its default.
    """
    rows = []
    for trial in trials:
        if trial.kind is not TrialKind.SEARCH or trial.status is not TrialStatus.COMPLETE:
            continue
        try:
            assignment = space.assignment(trial.configuration)
        except ValueError:
            continue  # of a space that has changed its meaning since
        known = {d.name: value for d, value in zip(space.decisions, assignment, strict=True)}
        rows.append(
            {
                "number": trial.number,
                "trainable": trial.trainable,
                **trial.measurements,
                "score": oriented(metric, trial.score),
                **known,
            }
        )
    return pd.DataFrame(rows)


def importance(space: BoundSpace, table: pd.DataFrame, objective: str) -> dict[str, float]:
    """How much of an objective's variance each decision explains, the most important first; they add up to 1.

    Hutter, Hoos and Leyton-Brown (2014), "An efficient approach for assessing hyperparameter importance", ICML: fANOVA, as
    Optuna has it. Empty with fewer than four trials, or where all have the same value.

    Args:
        space: The space.
        table: As `decisions` has it.
        objective: A column of it.
    """
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    told = table[table[objective].notna()] if objective in table else table[:0]
    if len(told) < 4 or told[objective].nunique() < 2:
        return {}
    if len(told) > _FOREST_TRIALS:
        told = told.sample(_FOREST_TRIALS, random_state=0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    varied = [d for d in space.decisions if told[d.name].nunique() > 1]
    distributions: dict[str, BaseDistribution] = {
        d.name: CategoricalDistribution(d.values)
        if isinstance(d, Levels) and not d.ordered
        else FloatDistribution(0.0, 1.0)
        for d in varied
    }
    for row in told.to_dict("records"):
        params = {
            d.name: row[d.name] if isinstance(d, Levels) and not d.ordered else d.place(row[d.name])
            for d in varied
        }
        value = float(row[objective])
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, values=[value]))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def foretold(space: BoundSpace, trials: Sequence[Trial], metric: str) -> list[Foretold]:
    """The surrogate held against what it was not told: cross-validated over five parts, without any prior.

    Empty with fewer than ten complete trials.
    """
    import torch

    from autopeft.optimize.features import features_of
    from autopeft.optimize.observation import Observation
    from autopeft.optimize.surrogate import fit_surrogate

    seen: list[tuple[Trial, Observation]] = []
    for trial in trials:
        if trial.kind is TrialKind.SEARCH and trial.score is not None:
            try:
                seen.append((trial, Observation(space.assignment(trial.configuration), trial.score)))
            except ValueError:
                continue
    if len(seen) < 2 * _FOLDS:
        return []
    draw = random.Random(0)
    if len(seen) > _FOLDED:
        seen = draw.sample(seen, _FOLDED)
    draw.shuffle(seen)
    features, found = features_of(space), []
    for fold in range(_FOLDS):
        held = seen[fold::_FOLDS]
        surrogate = fit_surrogate(features, [one for i, (_, one) in enumerate(seen) if i % _FOLDS != fold])
        with torch.no_grad():
            points = surrogate.numbers([one.assignment for _, one in held])
            mean, covariance = surrogate.posterior(points)
        deviations = (covariance.diagonal().clamp_min(0) + surrogate.noise).sqrt()
        found += [
            Foretold(
                trial.number,
                float(oriented(metric, float(m))),
                float(s),
                float(oriented(metric, one.score or 0.0)),
            )
            for (trial, one), m, s in zip(held, mean, deviations, strict=True)
        ]
    return sorted(found, key=lambda one: one.number)
