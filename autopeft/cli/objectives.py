"""`autopeft objectives`: what a search may be for, and how each comes about."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson
from autopeft.registry import TRADE_OFF, find_objective
from autopeft.registry import objectives as known_objectives

if TYPE_CHECKING:
    from autopeft.registry import Objective


@in_a_sentence
def objectives(
    objective: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Tell how this one comes about, such as memory.", show_default=False
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List what a search may be for, or tell how one of them is computed or measured."""
    from autopeft.cli import draw_objectives, render

    if objective is not None:
        row = _row(find_objective(objective))
        if as_json:
            render.print_json(row)
        else:
            render.show(draw_objectives.draw_objective(row))
        return
    found = [known for known in known_objectives().values() if known.searchable]
    rows = [_row(known) for known in sorted(found, key=lambda known: known.name not in TRADE_OFF)]
    if as_json:
        render.print_json(rows)
    else:
        render.show(draw_objectives.draw_objectives(rows))


def _row(known: "Objective") -> dict[str, Any]:
    return {
        **known.described(),
        "known": known.known,
        "log": known.log,
        "about": known.about,
    }
