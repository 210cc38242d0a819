"""From rows to nouns."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Result, select
from sqlalchemy.orm import Session

from autopeft.nouns import Configuration, Front, Study, Trial, TrialKind, TrialStatus
from autopeft.store.tables import ArtifactRow, FrontMemberRow, FrontRow, MeasurementRow, StudyRow, TrialRow

SCORE = "score"
"""The objective whose values by rung are `Trial.scores`."""


def now() -> str:
    """The present as the database writes it: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def rows_changed(result: Result[Any]) -> int:
    """How many rows an UPDATE changed."""
    assert isinstance(result, CursorResult)
    return result.rowcount


def to_study(row: StudyRow) -> Study:
    """A study's noun."""
    return Study(
        id=row.id,
        name=row.name,
        settings=row.settings,
        limit=row.parameter_limit,
        space=row.space,
        reference_score=row.reference_score,
        created_at=row.created_at,
    )


def read_trials(session: Session, condition: ColumnElement[bool]) -> list[Trial]:
    """The trials that a condition on `TrialRow` selects, by number, in two queries however many they are."""
    found = session.execute(
        select(TrialRow, ArtifactRow.folder)
        .outerjoin(ArtifactRow, ArtifactRow.trial_id == TrialRow.id)
        .where(condition)
        .order_by(TrialRow.number)
    ).all()
    measured = session.execute(
        select(MeasurementRow.trial_id, MeasurementRow.objective, MeasurementRow.rung, MeasurementRow.value)
        .join(TrialRow, TrialRow.id == MeasurementRow.trial_id)
        .where(condition, MeasurementRow.value.is_not(None))
        .order_by(MeasurementRow.trial_id, MeasurementRow.rung)
    ).all()
    values = {
        trial_id: [(objective, rung, value) for _, objective, rung, value in rows if value is not None]
        for trial_id, rows in groupby(measured, key=lambda row: row.trial_id)
    }
    return [_to_trial(row, folder or "", values.get(row.id, [])) for row, folder in found]


def _to_trial(row: TrialRow, artifact: str, values: Sequence[tuple[str, int, float]]) -> Trial:
    scores = {rung: value for objective, rung, value in values if objective == SCORE and rung >= 1}
    # By ascending rung, so that the last value of a rung-wise objective stands; the whole trial's, of rung 0,
    # stands before them all.
    others = [(objective, value) for objective, rung, value in values if objective != SCORE and rung >= 1]
    others += [(objective, value) for objective, rung, value in values if objective != SCORE and rung == 0]
    return Trial(
        id=row.id,
        number=row.number,
        kind=TrialKind(row.kind),
        configuration=Configuration.from_json(row.configuration),
        trainable=row.trainable,
        seed=row.seed,
        status=TrialStatus(row.status),
        attempt=row.attempt,
        scores=scores,
        measurements=dict(others),
        reason=row.reason,
        artifact=artifact,
        details=row.details,
    )


def read_fronts(session: Session, study_id: int) -> list[Front]:
    """A study's fronts in the order they were recorded, in two queries."""
    after = session.execute(
        select(FrontRow, TrialRow.number)
        .join(TrialRow, TrialRow.id == FrontRow.after_trial_id)
        .where(FrontRow.study_id == study_id)
        .order_by(FrontRow.id)
    ).all()
    members = session.execute(
        select(FrontMemberRow.front_id, TrialRow.number)
        .join(TrialRow, TrialRow.id == FrontMemberRow.trial_id)
        .where(TrialRow.study_id == study_id)
        .order_by(FrontMemberRow.front_id, FrontMemberRow.position)
    ).all()
    numbers = {
        front_id: tuple(row.number for row in rows)
        for front_id, rows in groupby(members, key=lambda row: row.front_id)
    }
    return [
        Front(members=numbers.get(row.id, ()), hypervolume=row.hypervolume, after_trial=number)
        for row, number in after
    ]


def read_last_front(session: Session, study_id: int) -> Front | None:
    """The last of `read_fronts`, without the others."""
    last = session.execute(
        select(FrontRow, TrialRow.number)
        .join(TrialRow, TrialRow.id == FrontRow.after_trial_id)
        .where(FrontRow.study_id == study_id)
        .order_by(FrontRow.id.desc())
        .limit(1)
    ).one_or_none()
    if last is None:
        return None
    row, number = last
    members = session.scalars(
        select(TrialRow.number)
        .join(FrontMemberRow, FrontMemberRow.trial_id == TrialRow.id)
        .where(FrontMemberRow.front_id == row.id)
        .order_by(FrontMemberRow.position)
    ).all()
    return Front(members=tuple(members), hypervolume=row.hypervolume, after_trial=number)
