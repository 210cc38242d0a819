"""The command that goes on with a study."""

from typing import Annotated

import typer
from typer.testing import CliRunner

from autopeft.cli.again import again


def test_switches_are_written_as_they_are_typed() -> None:
    app = typer.Typer()

    @app.command()
    def search(
        ctx: typer.Context,
        peek: Annotated[bool, typer.Option("--peek/--no-peek")] = True,
        loud: Annotated[bool, typer.Option("--loud")] = False,
        trials: int = 4,
    ) -> None:
        typer.echo(again(ctx, trials=8))

    said = CliRunner().invoke(app, ["--no-peek", "--loud"]).stdout
    assert said == "autopeft search --no-peek --loud --trials 8\n"
