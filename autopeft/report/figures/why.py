"""What each decision is worth, as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from autopeft.dsl import BoundSpace, Levels
from autopeft.report.figures.look import (
    AMOUNTS,
    BLUE,
    CALM,
    LOW_TO_HIGH,
    SERIES,
    laid_out,
    log_axis,
    said,
    short,
)
from autopeft.report.why import Foretold

_MOST_BARS = 12


def importance_figure(found: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Bars: by objective, the share of its variance that each decision explains; the most important ones.

    Args:
        found: Objective (as people call it) to decision to share.
    """
    weight: dict[str, float] = {}
    for shares in found.values():
        for name, share in shares.items():
            weight[name] = max(weight.get(name, 0.0), share)
    names = sorted(weight, key=lambda name: weight[name])[-_MOST_BARS:]
    figure = go.Figure()
    for (objective, shares), colour in zip(found.items(), SERIES, strict=False):
        figure.add_bar(
            y=[said(name) for name in names],
            x=[shares.get(name, 0.0) for name in names],
            orientation="h",
            name=said(objective),
            marker={"color": colour},
            hovertemplate="%{y}: %{x:.0%} of " + said(objective) + "<extra></extra>",
        )
    laid_out(figure, x="share of the variance", y="", height=120 + 34 * max(len(names), 3))
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_layout(barmode="group", dragmode=False)
    return figure


def parallel_figure(table: pd.DataFrame, space: BoundSpace, names: Sequence[str], score: str) -> go.Figure:
    """Parallel coordinates: a line a trial, coloured by its score; drag along an axis to see the lines that pass there.

    Args:
        table: As `autopeft.report.why.decisions` has it.
        space: The space.
        names: Decisions, the most important first; then the trainable parameters and the score are shown.
        score: What the score is, as people call it.
    """
    by_name = {decision.name: decision for decision in space.decisions}
    axes = [_axis(table, by_name[name]) for name in names]
    axes.append(_log_axis(table["trainable"], "trainable"))
    axes.append({"label": said(score), "values": table["score"]})
    figure = go.Figure(
        go.Parcoords(
            dimensions=axes,
            line={"color": table["score"], "colorscale": LOW_TO_HIGH, "showscale": False},
            labelangle=-20,
            labelfont={"size": 12},
            unselected={"line": {"color": CALM, "opacity": 0.15}},
        )
    )
    figure.update_layout(height=420, margin={"l": 70, "r": 50, "t": 90, "b": 30}, uirevision="kept")
    return figure


def slice_figure(table: pd.DataFrame, space: BoundSpace, name: str, score: str) -> go.Figure:
    """The score against one decision, coloured by the trainable parameters."""
    decision = next(d for d in space.decisions if d.name == name)
    values, jitter = table[name], np.random.default_rng(0).uniform(-0.12, 0.12, len(table))
    x: Any = values
    figure = go.Figure()
    if isinstance(decision, Levels) and not (decision.ordered and _numeric(decision.values)):
        labels = [str(v) for v in decision.values]
        x = np.array([labels.index(str(v)) for v in values]) + jitter
        figure.update_xaxes(tickvals=list(range(len(labels))), ticktext=[said(label) for label in labels])
    elif decision.log:
        figure.update_xaxes(**log_axis([float(v) for v in values]))
    ticks = log_axis([float(v) for v in table["trainable"]])
    figure.add_scatter(
        x=x,
        y=table["score"],
        mode="markers",
        customdata=table[["number", name]],
        hovertemplate="trial %{customdata[0]}<br>%{customdata[1]}: %{y:.4f}<extra></extra>",
        marker={
            "size": 9,
            "color": np.log10(table["trainable"].clip(lower=1)),
            "colorscale": AMOUNTS,
            "colorbar": {
                "title": "trainable",
                "thickness": 12,
                "tickvals": np.log10(ticks.get("tickvals", [1.0])),
                "ticktext": ticks.get("ticktext", ["1"]),
            },
        },
    )
    laid_out(figure, x=said(name), y=said(score), height=360, legend=False)
    return figure


def calibration_figure(found: Sequence[Foretold], metric: str) -> go.Figure:
    """What the surrogate foretold of trials that it was not told, with two standard deviations, against what was measured."""
    low = min(min(one.mean, one.measured) for one in found)
    high = max(max(one.mean, one.measured) for one in found)
    figure = go.Figure()
    figure.add_scatter(
        x=[low, high], y=[low, high], mode="lines", line={"color": CALM, "dash": "dash"}, hoverinfo="skip"
    )
    figure.add_scatter(
        x=[one.mean for one in found],
        y=[one.measured for one in found],
        mode="markers",
        customdata=[[one.number] for one in found],
        error_x={
            "type": "data",
            "array": [2 * one.deviation for one in found],
            "color": CALM,
            "thickness": 1.2,
        },
        marker={"size": 8, "color": BLUE},
        hovertemplate="trial %{customdata[0]}<br>foretold %{x:.4f}, measured %{y:.4f}<extra></extra>",
    )
    laid_out(
        figure,
        x=f"{said(metric)}, foretold (± 2 standard deviations)",
        y="measured",
        height=380,
        legend=False,
    )
    return figure


def _axis(table: pd.DataFrame, decision: Any) -> dict[str, Any]:
    values = table[decision.name]
    if isinstance(decision, Levels):
        labels = [short(v) if _numeric([v]) else str(v) for v in decision.values]
        places = [decision.position(v) for v in values]
        shown = range(len(labels)) if len(labels) <= 12 else range(0, len(labels), len(labels) // 8)
        return {
            "label": said(decision.name),
            "values": places,
            "tickvals": list(shown),
            "ticktext": [said(labels[i]) for i in shown],
            "range": [-0.2, len(labels) - 0.8],
        }
    if decision.log:
        return _log_axis(values, decision.name)
    return {"label": said(decision.name), "values": values}


def _log_axis(values: pd.Series, name: str) -> dict[str, Any]:
    ticks = log_axis([float(v) for v in values])
    return {
        "label": said(name),
        "values": np.log10(values.clip(lower=1e-12).astype(float)),
        "tickvals": np.log10(ticks.get("tickvals", [1.0])),
        "ticktext": ticks.get("ticktext", ["1"]),
    }


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
