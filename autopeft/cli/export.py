"""`autopeft export`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson, Database, StudyName
from autopeft.report.numbers import show_score


class Target(StrEnum):
    """What a trial can be exported as."""

    PEFT = "peft"
    SCRIPT = "script"
    AUTOPEFT = "autopeft"
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
            metavar="knee|best|TRIAL|BOUND",
            help="Which trial: knee (where more parameters stop paying), best (best score; both by confirmed "
            "scores where there are any), a trial's number, or the best of the front within bounds such as 'trainable<=0.1%' or "
            "'memory<=8GiB and time<=1h'; 'score>=0.9' picks the smallest.",
        ),
    ] = "knee",
    to: Annotated[
        Target,
        typer.Option(
            help="As what: peft (the trained adapter, in peft's own format where peft has one), script (a "
            "training script that reproduces it), autopeft (a recipe for `autopeft train`), or a recipe for another trainer. What "
            "each keeps: docs/recipes.md."
        ),
    ] = Target.PEFT,
    lossy: Annotated[
        bool,
        typer.Option(
            "--lossy",
            help="Where a trainer cannot say all of it, write the nearest, and in it what was lost.",
        ),
    ] = False,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Of peft: merge the adapter into the weights, and write the whole model. Refused where a module is no change of weights.",
        ),
    ] = False,
    compress: Annotated[
        str | None,
        typer.Option(
            metavar="8bit|ternary|energy=0.95",
            help="Of peft: make the adapter smaller. 8bit: each number in one byte; ternary: the signs of the few largest changes "
            "(ComPEFT), chosen by validation; energy: the ranks of LoRA that do this share of the work. The score before and after "
            "is measured.",
            show_default=False,
        ),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="REPO",
            help="Of peft: send the folder to this repository of the Hugging Face hub, such as me/my-adapter.",
            show_default=False,
        ),
    ] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Write one trial as an adapter folder, a training script, or a recipe for a trainer that you use."""
    from autopeft.cli import render
    from autopeft.service import export as run

    written = run(
        study,
        pick,
        to.value,
        folder,
        lossy=lossy,
        merge=merge,
        compress=compress,
        push_to_hub=push_to_hub,
        db=db,
    )
    figures = _compressed(written)
    if as_json:
        told = {} if figures is None else {"compressed": figures}
        render.print_json({"study": study, "pick": pick, "to": to.value, "path": str(written), **told})
        return
    render.print_line(f"Wrote {written}")
    if figures is not None:
        render.print_line(
            f"  {figures['how']}: {figures['bytes_after']:,} bytes instead of {figures['bytes_before']:,}; {figures['metric']} "
            f"{show_score(figures['score_after'])}, and {show_score(figures['score_before'])} before"
        )


def _compressed(folder: Path) -> dict[str, Any] | None:
    """What an adapter's folder says of its compression."""
    file = folder / "autopeft_config.json"
    found: dict[str, Any] | None = (
        json.loads(file.read_text(encoding="utf-8")).get("compressed") if file.is_file() else None
    )
    return found
