"""`autopeft doctor`: what keeps a search from working, and what to do about it."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from autopeft.cli.database import database_url
from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson, Database


@in_a_sentence
def doctor(
    *,
    db: Database = None,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray/--no-ray", help="Start and stop Ray, which takes 10 to 20 seconds, or leave it out."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Look for what would keep a search from working, and say what to do about it.

    Looks at versions, processor and GPUs, the database, room on disks, the bundled starter, and Ray. Each line is ok, a note
    (nothing has to be done) or a problem, with what to do. Nothing is made or changed: a database that is not there yet is not made.

    Exit code 0 without a problem, 1 with one: `autopeft doctor && autopeft search ...`.
    """
    import contextlib

    from autopeft.cli import render
    from autopeft.doctor import examine

    findings = []
    # Libraries talk while they are imported; only what was found belongs on stdout.
    with contextlib.redirect_stdout(sys.stderr):
        for finding in examine(database_url(db), start_ray=ray):
            findings.append(finding)
            if not as_json:
                with contextlib.redirect_stdout(sys.__stdout__):
                    render.print_finding(finding)
    counts = {state: sum(one.state == state for one in findings) for state in ("ok", "note", "problem")}
    if as_json:
        render.print_json({"findings": [asdict(one) for one in findings], **counts})
    else:
        render.print_line(
            "No problem was found."
            if not counts["problem"]
            else f"Problems: {counts['problem']}. Each says what to do."
        )
    if counts["problem"]:
        raise typer.Exit(1)
