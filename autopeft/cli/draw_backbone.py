"""A backbone and the table of architectures, drawn for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autopeft.backbones.describe import like_layers, place_paths
from autopeft.backbones.layout import LayerLayout, Layout
from autopeft.nouns import LayerShape, Place

_MOST_UNNAMED = 12

TESTED_COLUMNS = {
    "name": "Architecture",
    "class": "Model",
    "takes": "Takes",
    "layers": "Layers",
    "sites": "Sites",
    "blocks": "Blocks",
    "prefix": "Prefix",
    "norms": "Norms",
    "input": "Prompt",
    "lora": "LoRA",
    "mixture": "Mixture",
    "notes": "Notes",
}
"""Keys of a row of `architecture_table` to the titles of their columns."""

_PAGE_ONLY = ("class", "layers", "norms", "notes")  # too wide for a terminal


def draw_backbone(model: str, name: str, layout: Layout) -> RenderableType:
    """What was found in a model; equal consecutive layers are drawn once."""
    shape = layout.shape
    sizes = [("hidden", shape.hidden), ("heads", shape.heads), ("intermediate", shape.intermediate)]
    parts: list[RenderableType] = [
        Text.assemble((model, "bold"), f" · {name} · {shape.parameters:,} parameters, the head not counted"),
        Text(
            " · ".join(
                [f"{title} {size}" for title, size in sizes if size]
                + [f"{len(shape.layers)} layer{'' if len(shape.layers) == 1 else 's'}"]
            )
        ),
    ]
    for run in like_layers(layout):
        first, last = layout.layers[run[0]], layout.layers[run[-1]]
        title = f"Layer {run[0]}" if len(run) == 1 else f"Layers {run[0]}-{run[-1]}"
        where = first.path if len(run) == 1 else f"{first.path} to {last.path}"
        parts += [
            Text.assemble("\n", (title, "bold"), f"  {where}"),
            Padding(_places(first, shape.layers[run[0]]), (0, 0, 0, 2)),
        ]
    rest = _rest(layout)
    if rest.row_count:
        parts += [Text(), rest]
    return Padding(Group(*parts), (1, 0, 1, 2))


def _places(where: LayerLayout, layer: LayerShape) -> Table:
    table = Table(
        box=box.HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0), header_style="dim", border_style="dim"
    )
    for title in ("Site", "Inputs", "Outputs", "Bias"):
        table.add_column(title, justify="left" if title == "Site" else "right", no_wrap=True)
    table.add_column("What is there", overflow="fold")
    for site, place in layer.places.items():
        inside = [path.removeprefix(f"{where.path}.") for path in place_paths(where, site, place)]
        outputs = "" if place.kind == "norm" else f"{place.outputs:,}"
        table.add_row(
            site, f"{place.inputs:,}", outputs, f"{place.bias:,}" if place.bias else "–", _what(place, inside)
        )
    return table


def _what(place: Place, inside: Sequence[str]) -> str:
    match place.kind:
        case "linear":
            return inside[0] + (" (stored as inputs x outputs)" if place.transposed else "")
        case "block":
            prefix = f", takes a prefix of 2 x {place.prefix_width:,} a token" if place.prefix_width else ""
            return f"from {inside[0]} to {inside[-1]}{prefix}"
        case _:
            return f"{len(inside)} norm{'' if len(inside) == 1 else 's'}: {', '.join(inside)}"


def _rest(layout: Layout) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    if layout.shape.input is not None:
        what = "a prompt joins" if layout.shape.input.outputs else "prefix_tuning alone goes before"
        grid.add_row("input", f"{what} {layout.input}, {layout.shape.input.inputs:,} a token")
    for site, reason in layout.shape.refused.items():
        grid.add_row(f"no {site}", reason)
    if layout.unnamed:
        more = len(layout.unnamed) - _MOST_UNNAMED
        listed = ", ".join(layout.unnamed[:_MOST_UNNAMED]) + (f" and {more} more" if more > 0 else "")
        grid.add_row("no site", f"{listed}: name them with --sites SITE=PATH where they are one")
    return grid


def draw_tested(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The table of architectures, and its notes below it."""
    columns = {key: title for key, title in TESTED_COLUMNS.items() if key not in _PAGE_ONLY}
    table = Table(
        box=box.HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0), header_style="dim", border_style="dim"
    )
    for title in columns.values():
        table.add_column(title, overflow="fold")
    notes = Table.grid(padding=(0, 2))
    notes.add_column(style="dim", no_wrap=True)
    notes.add_column(overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(row[key])) for key in columns))
        if row["notes"]:
            notes.add_row(Text(row["name"]), Text(row["notes"]))
    return Padding(Group(table, Text(), notes), (1, 0, 1, 2))
