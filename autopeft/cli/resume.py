"""`autopeft resume`: continue what was interrupted, try again what failed, extend what is finished."""

import contextlib
import shlex
import sys
from typing import Annotated

import typer

from autopeft.cli.again import without_password
from autopeft.cli.database import reading
from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import (
    AsJson,
    Database,
    GpusPerTrial,
    Pack,
    RayAddress,
    Retries,
    StudyName,
    TrialTimeout,
    Workers,
    effort,
)
from autopeft.cli.outcome import tell_outcome
from autopeft.cli.queue import tell_job
from autopeft.nouns import JobState
from autopeft.settings import check_own


@in_a_sentence
def resume(
    ctx: typer.Context,
    study: StudyName,
    *,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Configurations to try, in all: more than there are extend the study. By default as many as were last asked for.",
            show_default=False,
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try all trials again that have failed; each keeps why it had."),
    ] = False,
    retry: Annotated[
        list[int] | None,
        typer.Option(
            metavar="TRIAL",
            min=0,
            help="Try this failed trial again; may be given several times.",
            show_default=False,
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Propose nothing new after so long: 90s, 10m, 2h. What is being trained is finished.",
            show_default=False,
        ),
    ] = None,
    confirm_seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Seeds with which the front is confirmed. By default as many as were last asked for.",
            show_default=False,
        ),
    ] = None,
    workers: Workers = None,
    gpus_per_trial: GpusPerTrial = None,
    pack: Pack = "auto",
    ray_address: RayAddress = None,
    retries: Retries = None,
    trial_timeout: TrialTimeout = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a study by its name: continue it, try again what failed, or extend it.

    A study in the queue whose job is paused, failed or cancelled goes back into the queue, for a server to go on with.

    Model, data, space and everything else that results depend on are taken from the study itself. What was interrupted in the
    middle goes on from its last epoch.
    """
    asked = effort(ctx.params)

    from autopeft.store import queue

    with reading(db) as repository:
        job = queue.find_job(repository, study)
        if job is not None and (job.wish is not None or job.state in queue.LEFT):
            tell_job(queue.wish(repository, study, JobState.WAITING), as_json=as_json)
            return
        check_own(repository.get_study(study))  # refused here, before the seconds that the imports below take

    from autopeft.cli.live import progress
    from autopeft.report.events import Phase

    with contextlib.redirect_stdout(sys.stderr), progress() as on_event:
        on_event(Phase("loading libraries"))
        from autopeft.service import resume as run

        result = run(study, **asked, retry_failed=retry_failed, retry=retry or (), on_event=on_event)
        on_event(Phase("reading the results"))
        summary = result.summary()
    place = [] if db is None else ["--db", without_password(db)]
    further = (
        [] if result.interrupted or result.to_confirm else ["--trials", str(2 * sum(summary.counts.values()))]
    )
    more = shlex.join(["autopeft", "resume", study, *further, *place])
    tell_outcome(result, summary, more=more, db=db, as_json=as_json)
