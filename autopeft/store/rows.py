"""From rows to nouns."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Result, Select, func, select
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
    """The trials of one study that a condition on `TrialRow` selects, by number, in two queries however many they are."""
    return [trial for trials in read_trials_by_study(session, condition).values() for trial in trials]


def read_trials_by_study(session: Session, condition: ColumnElement[bool]) -> dict[int, list[Trial]]:
    """The trials that a condition on `TrialRow` selects, by number, of each study that has some, in two queries."""
    # Sorted here: told to do it, SQLite takes the index that is in this order, and reads all trials of the study.
    found = session.execute(
        select(TrialRow, ArtifactRow.folder)
        .outerjoin(ArtifactRow, ArtifactRow.trial_id == TrialRow.id)
        .where(condition)
    ).all()
    measured = session.execute(
        select(MeasurementRow.trial_id, MeasurementRow.objective, MeasurementRow.rung, MeasurementRow.value)
        .join(TrialRow, TrialRow.id == MeasurementRow.trial_id)
        .where(condition, MeasurementRow.value.is_not(None))
    ).all()
    values: dict[int, list[tuple[int, str, float]]] = defaultdict(list)
    for trial_id, objective, rung, value in measured:
        assert value is not None
        values[trial_id].append((rung, objective, value))
    trials: dict[int, list[Trial]] = defaultdict(list)
    for row, folder in sorted(found, key=lambda pair: (pair[0].study_id, pair[0].number)):
        trials[row.study_id].append(_to_trial(row, folder or "", sorted(values[row.id])))
    return trials


def _to_trial(row: TrialRow, artifact: str, values: Sequence[tuple[int, str, float]]) -> Trial:
    scores = {rung: value for rung, objective, value in values if objective == SCORE and rung >= 1}
    # By ascending rung, so that the last value of a rung-wise objective stands; the whole trial's, of rung 0,
    # stands before them all.
    others = [(objective, value) for rung, objective, value in values if objective != SCORE and rung >= 1]
    others += [(objective, value) for rung, objective, value in values if objective != SCORE and rung == 0]
    return Trial(
        id=row.id,
        number=row.number,
        kind=TrialKind(row.kind),
        configuration=_configuration(row),
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


_read: dict[str, Configuration] = {}  # by its key, which is made of its content: the same in every database
_MOST_READ = 20_000


def _configuration(row: TrialRow) -> Configuration:
    found = _read.get(row.configuration_key)
    if found is None:
        if len(_read) >= _MOST_READ:
            _read.clear()
        found = _read[row.configuration_key] = Configuration.from_json(row.configuration)
    return found


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


def last_fronts(of: ColumnElement[bool]) -> Select[int]:
    """The ids of each study's last front, of the fronts that a condition on `FrontRow` selects."""
    return select(func.max(FrontRow.id)).where(of).group_by(FrontRow.study_id)


def read_last_fronts(session: Session, of: ColumnElement[bool]) -> dict[int, Front]:
    """The last of each study's fronts, by the study, in two queries.

    Args:
        session: The transaction.
        of: A condition on `FrontRow`: of which studies.
    """
    last = last_fronts(of)
    rows = session.execute(
        select(FrontRow, TrialRow.number)
        .join(TrialRow, TrialRow.id == FrontRow.after_trial_id)
        .where(FrontRow.id.in_(last))
    ).all()
    members = session.execute(
        select(FrontMemberRow.front_id, TrialRow.number)
        .join(TrialRow, TrialRow.id == FrontMemberRow.trial_id)
        .where(FrontMemberRow.front_id.in_(last))
        .order_by(FrontMemberRow.front_id, FrontMemberRow.position)
    ).all()
    numbers: dict[int, list[int]] = defaultdict(list)
    for front_id, number in members:
        numbers[front_id].append(number)
    return {row.study_id: Front(tuple(numbers[row.id]), row.hypervolume, number) for row, number in rows}


def read_last_front(session: Session, study_id: int) -> Front | None:
    """The front of a study as it was stored last; None before the first."""
    return read_last_fronts(session, FrontRow.study_id == study_id).get(study_id)
