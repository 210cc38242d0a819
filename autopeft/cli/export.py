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
    AUTOPEFT = "autopeft"


@in_a_sentence
def export(
    study: StudyName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; it is made.")],
    *,
    pick: Annotated[
        str,
        typer.Option(
            metavar="knee|best|TRIAL|BOUND",
            help="Which trial: knee (where more parameters stop paying), best (best score; both by confirmed "
            "scores where there are any), a trial's number, or the best of the front within bounds such as 'trainable<=0.1%' or "
            "'memory<=8GiB and time<=1h'; 'score>=0.9' picks the smallest.",
        ),
    ] = "knee",
    to: Annotated[
        Target,
        typer.Option(
            help="As what: peft (the trained adapter, in peft's own format where peft has one), or script (a "
            "training script that reproduces it)."
        ),
    ] = Target.PEFT,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Write one trial as an adapter folder or as a training script."""
    from autopeft.cli import render
    from autopeft.service import export as run

    written = run(study, pick, to.value, folder, db=db)
    if as_json:
        render.print_json({"study": study, "pick": pick, "to": to.value, "path": str(written)})
    else:
        render.print_line(f"Wrote {written}")
