"""The trade-off: any two objectives of a study, a third as colour or size."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from autopeft.nouns import TrialKind
from autopeft.registry import TRADE_OFF
from autopeft.report.figures.look import (
    AMOUNTS,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    laid_out,
    log_axis,
    said,
    wrapped,
)
from autopeft.report.numbers import show_mean, show_value
from autopeft.report.points import thinned
from autopeft.report.summary import Row, Summary

_FOUND = (TrialKind.SEARCH, TrialKind.TRUNCATED)
_BASELINES = {TrialKind.HEAD_ONLY: "head only", TrialKind.LORA_QV: "LoRA on q,v"}


def front_figure(
    frame: pd.DataFrame,
    summary: Summary,
    *,
    x: str = "trainable",
    y: str = "score",
    third: str | None = None,
    as_size: bool = False,
    log_x: bool | None = None,
    selected: Sequence[int] = (),
    height: int = 480,
) -> go.Figure:
    """The trials as points, the front as a step line, with budget, knee, best, baselines and errors.

    Args:
        frame: As `points` has it, already filtered.
        summary: The study's.
        x: Objective across.
        y: Objective upwards.
        third: Another objective.
        as_size: Whether the third is told by the points' size, rather than by their colour.
        log_x: Whether x is on a log scale; by default where ratios count.
        selected: Trials that are marked.
        height: In pixels.
    """
    known = {one["name"]: one for one in summary.objectives}
    log = x == "trainable" if log_x is None else log_x
    figure = go.Figure()
    complete = frame[frame["kind"].isin(_FOUND) & frame[x].notna() & frame[y].notna()]
    if log:
        complete = complete[complete[x] > 0]
    _dominated(figure, thinned(complete, x, y), x, y, third, as_size, known)
    rows = [row for row in summary.front if _value(row, x) is not None and _value(row, y) is not None]
    if {x, y} == set(TRADE_OFF):
        _step(figure, rising(rows, summary.direction), x, y)
    _baselines(figure, summary, x, y, log)
    _members(figure, rows, summary, x, y)
    if selected:
        chosen = frame[frame["number"].isin(list(selected))]
        figure.add_scatter(
            x=chosen[x],
            y=chosen[y],
            mode="markers",
            name="chosen",
            hoverinfo="skip",
            marker={"size": 20, "symbol": "circle-open", "color": VERMILION, "line": {"width": 3}},
        )
    if x == "trainable":
        _budget(figure, summary, log)
    units = {name: str(one["unit"]) for name, one in known.items()}
    laid_out(figure, x=_title(summary, x), y=_title(summary, y), height=height)
    if log:
        shown = [*complete[x], *([summary.limit] if x == "trainable" else [])]
        figure.update_xaxes(**log_axis(shown, "" if x == "trainable" else units.get(x, "")))

    return figure


def _dominated(
    figure: go.Figure,
    frame: pd.DataFrame,
    x: str,
    y: str,
    third: str | None,
    as_size: bool,
    known: dict[str, Any],
) -> None:
    marker: dict[str, Any] = {"size": 8, "color": GREY, "opacity": 0.45}
    if third is not None and frame[third].notna().any():
        values = frame[third]
        if as_size:
            span = (values - values.min()) / ((values.max() - values.min()) or 1.0)
            marker = {"size": 6 + 18 * span.fillna(0.0), "color": GREY, "opacity": 0.45}
        else:
            title = said(str(known.get(third, {}).get("title", third)))
            marker = {
                "size": 9,
                "color": values,
                "colorscale": AMOUNTS,
                "opacity": 0.8,
                "colorbar": {"title": title},
            }
    figure.add_scatter(
        x=frame[x],
        y=frame[y],
        mode="markers",
        name="trials",
        customdata=frame[["number"]],
        marker=marker,
        hovertemplate="trial %{customdata[0]}<br>%{x:,.6~g} · %{y:.4f}<extra></extra>",
        unselected={"marker": {"opacity": 0.3}},
    )


def _step(figure: go.Figure, rows: Sequence[Row], x: str, y: str) -> None:
    """The best score inside each number of parameters: level up to the next member, then up."""
    figure.add_scatter(
        x=[_value(row, x) for row in rows],
        y=[_value(row, y) for row in rows],
        mode="lines",
        line={"shape": "hv" if x == "trainable" else "vh", "color": BLUE, "width": 2},
        name="front",
        hoverinfo="skip",
        showlegend=False,
    )


def _members(figure: go.Figure, rows: Sequence[Row], summary: Summary, x: str, y: str) -> None:
    errors = [0.0 if (e := _error(row)) is None else e for row in rows]
    kinds = ["star" if row.best else "diamond" if row.knee else "circle" for row in rows]
    colours = [GREEN if row.best else ORANGE if row.knee else BLUE for row in rows]
    texts = ["best" if row.best else "knee" if row.knee else "" for row in rows]
    bars = {"type": "data", "array": errors, "visible": any(errors), "color": BLUE, "thickness": 1.2}
    figure.add_scatter(
        x=[_value(row, x) for row in rows],
        y=[_value(row, y) for row in rows],
        mode="markers+text",
        text=texts,
        textposition="top center",
        name="front, confirmed" if summary.by_confirmed else "front",
        customdata=[[row.number, wrapped(row.description), _told(row)] for row in rows],
        hovertemplate="<b>trial %{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        error_y=bars if y == "score" else None,
        error_x=bars if x == "score" else None,
        marker={
            "size": [15 if text else 11 for text in texts],
            "symbol": kinds,
            "color": colours,
            "line": {"width": 1, "color": "white"},
        },
        unselected={"marker": {"opacity": 0.6}},
    )


def _baselines(figure: go.Figure, summary: Summary, x: str, y: str, log: bool) -> None:
    rows = [
        row
        for row in summary.baselines
        if (at := _value(row, x)) is not None and _value(row, y) is not None and (at > 0 or not log)
    ]
    if rows:
        figure.add_scatter(
            x=[_value(row, x) for row in rows],
            y=[_value(row, y) for row in rows],
            mode="markers+text",
            text=[_BASELINES[TrialKind(row.kind)] for row in rows],
            textposition="bottom center",
            name="baselines",
            customdata=[[row.number, wrapped(row.description), _told(row)] for row in rows],
            hovertemplate="<b>baseline, trial %{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
            marker={"size": 12, "symbol": "x", "color": PURPLE},
        )
    heads = [row for row in summary.baselines if row.kind == TrialKind.HEAD_ONLY and row not in rows]
    if log and y == "score" and heads and heads[0].reported is not None:
        # No parameters have no place on a log scale.
        figure.add_hline(
            y=heads[0].reported,
            line={"dash": "dot", "color": PURPLE, "width": 1},
            annotation={"text": "head only", "font": {"color": PURPLE}},
            annotation_position="bottom left",
        )


def _budget(figure: go.Figure, summary: Summary, log: bool) -> None:
    figure.add_vline(x=summary.limit, line={"dash": "dash", "color": VERMILION, "width": 1.5})
    figure.add_annotation(
        x=math.log10(summary.limit) if log else summary.limit,  # as Plotly has places on such an axis
        y=0,
        yref="paper",
        text=f"budget {said(summary.budget)}",
        font={"color": VERMILION},
        showarrow=False,
        xanchor="right",
        yanchor="bottom",
    )


def rising(rows: Sequence[Row], direction: str) -> list[Row]:
    """The members that are on the front of score against trainable parameters alone, by ascending parameters.

    Of a study with further objectives others are on its front as well.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.trainable, -sign * (row.reported or 0.0))):
        if row.reported is not None and (
            not found or sign * row.reported > sign * (found[-1].reported or 0.0)
        ):
            found.append(row)
    return found


def _value(row: Row, name: str) -> float | None:
    if name == "score":
        return row.reported
    if name == "trainable":
        return float(row.trainable)
    if name == "seconds":
        return row.seconds
    return row.reported_objective(name)


def _error(row: Row) -> float | None:
    return None if row.confirmed is None else row.confirmed.standard_error


def _told(row: Row) -> str:
    return f"{row.trainable:,} parameters · score {show_mean(row.reported, _error(row))}"


def _title(summary: Summary, name: str) -> str:
    if name == "score":
        way = "higher is better" if summary.direction == "maximize" else "lower is better"
        return f"{said(summary.metric)} ({way})"
    for one in summary.objectives:
        if one["name"] == name:
            return said(", ".join(filter(None, (one["title"], one["unit"]))))
    return said(name)


def described(frame: pd.DataFrame, summary: Summary) -> str:
    """The picture in words, for those who do not see it."""
    rows = summary.front
    if not rows:
        return "No trial of the search is complete yet."
    first, last = rows[0], rows[-1]
    ends = (
        f"from {show_value(first.reported, '')} with {first.trainable:,} parameters to {show_value(last.reported, '')} "
        f"with {last.trainable:,}"
    )
    return f"{summary.metric} against trainable parameters of {len(frame):,} trials; the front has {len(rows)} members, {ends}."
