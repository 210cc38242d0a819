"""`autopeft submit`, `jobs`, `serve`, `pause`, `cancel` and `logs`: searches that a server runs."""

import secrets
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from autopeft.cli.database import database_url, reading
from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson, Database, StudyName
from autopeft.cli.terminal import harmless, say
from autopeft.errors import InputError
from autopeft.naming import at_home, login_name
from autopeft.nouns import Job, JobState

_PATHS = ("model", "data", "space", "validation", "test", "forgetting_data")
_FOLLOW_SECONDS = 0.5


@in_a_sentence
def submit(
    ctx: typer.Context,
    *,
    priority: Annotated[
        int, typer.Option(metavar="N", help="Larger ones are taken first; of equal ones the older.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Put a search into the queue, for `autopeft serve` to run. It has all options of `autopeft search`.

    For example: `autopeft submit --budget 0.5% --trials 50 --priority 3`. Paths must be the same for the server.
    """
    from autopeft.cli import render

    job = enqueue(ctx.args, priority)
    if as_json:
        render.print_json(_job_json(job))
    else:
        render.print_line(
            f"{job.study} is in the queue. A server runs it: autopeft serve; see autopeft jobs."
        )


def enqueue(words: Sequence[str], priority: int, db: str | None = None) -> Job:
    """Put a search into the queue of a database.

    Args:
        words: Options of `autopeft search`, as they are typed.
        priority: Larger ones are taken first.
        db: The database, where the words do not name it.

    Raises:
        InputError: An option is wrong.
        StudyError: The study has a job already, or the database cannot be used.
    """
    from autopeft.cli.again import again
    from autopeft.store import Repository, queue

    asked = _search_context(words)
    study = asked.params["study"] or f"{_short(asked.params['model'])}-{secrets.token_hex(3)}"
    paths = {
        name: str(at_home(value).absolute())
        for name in _PATHS
        if (value := asked.params[name]) is not None and at_home(value).exists()
    }
    # Without the database: a server has the one that it found the job in.
    written = shlex.split(again(asked, **paths, study=study, db=None))[2:]
    with Repository.open(database_url(asked.params["db"] or db)) as repository:
        return queue.submit(
            repository, study, tuple(written), folder=str(Path.cwd()), owner=login_name(), priority=priority
        )


@in_a_sentence
def jobs(*, db: Database = None, as_json: AsJson = False) -> None:
    """List the jobs of a database: what runs and waits first, in the order of the queue."""
    from autopeft.cli import render
    from autopeft.store import queue

    with reading(db) as repository:
        found = queue.jobs(repository)
    if as_json:
        render.print_json([_job_json(job) for job in found])
    else:
        render.print_jobs(found)


@in_a_sentence
def serve(
    *,
    at_once: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Searches at the same time. Each takes the whole machine, unless its --workers says less.",
        ),
    ] = 1,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="End when nothing waits or runs any more.")
    ] = False,
    db: Database = None,
) -> None:
    """Run the searches of the queue, the most urgent first, until Ctrl-C.

    Several servers, on one or many machines, share a queue. A search that a server leaves, however it ends, waits again, and goes
    on where it stood.
    """
    from autopeft.server import serve as run

    def tell(job: Job) -> None:
        say(f"{job.study}: {job.state}{f': {job.reason}' if job.reason else ''}")

    run(database_url(db), at_once=at_once, until_empty=until_empty, tell=tell)


@in_a_sentence
def pause(study: StudyName, *, db: Database = None, as_json: AsJson = False) -> None:
    """Have a job wait until it is resumed. What it has recorded is kept, and its place goes to the next one."""
    _wish(study, JobState.PAUSED, db, as_json)


@in_a_sentence
def cancel(study: StudyName, *, db: Database = None, as_json: AsJson = False) -> None:
    """End a job for good. The study keeps what it has."""
    _wish(study, JobState.CANCELLED, db, as_json)


@in_a_sentence
def logs(
    study: StudyName,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended.", show_default=False)
    ] = False,
    db: Database = None,
) -> None:
    """Print what a job's search says."""
    from autopeft.store import queue

    with reading(db) as repository:
        job = queue.get_job(repository, study)
        seen = 0
        while True:
            seen = _print_from(job, seen)
            if not follow or job.state not in queue.OPEN:
                return
            time.sleep(_FOLLOW_SECONDS)
            job = queue.get_job(repository, study)


def _print_from(job: Job, seen: int) -> int:
    if not job.log:
        return seen
    path = Path(job.log)
    if not path.is_file():
        raise InputError(
            f"the log of '{job.study}' is not on this machine: it is '{job.log}' of {job.server}."
        )
    with path.open("rb") as log:
        log.seek(seen)
        found = log.read()
    sys.stdout.write(harmless(found.decode(errors="replace")))
    sys.stdout.flush()
    return seen + len(found)


def _wish(study: str, state: JobState, db: str | None, as_json: bool) -> None:
    from autopeft.store import queue

    with reading(db) as repository:
        tell_job(queue.wish(repository, study, state), as_json=as_json)


def tell_job(job: Job, *, as_json: bool) -> None:
    """Print where a job stands."""
    from autopeft.cli import render

    if as_json:
        render.print_json(_job_json(job))
    else:
        becomes = f", and is to be {job.wish}" if job.wish else ""
        render.print_line(f"{job.study} is {job.state}{becomes}.")


def _job_json(job: Job) -> dict[str, Any]:
    return {**asdict(job), "arguments": list(job.arguments)}


def _search_context(words: Sequence[str]) -> typer.Context:
    """Options of `autopeft search`, read as that reads them: what is wrong is said now, not by the server."""
    from autopeft.cli.search import check, search

    alone = typer.Typer()
    alone.command()(search)
    try:
        found = typer.main.get_command(alone).make_context("search", list(words))
    except Exception as error:
        said = getattr(error, "format_message", None)  # typer has no public name for what it raises here
        if said is None:
            raise
        raise InputError(f"{said().rstrip('.')}.", "`autopeft search --help` lists the options.") from None
    check(found.params)
    return cast(typer.Context, found)


def _short(model: str) -> str:
    return Path(model).name or "search"
