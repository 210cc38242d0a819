"""The table of objectives, drawn for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def draw_objectives(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A row an objective."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("Objective", "Better", "Unit", "Is", "What it is"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(
            Text(row["short"], style="bold"),
            _better(row),
            row["unit"] or "-",
            _is(row),
            " ".join(row["about"].split("\n\n")[0].split()),
        )
    note = Text(
        "\n`autopeft objectives NAME` tells all about one; `autopeft search --objectives` takes two to four."
    )
    return Group(table, Text.assemble(note, style="dim"))


def draw_objective(row: Mapping[str, Any]) -> RenderableType:
    """All about one objective."""
    ratios = "; ratios count" if row["log"] else ""
    return Group(
        Text.assemble((row["short"], "bold"), f" · {row['title']}, as `{row['name']}` in --json"),
        Text(f"{_better(row)} is better; unit: {row['unit'] or 'none'}; {_is(row)}{ratios}", style="dim"),
        *(Text("\n" + " ".join(part.split())) for part in row["about"].split("\n\n")),
    )


def _better(row: Mapping[str, Any]) -> str:
    return "more" if row["direction"] == "maximize" else "less"


def _is(row: Mapping[str, Any]) -> str:
    return "known before training" if row["known"] else "measured"
