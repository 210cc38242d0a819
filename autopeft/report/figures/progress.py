"""How searches came along, as pictures."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from autopeft.nouns import TrialStatus
from autopeft.report.figures.look import BLUE, GREY, ORANGE, SERIES, SKY, VERMILION, laid_out, said

_FATES = {
    TrialStatus.COMPLETE: BLUE,
    TrialStatus.STOPPED: SKY,
    TrialStatus.FAILED: VERMILION,
    TrialStatus.RUNNING: ORANGE,
    TrialStatus.WAITING: GREY,
}


def hypervolume_figure(curves: Mapping[str, pd.DataFrame], *, by_time: bool = False) -> go.Figure:
    """The hypervolume of one or several studies, over complete trials or over time.

    Args:
        curves: Study to what `autopeft.report.progress.hypervolume_curve` says, all counted from the same.
        by_time: Over seconds since the first trial, not over trials.
    """
    figure = go.Figure()
    longest = max((float(curve["seconds"].max()) for curve in curves.values() if len(curve)), default=0.0)
    unit, divisor = ("hours", 3600.0) if longest > 2 * 3600 else ("minutes", 60.0)
    for (name, curve), colour in zip(curves.items(), SERIES * 3, strict=False):
        figure.add_scatter(
            x=curve["seconds"] / divisor if by_time else curve["trials"],
            y=curve["hypervolume"],
            mode="lines",
            line={"shape": "hv", "color": colour, "width": 2.5},
            name=said(name),
            hovertemplate="%{x:.3~g}: %{y:.4f}<extra>" + said(name) + "</extra>",
        )
    x = f"{unit} since the first trial" if by_time else "complete trials of the search"
    laid_out(figure, x=x, y="hypervolume", height=340, legend=len(curves) > 1)
    figure.update_yaxes(rangemode="tozero")
    return figure


def fate_figure(frame: pd.DataFrame) -> go.Figure:
    """What became of trials in the order in which they were proposed: bars of up to forty groups."""
    if not len(frame):
        return laid_out(go.Figure(), x="trial", y="trials", height=240)
    each = max(1, -(-len(frame) // 40))
    group = frame["number"] // each
    figure = go.Figure()
    for status, colour in _FATES.items():
        count = group[frame["status"] == status].value_counts().sort_index()
        if len(count):
            figure.add_bar(
                x=count.index * each,
                y=count,
                width=each * 0.9,
                name=status.value,
                marker={"color": colour},
                hovertemplate="%{y} " + status.value + " of trials from %{x}<extra></extra>",
            )
    laid_out(figure, x="trial", y="trials", height=240)
    figure.update_layout(barmode="stack", dragmode=False)
    return figure


def sparkline(values: list[float]) -> list[float]:
    """A hypervolume's course for a small picture in a table: at most forty values."""
    if len(values) <= 40:
        return values
    step = len(values) / 40
    return [values[int(i * step)] for i in range(40)] + [values[-1]]
