"""The table of module types, drawn for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def draw_types(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A row a type."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("Type", "Size", "Goes to", "Start", "Tested on", "peft reads it", "What it is"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(
            Text(row["type"], style="bold"),
            row["size"] or "-",
            _sites(row["sites"]),
            "identity" if row["identity"] else "changed",
            ", ".join(row["families_tested"]) or "-",
            "yes" if row["loads_with_peft"] else "no",
            row["about"],
        )
    note = Text("\n`autopeft modules TYPE` tells the fields of one type.", style="dim")
    return Group(table, note)


def _sites(sites: Sequence[str]) -> str:
    if not sites:
        return "-"
    return (
        "linear maps"
        if "q" in sites and "norm" not in sites
        else " ".join(sites)
        if len(sites) <= 2
        else "biases"
    )


def draw_type(row: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]) -> RenderableType:
    """All about one type."""
    parts: list[RenderableType] = [
        Text.assemble((row["type"], "bold"), f" · {row['about']}"),
        Text(f"source: {row['source']}", style="dim"),
        Text(f"sites: {', '.join(row['sites']) or 'none'}; size: {row['size'] or 'none'}"),
    ]
    if row["unusable_here"]:
        parts.append(Text(f"cannot be used here: {row['unusable_here']}"))
    if fields:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("Field", "Kind", "Default", "What it is"):
            table.add_column(title, overflow="fold")
        for field in fields:
            kind = ", ".join(field["words"]) if field["words"] else field["kind"]
            default = "must be given" if field["default"] is None else str(field["default"])
            table.add_row(field["field"], kind, default.lower(), field["about"])
        parts.append(table)
    return Group(*parts)
