"""What a command that searches says at its end."""

from typing import TYPE_CHECKING

import typer

from autopeft.cli.terminal import say
from autopeft.errors import INTERRUPTED

if TYPE_CHECKING:
    from autopeft.report import Summary
    from autopeft.service import SearchResult


def tell_outcome(
    result: "SearchResult", summary: "Summary", *, more: str, db: str | None, as_json: bool
) -> None:
    """Print the front and what to do next.

    Args:
        result: What the search answered.
        summary: The study as it is now.
        more: The command that goes on.
        db: The database as it was named, or None for the default one.
        as_json: Whether JSON is wanted.

    Raises:
        typer.Exit: The search was interrupted; with that exit code.
    """
    from autopeft.cli import render

    if as_json:
        told = {"interrupted": result.interrupted, "to_confirm": result.to_confirm}
        render.print_json({**summary.to_json(), **told})
    else:
        render.print_front(summary)
        render.print_next_steps(summary, db=db, more=more, to_confirm=result.to_confirm)
    if result.interrupted:
        say(f"Interrupted. What was reported is kept; go on with: {more}")
        raise typer.Exit(INTERRUPTED)
