"""Search spaces, drawn for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autopeft.dsl import BoundSpace, Interval, PlainSpace, SearchSpace, Space
from autopeft.dsl.explain import Line, explain, headline
from autopeft.report.numbers import share_decimals, show_share


def right(shown: str, space: Space, decisions: int) -> Text:
    """The line about a space that was read."""
    return Text.assemble(
        (shown, "bold"), f" is right: {_many(decisions, 'decision')} of the space '{space.name}'."
    )


def draw_bound(shown: str, model: str, bound: BoundSpace, *, limited: bool) -> RenderableType:
    """A space that was read and bound to a model."""
    head = Text.assemble(
        (shown, "bold"),
        f" is right: {_many(len(bound.decisions), 'decision')} on the model ",
        (model, "bold"),
        ".",
    )
    return Group(head, Padding(_facts(bound, limited), (0, 0, 0, 2)))


def draw_space(
    space: Space, model: str, bound: BoundSpace, samples: Sequence[Mapping[str, Any]], *, limited: bool
) -> RenderableType:
    """A space in plain words, its size on a model, and samples."""
    lines = _head(space)
    lines += [
        Text.assemble("On the model ", (model, "bold")),
        Padding(_facts(bound, limited), (0, 0, 0, 2)),
        Text(),
    ]
    return Padding(Group(*lines, Text("Samples"), Padding(_samples(samples), (0, 0, 0, 2))), (1, 0, 1, 2))


def draw_plain(space: Space, plain: PlainSpace, samples: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A space without modules in plain words, how many points it has, and samples."""
    points = Text.assemble(("Points  ", "dim"), _cardinality(plain))
    drawn = [Text(", ".join(f"{name} {_shown(v)}" for name, v in sample.items())) for sample in samples]
    below = Padding(Group(*drawn), (0, 0, 0, 2))
    return Padding(Group(*_head(space), points, Text(), Text("Samples"), below), (1, 0, 1, 2))


def _shown(value: Any) -> str:
    return (
        f"{value:g}"
        if isinstance(value, float)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )


def _head(space: Space) -> list[RenderableType]:
    title = Text.assemble((space.name, "bold"), f" · {space.source}" if space.source else "")
    about = headline(space.text)
    return [title, *([Text(about)] if about else []), Text(), *map(_line, explain(space)), Text()]


def _cardinality(space: SearchSpace) -> str:
    once = any(isinstance(d, Interval) and d.low < d.high for d in space.decisions)
    return f"{space.cardinality:,}{', an interval counted as one' if once else ''}"


def draw_spaces(rows: Sequence[Mapping[str, str]]) -> RenderableType:
    """A line for each space: name, what it is about, source."""
    table = _table("Space", "What may be chosen", "Source")
    for row in rows:
        table.add_row(Text(row["name"], style="bold"), Text(row["about"]), Text(row["source"]))
    return Padding(table, (1, 0, 1, 2))


def _line(line: Line) -> RenderableType:
    name, colon, rest = line.text.partition(": ")
    # What a long line goes on with stands under its beginning.
    return Padding(
        Text.assemble((name, "bold" if line.depth == 0 else ""), colon, rest), (0, 0, 0, 2 * line.depth)
    )


def _facts(bound: BoundSpace, limited: bool) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("Configurations", _cardinality(bound))
    for title, cost in (("Smallest", bound.smallest), ("Largest", bound.largest)):
        grid.add_row(
            title, f"{cost:,} parameters, {show_share(cost / bound.shape.parameters)} of the backbone"
        )
    if limited:
        left = (
            "all of them"
            if bound.largest <= bound.limit
            else f"those of {bound.smallest:,} to {bound.limit:,}"
        )
        grid.add_row("Budget", f"at most {bound.limit:,} parameters: {left}")
    return grid


def _samples(samples: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Trainable", "Share", "Configuration", right=2)
    decimals = share_decimals(sample["share"] for sample in samples)
    for sample in samples:
        table.add_row(
            f"{sample['trainable']:,}", show_share(sample["share"], decimals), Text(sample["description"])
        )
    return table


def _table(*titles: str, right: int = 0) -> Table:
    table = Table(
        box=box.HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0), header_style="dim", border_style="dim"
    )
    for i, title in enumerate(titles):
        table.add_column(
            title, justify="right" if i < right else "left", no_wrap=i < max(1, right), overflow="fold"
        )
    return table


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
