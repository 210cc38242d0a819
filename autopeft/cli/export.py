"""`autopeft export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson, Database, StudyName


class Target(StrEnum):
    """What a trial can be exported as."""

    PEFT = "peft"
    SCRIPT = "script"
    TRL = "trl"
    AXOLOTL = "axolotl"
    LLAMAFACTORY = "llamafactory"
    ADAPTERS = "adapters"
    PEFT_COMPARISON = "peft-comparison"


@in_a_sentence
def export(
    study: StudyName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; it is made.")],
    *,
    pick: Annotated[
        str,
        typer.Option(
            metavar="knee|best|TRIAL",
            help="Which trial: knee (where more parameters stop paying), best (best score; both by confirmed "
            "scores where there are any), or a "
            "trial's number.",
        ),
    ] = "knee",
    to: Annotated[
        Target,
        typer.Option(
            help="As what: peft (the trained adapter, in peft's own format where peft has one), script (a "
            "training script that reproduces it), or a recipe for another trainer. What each keeps: docs/recipes.md."
        ),
    ] = Target.PEFT,
    lossy: Annotated[
        bool,
        typer.Option(
            "--lossy",
            help="Where a trainer cannot say all of it, write the nearest, and in it what was lost.",
        ),
    ] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Write one trial as an adapter folder, a training script, or a recipe for a trainer that you use."""
    from autopeft.cli import render
    from autopeft.service import export as run

    written = run(study, pick, to.value, folder, lossy=lossy, db=db)
    if as_json:
        render.print_json({"study": study, "pick": pick, "to": to.value, "path": str(written)})
    else:
        render.print_line(f"Wrote {written}")
