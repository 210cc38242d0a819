"""`autopeft import`: published results as studies that are only read."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson, Database

app = typer.Typer(name="import", help="Read published results into studies that are only read.")


@app.callback()
def _group() -> None:
    pass


@app.command("peft-comparison")
@in_a_sentence
def peft_comparison(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A checkout of Hugging Face's peft, its method_comparison, or any folder with the result files.",
        ),
    ],
    *,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What the studies' names begin with, before the task's.")
    ] = "peft",
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Read the results of Hugging Face peft's method comparison, a study for each task.

    `front`, `studies` and `show` work on such a study as on any other; it is not searched. Doing it again adds what is new.
    """
    from autopeft.cli import render
    from autopeft.cli.database import database_url
    from autopeft.published import import_peft_comparison
    from autopeft.store import Repository

    with Repository.open(database_url(db)) as repository:
        found = import_peft_comparison(repository, folder, name)
    if as_json:
        render.print_json([asdict(one) for one in found])
        return
    for one in found:
        already = f", {one.known} there already" if one.known else ""
        render.print_line(f"Study {one.study}: {one.added} new trial{'' if one.added == 1 else 's'}{already}")
        if one.other:
            render.print_line(
                f"  of another date than the study's, which stay: {', '.join(one.other)}. Import into another --name to "
                "have these."
            )
    for path, reason in found[0].left_out.items():
        render.print_line(f"  left out {path}: {reason}")
