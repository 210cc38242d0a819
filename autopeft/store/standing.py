"""What studies have come to, read at the cost of their fronts and not of all their trials."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, func, select, true, union
from sqlalchemy.orm import Session, aliased

from autopeft.nouns import Standing, TrialKind, TrialStatus
from autopeft.store.rows import last_fronts, read_last_fronts, read_trials_by_study, to_study
from autopeft.store.tables import FrontMemberRow, FrontRow, StudyRow, TrialRow


def read_standings(
    session: Session, front_of: Collection[TrialKind], study_id: int | None = None
) -> list[Standing]:
    """The standing of every study, or of one, the newest first, in eight queries however many there are.

    A study's trials are the members of its last stored front, what has been trained anew, and all trials of other kinds. If
    trials were completed since the front was stored, and nobody has looked whether it changed, they are all trials.

    Args:
        session: A transaction in which all that is read is of one moment.
        front_of: Kinds whose trials can be members of a front.
        study_id: Of this study only.
    """
    one = true() if study_id is None else StudyRow.id == study_id
    studies = session.scalars(select(StudyRow).where(one).order_by(StudyRow.id.desc())).all()
    counts = _counts(session, study_id)
    fronts = read_last_fronts(session, true() if study_id is None else FrontRow.study_id == study_id)
    known = [
        row.id for row in studies if row.id in fronts and row.front_complete == _complete(counts, row.id)
    ]
    others = [row.id for row in studies if row.id not in known]
    trials = read_trials_by_study(session, TrialRow.study_id.in_(others)) if others else {}
    if known:
        trials |= read_trials_by_study(session, _few(known, front_of))
    return [
        Standing(
            study=to_study(row),
            trials=tuple(trials.get(row.id, ())),
            front=fronts.get(row.id),
            counts={
                kind: {status: counts.get((row.id, kind, status), 0) for status in TrialStatus}
                for kind in TrialKind
            },
        )
        for row in studies
    ]


def _counts(session: Session, study_id: int | None) -> dict[tuple[int, TrialKind, TrialStatus], int]:
    of = true() if study_id is None else TrialRow.study_id == study_id
    columns = (TrialRow.study_id, TrialRow.kind, TrialRow.status)
    found = session.execute(select(*columns, func.count()).where(of).group_by(*columns)).all()
    return {(study, TrialKind(kind), TrialStatus(status)): n for study, kind, status, n in found}


def _complete(counts: dict[tuple[int, TrialKind, TrialStatus], int], study_id: int) -> int:
    return sum(counts.get((study_id, kind, TrialStatus.COMPLETE), 0) for kind in TrialKind)


def _few(studies: list[int], front_of: Collection[TrialKind]) -> ColumnElement[bool]:
    anew = aliased(TrialRow)
    last = last_fronts(FrontRow.study_id.in_(studies))
    others = [kind for kind in TrialKind if kind not in front_of]
    # One query each: of conditions joined by OR, a database may use no index.
    return TrialRow.id.in_(
        union(
            select(FrontMemberRow.trial_id).where(FrontMemberRow.front_id.in_(last)),
            select(TrialRow.id).where(TrialRow.study_id.in_(studies), TrialRow.kind.in_(others)),
            # Of every kind: told which, SQLite begins with all trials of the study.
            select(TrialRow.id)
            .select_from(anew)
            .join(
                TrialRow,
                (TrialRow.study_id == anew.study_id) & (TrialRow.configuration_key == anew.configuration_key),
            )
            .where(anew.study_id.in_(studies), anew.kind == TrialKind.CONFIRM),
        )
    )
