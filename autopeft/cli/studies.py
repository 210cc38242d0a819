"""`autopeft studies`, `autopeft front` and `autopeft show`: reading the database, also while a search runs."""

from typing import Annotated

import typer

from autopeft.cli.database import database_url, is_absent, reading
from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson, Database, StudyName


@in_a_sentence
def studies(*, db: Database = None, as_json: AsJson = False) -> None:
    """List the studies of a database, newest first."""
    from autopeft.cli import render
    from autopeft.report import studies_table

    lines = []
    if db is not None or not is_absent(database_url(None)):  # the default one is made by the first search
        with reading(db) as repository:
            lines = studies_table(repository)
    if as_json:
        render.print_json(lines)
    else:
        render.print_studies(lines)


@in_a_sentence
def front(
    study: StudyName,
    *,
    objectives: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Of a study with several objectives: look at the front of these alone, such as score,memory. By default of all.",
            show_default=False,
        ),
    ] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Show a study's front: its best score at every size, with the knee, the best and the baselines."""
    from autopeft.cli import render
    from autopeft.report import summarise

    with reading(db) as repository:
        named = [] if objectives is None else [one.strip() for one in objectives.split(",")]
        summary = summarise(repository, repository.get_study(study), named)
    if as_json:
        render.print_json(summary.to_json())
    else:
        render.print_front(summary)


@in_a_sentence
def show(
    study: StudyName,
    trial: Annotated[
        int, typer.Argument(metavar="TRIAL", min=0, max=999_999_999, help="The trial's number.")
    ],
    *,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one trial: configuration, scores, cost, memory, and where its adapter is."""
    from autopeft.cli import render
    from autopeft.report import trial_record

    with reading(db) as repository:
        record = trial_record(repository, repository.get_study(study), trial)
    if as_json:
        render.print_json(record)
    else:
        render.print_trial(record)
