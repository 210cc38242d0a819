"""The lease of a study: one driver at a time runs it, and the lease of one that died is taken over."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from autopeft.errors import StudyError
from autopeft.nouns import TrialStatus
from autopeft.store.process import is_alive, process_start
from autopeft.store.rows import now, rows_changed, seconds_since
from autopeft.store.tables import StudyRow, TrialRow


def take(
    session: Session, study: StudyRow, *, owner: str, host: str, pid: int, stale_after_seconds: float
) -> None:
    """Take a study's lease, and put trials that a former driver left RUNNING back to WAITING.

    Taking one's own lease again (same owner, same process) is a heartbeat and touches no trial.

    Raises:
        StudyError: A live driver holds it; the message names its host and process.
    """
    start = process_start(pid)
    mine = (owner, host, pid, start)
    if mine == (study.lease_owner, study.lease_host, study.lease_pid, study.lease_process_start):
        beat(session, study.id, owner)
        return
    if is_held(study, host=host, stale_after_seconds=stale_after_seconds):
        raise _busy(study)
    taken = session.execute(
        update(StudyRow)
        .where(
            StudyRow.id == study.id,
            # Nobody took it, and its holder gave no sign of life, since it was read.
            StudyRow.lease_owner.is_not_distinct_from(study.lease_owner),
            StudyRow.lease_heartbeat_at.is_not_distinct_from(study.lease_heartbeat_at),
        )
        .values(
            lease_owner=owner,
            lease_host=host,
            lease_pid=pid,
            lease_process_start=start,
            lease_heartbeat_at=now(),
        )
        .execution_options(synchronize_session=False)
    )
    if rows_changed(taken) == 0:
        session.refresh(study)
        raise _busy(study)
    session.execute(
        update(TrialRow)
        .where(TrialRow.study_id == study.id, TrialRow.status == TrialStatus.RUNNING)
        .values(status=TrialStatus.WAITING)
    )


def is_held(study: StudyRow, *, host: str, stale_after_seconds: float) -> bool:
    """Whether a live driver holds the lease, as seen from `host`.

    On the holder's own host its process decides, however long ago its last heartbeat was; from elsewhere the
    heartbeat does.
    """
    if study.lease_owner is None or study.lease_pid is None:
        return False
    if study.lease_host == host:
        alive = is_alive(study.lease_pid, study.lease_process_start or "")
        if alive is not None:
            return alive
    return (
        study.lease_heartbeat_at is not None and seconds_since(study.lease_heartbeat_at) < stale_after_seconds
    )


def beat(session: Session, study_id: int, owner: str) -> bool:
    """Note that the driver lives. False: the lease is no longer its own."""
    changed = session.execute(
        update(StudyRow)
        .where(StudyRow.id == study_id, StudyRow.lease_owner == owner)
        .values(lease_heartbeat_at=now())
        .execution_options(synchronize_session=False)
    )
    return rows_changed(changed) == 1


def give_up(session: Session, study_id: int, owner: str) -> bool:
    """Empty the lease. False: it was not the owner's."""
    changed = session.execute(
        update(StudyRow)
        .where(StudyRow.id == study_id, StudyRow.lease_owner == owner)
        .values(
            lease_owner=None,
            lease_host=None,
            lease_pid=None,
            lease_process_start=None,
            lease_heartbeat_at=None,
        )
        .execution_options(synchronize_session=False)
    )
    return rows_changed(changed) == 1


def _busy(study: StudyRow) -> StudyError:
    return StudyError(
        f"the study '{study.name}' is being searched by process {study.lease_pid} on {study.lease_host}.",
        "Wait for it, or stop it first.",
    )
