"""The trial that a person means."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autopeft.confirmation import FOUND, choose
from autopeft.errors import InputError, nearest
from autopeft.nouns import Study, Trial, TrialKind, TrialStatus
from autopeft.registry import Objective, objectives_of
from autopeft.report.bounds import Bound, is_bound, parse_bounds
from autopeft.report.summary import Row, summarise
from autopeft.tasks.direction import direction, oriented

if TYPE_CHECKING:
    from autopeft.store import Repository

NAMES = ("knee", "best")
"""What can be picked by name."""


def pick(repository: "Repository", study: Study, what: str) -> Trial:
    """The complete trial that `knee`, `best`, a trial's number or bounds mean.

    Args:
        repository: Where the study is.
        study: The study.
        what: `knee` or `best` of the front as `autopeft.confirmation.choose` has it; the number of any complete trial, a baseline's
            too; or bounds on the study's objectives (`autopeft.report.bounds`): the best score of the front within them, or, where
            the score itself is bounded, the fewest trainable parameters. Values are the front's: confirmed means, where there are.

    Raises:
        InputError: None of these, there is no front yet, nothing of it is within the bounds, or the trial is not complete.
        StudyError: There is no trial of that number.
    """
    if is_bound(what):
        return _within(repository, study, what)
    what = what.strip().lower()
    if what.isdecimal() and len(what) < 10:  # what a database's integer holds
        trial = repository.trial(study.id, int(what))
        if trial.kind is TrialKind.PROBE:
            raise InputError(
                f"trial {trial.number} cannot be picked: it is the probe, which trains no adapter."
            )
        if trial.status is TrialStatus.FAILED:
            raise InputError(
                f"trial {trial.number} cannot be picked: it failed ({trial.reason.rstrip('.')})."
            )
        if trial.status is TrialStatus.STOPPED:
            raise InputError(
                f"trial {trial.number} cannot be picked: it was stopped after epoch {max(trial.scores)}, so nothing of "
                "it was kept."
            )
        if trial.status is not TrialStatus.COMPLETE:
            raise InputError(
                f"trial {trial.number} cannot be picked: it is {trial.status.value}, not complete."
            )
        return trial
    if what not in NAMES:
        raise InputError(
            f"cannot pick '{what}': write knee, best, the number of a complete trial, or a bound such as trainable<=0.1%.",
            nearest(what, NAMES),
        )
    chosen = choose(repository.standing(study.id, FOUND).trials, objectives_of(study.settings))
    if chosen.knee is None or chosen.best is None:
        raise InputError(f"the study '{study.name}' has no front yet: no trial of its search is complete.")
    return chosen.knee if what == "knee" else chosen.best


def _within(repository: "Repository", study: Study, text: str) -> Trial:
    """The member of the front that bounds mean; see `pick`."""
    summary = summarise(repository, study)
    objectives = objectives_of(study.settings)
    bounds = parse_bounds(
        text,
        objectives,
        metric=summary.metric,
        direction=direction(summary.metric),
        parameters=summary.backbone_parameters,
    )
    if not summary.front:
        raise InputError(f"the study '{study.name}' has no front yet: no trial of its search is complete.")
    inside = [row for row in summary.front if all(_holds(bound, row) for bound in bounds)]
    if not inside:
        told = [
            f"{bound.objective.typed} is at best {_shown(_best(bound, summary.front))}"
            for bound in bounds
            if not any(_holds(bound, row) for row in summary.front)
        ]
        nearest_to = "; ".join(told) or "each is met by some of its trials, and no trial meets all"
        raise InputError(
            f"nothing on the front of '{study.name}' is within '{text}': {nearest_to}.", "Allow more."
        )
    if any(bound.objective.name == "score" for bound in bounds):
        chosen = min(inside, key=lambda row: (row.trainable, _worse(summary.metric, row)))
    else:
        chosen = min(inside, key=lambda row: (_worse(summary.metric, row), row.trainable))
    return repository.trial(study.id, chosen.number)


def _of(objective: Objective, row: Row) -> float:
    if objective.name == "score":
        return row.reported or 0.0
    if objective.name == "trainable":
        return float(row.trainable)
    value = row.reported_objective(objective.name)
    return math.nan if value is None else value


def _holds(bound: Bound, row: Row) -> bool:
    return bound.holds(_of(bound.objective, row))


def _best(bound: Bound, rows: Sequence[Row]) -> float:
    values = [_of(bound.objective, row) for row in rows]
    return min(values) if "<" in bound.test else max(values)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _worse(metric: str, row: Row) -> float:
    return -oriented(metric, row.reported or 0.0)
