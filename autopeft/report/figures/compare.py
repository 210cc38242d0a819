"""Fronts of several studies in one picture."""

from collections.abc import Sequence

import plotly.graph_objects as go

from autopeft.report.figures.front import rising
from autopeft.report.figures.look import SERIES, laid_out, log_axis, said, wrapped
from autopeft.report.numbers import show_mean
from autopeft.report.summary import Summary

_SIGNS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")


def fronts_figure(summaries: Sequence[Summary]) -> go.Figure:
    """The fronts of score against trainable parameters as step lines: colour and sign tell the studies apart."""
    figure = go.Figure()
    for number, summary in enumerate(summaries):
        colour, sign = SERIES[number % len(SERIES)], _SIGNS[number % len(_SIGNS)]
        rows = [row for row in rising(summary.front, summary.direction) if row.trainable > 0]
        figure.add_scatter(
            x=[row.trainable for row in rows],
            y=[row.reported for row in rows],
            mode="lines+markers",
            line={"shape": "hv", "color": colour, "width": 2},
            marker={"size": 10, "symbol": sign},
            name=said(summary.name),
            customdata=[[row.number, wrapped(row.description), show_mean(row.reported)] for row in rows],
            hovertemplate="<b>trial %{customdata[0]}</b> of "
            + said(summary.name)
            + "<br>%{customdata[1]}<br>%{x:,} parameters · %{customdata[2]}<extra></extra>",
        )
    metrics = sorted({summary.metric for summary in summaries})
    laid_out(figure, x="trainable parameters", y=said(" / ".join(metrics)), height=460)
    figure.update_xaxes(**log_axis([float(row.trainable) for summary in summaries for row in summary.front]))
    return figure
