"""The queue of searches in the database: who asks for one, who runs it, what it is to become.

A transition of a job is one short transaction that changes nothing unless the job still stands where it was read: whoever
comes second sees that, and looks again. So what a server does is tried again when the database cuts it off (`engine.tried_again`);
`submit` and `wish` are for a person to say again.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from autopeft.errors import StudyError, nearest
from autopeft.naming import objection
from autopeft.nouns import Job, JobState
from autopeft.store.engine import tried_again
from autopeft.store.lease import Lookout, Member
from autopeft.store.process import process_start
from autopeft.store.repository import Repository
from autopeft.store.rows import now
from autopeft.store.tables import JobRow

PATIENCE = 60
"""Looks of one's own, about a second apart, during which a server on another host may be silent."""

LEFT = (JobState.PAUSED, JobState.FAILED, JobState.CANCELLED)
"""Jobs that are not through, and that nobody runs."""

OPEN = (JobState.WAITING, JobState.RUNNING)
"""Jobs that a server has, or will have."""


@dataclass(frozen=True)
class Server:
    """A process that runs jobs.

    Attributes:
        host: Its host.
        pid: Its process there.
    """

    host: str
    pid: int


def submit(
    repository: Repository, study: str, arguments: tuple[str, ...], *, folder: str, owner: str, priority: int
) -> Job:
    """Ask for a search. A job of this study that came to its end is asked for again, with these arguments.

    Args:
        repository: The database.
        study: Name of the study.
        arguments: Of `autopeft search`.
        folder: In which it is to run.
        owner: Who asks.
        priority: Larger ones first.

    Raises:
        StudyError: The study has a job that is waiting, running or paused, or it cannot be called so.
    """
    if reason := objection(study):
        raise StudyError(reason)
    asked = {"arguments": list(arguments), "folder": folder, "owner": owner, "priority": priority}
    fresh = {"state": JobState.WAITING, "wish": None, "reason": "", "created_at": now()}
    nowhere = {"server_host": "", "server_pid": 0, "server_start": "", "log": ""}
    times = {"started_at": None, "finished_at": None}
    try:
        with repository._writing() as session:
            row = session.scalar(select(JobRow).where(JobRow.study == study).with_for_update())
            if row is None:
                row = JobRow(study=study)
                session.add(row)
            elif row.state in (*OPEN, JobState.PAUSED):
                raise StudyError(
                    f"the study '{study}' has a job already, which is {row.state}.",
                    "`autopeft cancel` or `autopeft resume` it, or choose another name with --study.",
                )
            for name, value in {**asked, **fresh, **nowhere, **times}.items():
                setattr(row, name, value)
            session.flush()
            return _to_job(row)
    except IntegrityError:
        raise StudyError(f"the study '{study}' has just been given a job by somebody else.") from None


@tried_again
def jobs(repository: Repository) -> list[Job]:
    """Every job: those that wait or run first, in the order in which servers take them; then the others, the newest first."""
    with repository._reading() as session:
        found = [_to_job(row) for row in session.scalars(select(JobRow))]
    waiting = sorted((j for j in found if j.state in OPEN), key=lambda j: (-j.priority, j.id))
    return waiting + sorted(
        (j for j in found if j.state not in OPEN), key=lambda j: j.created_at, reverse=True
    )


@tried_again
def find_job(repository: Repository, study: str) -> Job | None:
    """The job of a study; None if it has none."""
    with repository._reading() as session:
        row = session.scalar(select(JobRow).where(JobRow.study == study))
        return None if row is None else _to_job(row)


def get_job(repository: Repository, study: str) -> Job:
    """The job of a study.

    Raises:
        StudyError: It has none; the message lists those that have.
    """
    found = find_job(repository, study)
    if found is not None:
        return found
    with repository._reading() as session:
        known = list(session.scalars(select(JobRow.study).order_by(JobRow.id.desc())))
    listed = ", ".join(known) if known else "none"
    raise StudyError(f"the study '{study}' has no job: known are {listed}.", nearest(study, known))


def wish(repository: Repository, study: str, state: JobState) -> Job:
    """Have a job PAUSED, CANCELLED, or WAITING again. What is running is told to end; its server says when it has.

    Raises:
        StudyError: The study has no job, or one for which that means nothing.
    """
    with repository._writing() as session:
        row = session.scalar(select(JobRow).where(JobRow.study == study).with_for_update())
        if row is not None:
            if state is JobState.WAITING and row.state not in OPEN:
                row.state, row.wish, row.reason, row.finished_at = JobState.WAITING, None, "", None
            elif state is JobState.WAITING and row.wish is not None:
                row.wish = None
            elif state is not JobState.WAITING and row.state == JobState.RUNNING:
                row.wish = state
            elif state is JobState.CANCELLED and row.state in (JobState.WAITING, JobState.PAUSED):
                row.state, row.finished_at = state, now()
            elif state is JobState.PAUSED and row.state == JobState.WAITING:
                row.state = state
            else:
                raise StudyError(f"the job of '{study}' cannot become {state}: it is {row.state}.")
            session.flush()
            return _to_job(row)
    return get_job(repository, study)  # says which there are


def take(repository: Repository, server: Server, log_folder: str) -> Job | None:
    """Make the first job that waits a server's own, RUNNING; None if none waits.

    Args:
        repository: The database.
        server: Who takes it.
        log_folder: In which the job's log is to be, on the server's host.
    """
    while (first := _first(repository)) is not None:
        taken = _take(repository, first, server, log_folder)
        if taken is not None:
            return taken
    return None


@tried_again
def _first(repository: Repository) -> int | None:
    waiting = select(JobRow.id).where(JobRow.state == JobState.WAITING)
    with repository._reading() as session:
        return session.scalar(waiting.order_by(JobRow.priority.desc(), JobRow.id).limit(1))


@tried_again
def _take(repository: Repository, job_id: int, server: Server, log_folder: str) -> Job | None:
    # The job waited, and a server takes one at a time: one that is its own by now is so by this very call.
    with repository._writing() as session:
        row = session.get(JobRow, job_id, with_for_update=True)
        if row is None or (row.state != JobState.WAITING and not _is_of(row, server)):
            return None
        row.state, row.wish = JobState.RUNNING, None
        row.server_host, row.server_pid = server.host, server.pid
        row.server_start = process_start(server.pid)
        row.beats += 1
        row.log = f"{log_folder}/job-{row.id}.log"
        row.started_at = now()
        session.flush()
        return _to_job(row)


@tried_again
def beat(repository: Repository, server: Server, job: Job) -> Job | None:
    """A server's sign of life for a job; the job as it is by now, with what it is to become. None: it is no longer the server's."""
    with repository._writing() as session:
        row = session.get(JobRow, job.id, with_for_update=True)
        if row is None or not _is_of(row, server):
            return None
        row.beats += 1
        session.flush()
        return _to_job(row)


@tried_again
def end(repository: Repository, server: Server, job: Job, state: JobState, reason: str = "") -> bool:
    """A server says what has become of its job. False: it was no longer its own, and nothing was changed."""
    with repository._writing() as session:
        row = session.get(JobRow, job.id, with_for_update=True)
        if row is None or not _is_of(row, server):
            return False
        row.state, row.wish, row.reason = state, None, reason
        row.finished_at = None if state in (JobState.WAITING, JobState.PAUSED) else now()
        return True


def free(repository: Repository, lookout: Lookout) -> list[Job]:
    """Put the jobs of servers that are gone back to WAITING; those that were to be paused or cancelled are so now.

    Args:
        repository: The database.
        lookout: Of the server that looks; on another server's own host its process decides, from elsewhere its heartbeats do.
    """
    gone = lookout.gone(_running(repository))
    return [job for member in gone if (job := _free(repository, member)) is not None]


@tried_again
def _running(repository: Repository) -> list[Member]:
    """The servers of jobs, each by the job's id: a job that another one has taken meanwhile has further beats."""
    with repository._reading() as session:
        rows = session.scalars(select(JobRow).where(JobRow.state == JobState.RUNNING).order_by(JobRow.id))
        return [Member(str(r.id), r.server_host, r.server_pid, r.server_start, r.beats) for r in rows]


@tried_again
def _free(repository: Repository, member: Member) -> Job | None:
    with repository._writing() as session:
        row = session.get(JobRow, int(member.owner), with_for_update=True)
        if row is None or row.state != JobState.RUNNING or row.beats != member.beats:
            return None
        row.state, row.wish = row.wish or JobState.WAITING, None
        if row.state == JobState.CANCELLED:
            row.finished_at = now()
        session.flush()
        return _to_job(row)


def _is_of(row: JobRow, server: Server) -> bool:
    same = (row.server_host, row.server_pid) == (server.host, server.pid)
    return row.state == JobState.RUNNING and same and row.server_start == process_start(server.pid)


def _to_job(row: JobRow) -> Job:
    return Job(
        id=row.id,
        study=row.study,
        arguments=tuple(row.arguments),
        folder=row.folder,
        owner=row.owner,
        priority=row.priority,
        state=JobState(row.state),
        wish=JobState(row.wish) if row.wish else None,
        server=f"{row.server_host}, process {row.server_pid}" if row.server_host else "",
        log=row.log,
        reason=row.reason,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
