"""The commands under one name. Nothing heavy is imported here: each command does so when it runs."""

from collections.abc import Callable
from typing import Annotated

import typer

from autopeft import __version__
from autopeft.cli import importing, space, upgrade
from autopeft.cli.backbone import backbone
from autopeft.cli.dashboard import dashboard, report
from autopeft.cli.doctor import doctor
from autopeft.cli.export import export
from autopeft.cli.modules import modules
from autopeft.cli.objectives import objectives
from autopeft.cli.queue import cancel, jobs, logs, pause, serve, submit
from autopeft.cli.resume import resume
from autopeft.cli.search import search
from autopeft.cli.studies import front, show, studies
from autopeft.cli.train import train

app = typer.Typer(
    name="autopeft",
    help="Find the parameter-efficient fine-tuning configuration for your model, your data and your budget.",
    epilog=(
        "Try it now: `autopeft search --trials 12` searches a small bundled model on bundled data. "
        "The database is --db, else AUTOPEFT_DB, else a file in your data folder."
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autopeft {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version and end."),
    ] = False,
) -> None:
    pass


_COMMANDS: tuple[Callable[..., None], ...] = (
    *(
        search,
        resume,
        studies,
        front,
        show,
        dashboard,
        export,
        train,
        report,
        backbone,
        modules,
        objectives,
        doctor,
    ),
    *(jobs, serve, pause, cancel, logs),
)
for command in _COMMANDS:
    app.command()(command)
# What it does not know is for the search that it asks for.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(submit)
app.add_typer(importing.app)
app.add_typer(space.app)
app.add_typer(upgrade.app)
