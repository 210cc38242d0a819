"""Drivers of one study, and the trials that they have claimed; those of one that is gone go to the others.

No clock says who is gone. A driver's heartbeat is a count. On its own host its process decides; from elsewhere a driver is gone
when its count has stood still for `PATIENCE` heartbeats of the one who looks, made one by one. So clocks may jump and differ, and while the
database does not answer nobody grows older.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from autopeft.nouns import TrialStatus
from autopeft.store.process import is_alive, process_start
from autopeft.store.rows import now, rows_changed
from autopeft.store.tables import DriverRow, TrialRow

LOST_WORKERS = "lost_workers"
"""In a trial's details: how each worker, or driver, was lost that had it."""

PATIENCE = 12
"""Heartbeats of one's own during which another driver on another host may be silent: a minute, of five seconds each."""


@dataclass(frozen=True)
class Member:
    """A driver of a study, or the server of a job, as its row was when it was read.

    Attributes:
        owner: Names this run of the driver, and no other; of a server, its job.
        host: Where it runs.
        pid: Its process there.
        process_start: See `process.process_start`.
        beats: Heartbeats so far.
    """

    owner: str
    host: str
    pid: int
    process_start: str
    beats: int


class Lookout:
    """What one driver has seen of the others, or one server of the queue of the others.

    Args:
        host: Where the one who looks runs.
        patience: See `PATIENCE`.
    """

    def __init__(self, host: str, patience: int = PATIENCE) -> None:
        self._host = host
        self._patience = patience
        self._silent: dict[str, tuple[int, int]] = {}  # owner -> its beats, looks since they changed

    def gone(self, members: Sequence[Member]) -> list[Member]:
        """Those that are gone; to be called once after each heartbeat of one's own."""
        before, self._silent, found = self._silent, {}, []
        for member in members:
            beats, looks = before.get(member.owner, (-1, 0))
            looks = looks + 1 if beats == member.beats else 0
            self._silent[member.owner] = (member.beats, looks)
            alive = is_alive(member.pid, member.process_start) if member.host == self._host else None
            if alive is False or (alive is None and looks >= self._patience):
                found.append(member)
        return found


def join(session: Session, study_id: int, owner: str, host: str, pid: int) -> None:
    """Enter a driver, unless it is there; and put back what nobody has who is there."""
    if session.get(DriverRow, owner) is None:
        start = process_start(pid)
        session.add(
            DriverRow(
                owner=owner,
                study_id=study_id,
                host=host,
                pid=pid,
                process_start=start,
                beats=0,
                joined_at=now(),
            )
        )
        session.flush()
    there = select(DriverRow.owner).where(DriverRow.study_id == study_id)
    nobodys = TrialRow.claimed_by.is_(None) & (TrialRow.status == TrialStatus.RUNNING)
    _free(session, study_id, or_(nobodys, TrialRow.claimed_by.not_in(there)))


def beat(session: Session, owner: str) -> bool:
    """Count a heartbeat. False: the driver is not there any more."""
    changed = session.execute(
        update(DriverRow)
        .where(DriverRow.owner == owner)
        .values(beats=DriverRow.beats + 1)
        .execution_options(synchronize_session=False)
    )
    return rows_changed(changed) == 1


def members(session: Session, study_id: int) -> list[Member]:
    """The drivers of a study."""
    rows = session.scalars(select(DriverRow).where(DriverRow.study_id == study_id).order_by(DriverRow.owner))
    return [Member(row.owner, row.host, row.pid, row.process_start, row.beats) for row in rows]


def leave(session: Session, study_id: int, owner: str) -> None:
    """Take a driver away that ends of itself; its trials wait for others, and that is no loss."""
    session.execute(delete(DriverRow).where(DriverRow.owner == owner))
    _free(session, study_id, TrialRow.claimed_by == owner)


def bury(session: Session, study_id: int, member: Member, retries: int) -> bool:
    """Take a driver away that is gone; see `lose`. False: it has given a sign of life since it was read, or is not there."""
    gone = session.execute(
        delete(DriverRow).where(DriverRow.owner == member.owner, DriverRow.beats == member.beats)
    )
    if rows_changed(gone) == 0:
        return False
    lost = session.scalars(
        select(TrialRow)
        .where(
            TrialRow.study_id == study_id,
            TrialRow.claimed_by == member.owner,
            TrialRow.status == TrialStatus.RUNNING,
        )
        .order_by(TrialRow.number)
        .with_for_update(key_share=True)
    ).all()
    for row in lost:
        lose(row, f"the search that trained it, process {member.pid} on {member.host}, is gone.", retries)
    _free(session, study_id, TrialRow.claimed_by == member.owner)
    return True


def lose(row: TrialRow, reason: str, retries: int) -> None:
    """Put a RUNNING trial that was lost back to WAITING, or, when that has been done `retries` times, to FAILED."""
    row.claimed_by = None
    row.losses += 1
    row.details = {**row.details, LOST_WORKERS: [*row.details.get(LOST_WORKERS, ()), reason]}
    if row.losses <= retries:
        row.status = TrialStatus.WAITING
        return
    row.status = TrialStatus.FAILED
    again = f" ({row.losses} workers were lost with this trial)" if row.losses > 1 else ""
    row.reason = f"{reason}{again}"
    row.finished_at = now()


def _free(session: Session, study_id: int, condition: ColumnElement[bool]) -> None:
    session.execute(
        update(TrialRow)
        .where(TrialRow.study_id == study_id, condition)
        .where(TrialRow.status.in_((TrialStatus.WAITING, TrialStatus.RUNNING)))
        .values(status=TrialStatus.WAITING, claimed_by=None)
        .execution_options(synchronize_session=False)
    )
