"""What all figures have in common: colours that colour-blind people tell apart, axes with readable ticks, calm surroundings."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from autopeft.report.numbers import show_value

# Okabe and Ito (2008), "Color universal design": told apart with every common kind of colour blindness, on white and on black.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#8C8C8C"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, YELLOW, GREY)

AMOUNTS = "Cividis"
"""Of amounts, from none to much: made for colour-blind people, and in order when it is printed grey."""

LOW_TO_HIGH = ((0.0, ORANGE), (0.5, GREY), (1.0, BLUE))
"""Of thin lines, each of which has to be seen on white and on black."""

CALM = "rgba(128, 128, 128, 0.28)"

CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["autoScale2d", "lasso2d"],
}
"""What every figure is shown with."""


def laid_out(figure: go.Figure, *, x: str, y: str, height: int = 420, legend: bool = True) -> go.Figure:
    """The figure with axis titles and this height; zoom and selection stay when it is drawn anew with new data."""
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0, "title": None},
        hoverlabel={"align": "left"},
        uirevision="kept",
        font={"size": 13},
    )
    figure.update_xaxes(title=x, automargin=True, gridcolor=CALM, zeroline=False)
    figure.update_yaxes(title=y, automargin=True, gridcolor=CALM, zeroline=False)
    return figure


def log_axis(values: Sequence[float], unit: str = "") -> dict[str, Any]:
    """A logarithmic axis over these values with ticks at 1, 2 and 5, as far as there is room, written as people do.

    >>> log_axis([120.0, 900.0])["ticktext"]
    ['100', '200', '500', '1k']
    """
    above = [value for value in values if value > 0 and math.isfinite(value)]
    if not above:
        return {"type": "log"}
    first, last = math.floor(math.log10(min(above))), math.ceil(math.log10(max(above)))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    low, high = min(above) / 1.6, max(above) * 1.6
    ticks = [tick for tick in ticks if low <= tick <= high] or ticks
    return {"type": "log", "tickvals": ticks, "ticktext": [short(tick, unit) for tick in ticks]}


def short(value: float, unit: str = "") -> str:
    """A number on an axis.

    >>> short(12_000), short(2.5e6), short(2048, "bytes")
    ('12k', '2.5M', '2.0 KiB')
    """
    if unit in ("bytes", "s", "FLOPs"):
        return show_value(value, unit)
    for power, sign in ((9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:g}{sign}"
    return f"{value:g}"


def said(text: str) -> str:
    """A text from the database inside a figure's text, where `<` begins a tag: shown as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def wrapped(text: str, width: int = 70) -> str:
    """A text in lines, for the label that appears over a point."""
    import textwrap

    return "<br>".join(said(line) for line in textwrap.wrap(text, width)) or "–"
