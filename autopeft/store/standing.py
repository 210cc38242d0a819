"""What studies have come to, read at the cost of their fronts and not of all their trials."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from sqlalchemy import ColumnElement, ScalarSelect, func, select, true, union
from sqlalchemy.orm import Session, aliased

from autopeft.nouns import Standing, Study, TrialKind, TrialStatus
from autopeft.store.rows import last_fronts, read_last_fronts, read_trials_by_study, to_study
from autopeft.store.tables import FrontMemberRow, FrontRow, StudyRow, TrialRow


def read_standings(
    session: Session,
    front_of: Collection[TrialKind],
    study_id: int | None = None,
    compared_by: Callable[[Study], Collection[str]] | None = None,
) -> list[Standing]:
    """The standing of every study, or of one, the newest first, in eight queries however many there are.

    A study's trials are the members of its last stored front, what has been trained anew, and all trials of other kinds. If
    trials were completed since the front was stored, and nobody has looked whether it changed, they are all trials.

    Args:
        session: A transaction in which all that is read is of one moment.
        front_of: Kinds whose trials can be members of a front.
        study_id: Of this study only.
        compared_by: The only objectives of a study that are asked for, and nothing of how trials were trained; None: all.
    """
    one = true() if study_id is None else StudyRow.id == study_id
    studies = session.scalars(select(StudyRow).where(one).order_by(StudyRow.id.desc())).all()
    nouns = {row.id: to_study(row) for row in studies}
    objectives = None
    if compared_by is not None:
        objectives = {name for study in nouns.values() for name in compared_by(study)}
    counts = read_counts(session, study_id)
    fronts = read_last_fronts(session, true() if study_id is None else FrontRow.study_id == study_id)
    known = [
        row.id for row in studies if row.id in fronts and row.front_complete == _complete(counts[row.id])
    ]
    others = [row.id for row in studies if row.id not in known]
    trials = read_trials_by_study(session, TrialRow.study_id.in_(others), objectives) if others else {}
    if known:
        trials |= read_trials_by_study(session, _few(known, front_of), objectives)
    return [
        Standing(
            study=nouns[row.id],
            trials=tuple(trials.get(row.id, ())),
            front=fronts.get(row.id),
            counts=counts[row.id],
        )
        for row in studies
    ]


Counts: TypeAlias = Mapping[TrialKind, Mapping[TrialStatus, int]]

_EACH = [(kind, status) for kind in TrialKind for status in TrialStatus]


def _count(kind: TrialKind, status: TrialStatus) -> ScalarSelect[int]:
    of_study = TrialRow.study_id == StudyRow.id
    of_kind = select(func.count()).where(of_study, TrialRow.kind == kind, TrialRow.status == status)
    return of_kind.scalar_subquery()


# One range of an index for each count: SQLite takes twice as long to group all trials.
_COUNTS = select(StudyRow.id, *[_count(kind, status) for kind, status in _EACH])


def read_counts(session: Session, study_id: int | None = None) -> dict[int, Counts]:
    """How many trials of each kind stand where, by study; every kind and every status is in it.

    Args:
        session: The transaction.
        study_id: Of this study only.
    """
    found: dict[int, Counts] = {}
    for study, *counts in session.execute(
        _COUNTS if study_id is None else _COUNTS.where(StudyRow.id == study_id)
    ):
        of_study: dict[TrialKind, dict[TrialStatus, int]] = {kind: {} for kind in TrialKind}
        for (kind, status), n in zip(_EACH, counts, strict=True):
            of_study[kind][status] = n
        found[study] = of_study
    return found


def _complete(counts: Counts) -> int:
    return sum(of_kind[TrialStatus.COMPLETE] for of_kind in counts.values())


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
