"""A study's trials as columns of plain values: all that charts of a large study need, without its configurations."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ScalarSelect, Select, case, func, select
from sqlalchemy.orm import Session

from autopeft.nouns import TrialStatus
from autopeft.store.rows import SCORE
from autopeft.store.tables import FrontRow, MeasurementRow, StudyRow, TrialRow

COLUMNS = ("number", "kind", "status", "trainable", "seed", "attempt", "started_at", "finished_at")
"""What every trial has, in order; the objectives follow."""


def read_columns(session: Session, study_id: int, objectives: Sequence[str]) -> list[tuple[Any, ...]]:
    """A row for each trial, by number: `COLUMNS`, then the last value of each objective, None where there is none.

    A quarter of a second for each objective of 100,000 trials. The score of a trial that is not complete is that of its last
    rung so far.

    Args:
        session: The transaction.
        study_id: The study.
        objectives: Names, as they are in the database.
    """
    last = [_last_value(name) for name in objectives]
    columns = [getattr(TrialRow, name) for name in COLUMNS]
    found = session.execute(select(*columns, *last).where(TrialRow.study_id == study_id))
    return sorted(tuple(row) for row in found)


def _last_value(objective: str) -> ScalarSelect[Any]:
    # One step in the primary key for each trial: half the time of a join with the greatest rungs.
    of_trial = select(MeasurementRow.value).where(
        MeasurementRow.trial_id == TrialRow.id, MeasurementRow.objective == objective
    )
    if objective != SCORE:  # the whole trial's value, of rung 0, stands before those of its rungs
        of_trial = of_trial.order_by(case((MeasurementRow.rung == 0, 0), else_=1))
    return of_trial.order_by(MeasurementRow.rung.desc()).limit(1).scalar_subquery()


def read_stops(session: Session, study_id: int) -> dict[int, int]:
    """After how many epochs trials were stopped: rung to the number of trials that it was the last one of."""
    last = (
        select(func.max(MeasurementRow.rung).label("rung"))
        .join(TrialRow, TrialRow.id == MeasurementRow.trial_id)
        .where(
            TrialRow.study_id == study_id,
            TrialRow.status == TrialStatus.STOPPED,
            MeasurementRow.objective == SCORE,
        )
        .group_by(TrialRow.id)
        .subquery()
    )
    found = session.execute(select(last.c.rung, func.count()).group_by(last.c.rung)).all()
    return {row[0]: row[1] for row in found}


def read_version(session: Session, study_id: int | None) -> tuple[Any, ...]:
    """What is another one whenever something has changed that is shown of a study; of all studies, if none is given.

    Counts by status, from an index, and the last stored front; of one study also what its running trials have reported.
    """
    trials = select(TrialRow.study_id, TrialRow.kind, TrialRow.status, func.count())
    studies = select(StudyRow.id, StudyRow.front_complete, StudyRow.reference_score)
    fronts = select(func.max(FrontRow.id))
    queries: list[Select[*tuple[Any, ...]]] = [trials, studies, fronts]
    if study_id is not None:
        live = (TrialRow.study_id == study_id) & (TrialRow.status == TrialStatus.RUNNING)
        reports = select(func.count(), func.sum(MeasurementRow.rung)).join(
            TrialRow, TrialRow.id == MeasurementRow.trial_id
        )
        queries = [
            trials.where(TrialRow.study_id == study_id),
            studies.where(StudyRow.id == study_id),
            fronts.where(FrontRow.study_id == study_id),
            reports.where(live),
            select(func.sum(TrialRow.attempt)).where(live),
        ]
    queries[0] = queries[0].group_by(TrialRow.study_id, TrialRow.kind, TrialRow.status)
    return tuple(tuple(sorted(tuple(row) for row in session.execute(query))) for query in queries)
