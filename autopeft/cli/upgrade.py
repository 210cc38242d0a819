"""`autopeft db upgrade`: bringing a database's tables up to date."""

import typer

from autopeft.cli.database import database_url
from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import Database

app = typer.Typer(name="db", help="Look after the database.", no_args_is_help=True)


@app.callback()
def _db() -> None:
    # With a callback, typer keeps the name of an only command.
    pass


@app.command()
@in_a_sentence
def upgrade(*, db: Database = None) -> None:
    """Bring a database's tables up to date, or make them in an empty one.

    SQLite files need none of it: they are brought up to date when they are opened. On a server do it while no search runs.
    """
    from autopeft.cli.again import without_password
    from autopeft.store import upgrade as bring_up_to_date

    url = database_url(db)
    before, now = bring_up_to_date(url)
    shown = without_password(url)
    if before == now:
        typer.echo(f"The database {shown} is up to date: revision {now}.")
    else:
        since = "which had no tables" if before is None else f"which had the revision {before}"
        typer.echo(f"The database {shown}, {since}, has the revision {now} now.")
