"""From rows to nouns."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Result, Select, Text, cast, func, literal, select, true
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
        owner=row.owner,
    )


def read_trials(session: Session, condition: ColumnElement[bool]) -> list[Trial]:
    """The trials of one study that a condition on `TrialRow` selects, by number, in two queries however many they are."""
    return [trial for trials in read_trials_by_study(session, condition).values() for trial in trials]


def read_trials_by_study(
    session: Session, condition: ColumnElement[bool], objectives: Collection[str] | None = None
) -> dict[int, list[Trial]]:
    """The trials that a condition on `TrialRow` selects, by number, of each study that has some, in two queries.

    Args:
        session: The transaction.
        condition: Of which trials.
        objectives: For trials to be compared by these alone: all others, and their details, are left out; None: nothing is.
            A complete trial cannot do without its score.
    """
    wanted = true() if objectives is None else MeasurementRow.objective.in_(sorted(objectives))
    details = cast(TrialRow.details, Text) if objectives is None else literal("{}")
    # Sorted here: told to do it, SQLite takes the index that is in this order, and reads all trials of the study.
    found = session.execute(
        select(*_OF_A_TRIAL, details)
        .outerjoin(ArtifactRow, ArtifactRow.trial_id == TrialRow.id)
        .where(condition)
    ).all()
    measured = session.execute(
        select(MeasurementRow.trial_id, MeasurementRow.objective, MeasurementRow.rung, MeasurementRow.value)
        .join(TrialRow, TrialRow.id == MeasurementRow.trial_id)
        .where(condition, wanted, MeasurementRow.value.is_not(None))
    ).all()
    scores: dict[int, dict[int, float]] = defaultdict(dict)
    by_rung: dict[int, dict[str, float]] = defaultdict(dict)
    of_the_whole: dict[int, dict[str, float]] = defaultdict(dict)
    # By ascending rung: of what is measured at each, the last value stands.
    for trial_id, objective, rung, value in sorted(measured, key=itemgetter(2, 1)):
        assert value is not None
        if rung == 0:
            of_the_whole[trial_id][objective] = value
        elif objective == SCORE:
            scores[trial_id][rung] = value
        else:
            by_rung[trial_id][objective] = value
    trials: dict[int, list[Trial]] = defaultdict(list)
    for study_id, trial_id, *columns in sorted(found, key=itemgetter(0, 2)):
        values = {**by_rung[trial_id], **of_the_whole[trial_id]}
        trials[study_id].append(_to_trial(trial_id, columns, scores[trial_id], values))
    return trials


# Columns, not rows of the mapper: these cost a third of the time. JSON as text: most configurations are known by their keys.
_OF_A_TRIAL = (
    TrialRow.study_id,
    TrialRow.id,
    TrialRow.number,
    TrialRow.kind,
    TrialRow.configuration_key,
    cast(TrialRow.configuration, Text),
    TrialRow.trainable,
    TrialRow.seed,
    TrialRow.status,
    TrialRow.attempt,
    TrialRow.reason,
    ArtifactRow.folder,
)


def _to_trial(
    trial_id: int, columns: Sequence[Any], scores: dict[int, float], measurements: dict[str, float]
) -> Trial:
    number, kind, key, configuration, trainable, seed, status, attempt, reason, folder, details = columns
    return Trial(
        id=trial_id,
        number=number,
        kind=TrialKind(kind),
        configuration=_configuration(key, configuration),
        trainable=trainable,
        seed=seed,
        status=TrialStatus(status),
        attempt=attempt,
        scores=scores,
        measurements=measurements,
        reason=reason,
        artifact=folder or "",
        details=json.loads(details),
    )


_read: dict[str, Configuration] = {}  # by its key, which is made of its content: the same in every database
_MOST_READ = 20_000


def _configuration(key: str, text: str) -> Configuration:
    found = _read.get(key)
    if found is None:
        if len(_read) >= _MOST_READ:
            _read.clear()
        found = _read[key] = Configuration.from_json(json.loads(text))
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
