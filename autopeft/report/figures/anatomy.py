"""Where a configuration has its parameters, as pictures that a person understands at once."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from autopeft.report.anatomy import Anatomy, Cell, Occupant
from autopeft.report.figures.look import AMOUNTS, CALM, SERIES, VERMILION, laid_out, said

_ROW, _MOST = 30, 900  # pixels a layer, and of all layers
_EMPTY = "rgba(128, 128, 128, 0.10)"
_ABBREVIATED = {"serial": "ser", "parallel": "par", "prefix": "pre"}


def anatomy_figure(found: Anatomy, *, marked: Iterable[Cell] = (), title: str = "") -> go.Figure:
    """Layers × sites: what stands at each place, and by its colour how many parameters that has.

    Args:
        found: The configuration on its backbone.
        marked: Places with a frame around them, such as those where another configuration differs.
        title: Above it.
    """
    known = any(one.parameters is not None for there in found.there.values() for one in there)
    cells = {
        place: float(found.parameters(*place)) if known else float(len(there))
        for place, there in found.there.items()
    }
    texts = {place: "<br>".join(_short(one) for one in there) for place, there in found.there.items()}
    hovers = {
        place: "<br>".join(_long(one) for one in there) or "nothing" for place, there in found.there.items()
    }
    figure = _grid(found, cells, texts, hovers, title="parameters" if known else "modules", log=known)
    for layer, site in marked:
        at = found.sites.index(site)
        figure.add_shape(
            type="rect",
            x0=at - 0.47,
            x1=at + 0.47,
            y0=layer - 0.45,
            y1=layer + 0.45,
            line={"color": VERMILION, "width": 3},
        )
    if title:
        figure.update_layout(title={"text": said(title), "font": {"size": 14}}, margin={"t": 50})
    return figure


def in_common_figure(empty: Anatomy, shares: Mapping[Cell, float], members: int) -> go.Figure:
    """Layers × sites: the share of the front's members that have a module there."""
    texts = {place: f"{100 * share:.0f}%" for place, share in shares.items()}
    hovers = {place: f"{round(share * members)} of {members} members" for place, share in shares.items()}
    return _grid(empty, dict(shares), texts, hovers, title="share", most=1.0)


def by_layer_figure(found: Anatomy) -> go.Figure:
    """Trainable parameters of each layer, by kind of module."""
    kinds = sorted({one.kind for there in found.there.values() for one in there})
    figure = go.Figure()
    for kind, colour in zip(kinds, SERIES * 4, strict=False):
        amounts = [0] * found.layers
        for (layer, _), there in found.there.items():
            amounts[layer] += sum(one.parameters or 0 for one in there if one.kind == kind)
        figure.add_bar(
            x=list(range(found.layers)),
            y=amounts,
            name=kind,
            marker={"color": colour},
            hovertemplate=f"layer %{{x}}: %{{y:,}} parameters of {said(kind)}<extra></extra>",
        )
    laid_out(figure, x="layer", y="trainable parameters", height=260)
    figure.update_layout(barmode="stack", dragmode=False)
    figure.update_xaxes(dtick=1 if found.layers <= 24 else 4)
    return figure


def learning_figure(curves: Sequence[tuple[str, Mapping[int, float]]], metric: str) -> go.Figure:
    """Scores by epoch; the first curve is the trial's own, the others those of the same configuration trained anew."""
    figure = go.Figure()
    for number, (name, scores) in enumerate(curves):
        epochs = sorted(scores)
        figure.add_scatter(
            x=epochs,
            y=[scores[epoch] for epoch in epochs],
            mode="lines+markers",
            name=said(name),
            line={"color": SERIES[0] if number == 0 else CALM, "width": 3 if number == 0 else 1.5},
            marker={"size": 8 if number == 0 else 5},
        )
    laid_out(figure, x="epoch", y=said(metric), height=260, legend=len(curves) > 1)
    figure.update_xaxes(dtick=1 if max((max(s, default=0) for _, s in curves), default=0) <= 20 else None)
    figure.update_layout(dragmode=False)
    return figure


def in_words(found: Anatomy) -> str:
    """An anatomy in words, for those who do not see it."""
    if not found.there:
        return "No module anywhere: the frozen backbone with its head."
    sites = [site for site in found.sites if any(at == site for _, at in found.there)]
    layers = sorted({layer for layer, _ in found.there})
    return (
        f"Modules at {len(found.there)} places: in layers {', '.join(map(str, layers))} of {found.layers}, "
        f"at {', '.join(sites)}."
    )


def _grid(
    found: Anatomy,
    cells: Mapping[Cell, float],
    texts: Mapping[Cell, str],
    hovers: Mapping[Cell, str],
    *,
    title: str,
    log: bool = False,
    most: float | None = None,
) -> go.Figure:
    def shade(place: Cell) -> float | None:
        value = cells.get(place)
        return None if not value else math.log10(value) if log else value

    sites, layers = list(found.sites), list(range(found.layers))
    bar: dict[str, Any] = {
        "title": {"text": title, "side": "top"},
        "orientation": "h",
        "thickness": 10,
        "len": 0.6,
        "x": 0.3,
        "yanchor": "top",
        "y": -80 / _height(len(layers)),
    }
    if log:
        powers = range(10)
        bar |= {"tickvals": list(powers), "ticktext": [f"{10**p:,}" for p in powers]}
    figure = go.Figure(
        go.Heatmap(  # the places, whether something stands there or not
            x=list(range(len(sites))),
            y=layers,
            z=[[1.0] * len(sites)] * len(layers),
            colorscale=[[0.0, _EMPTY], [1.0, _EMPTY]],
            showscale=False,
            hoverinfo="skip",
            xgap=3,
            ygap=3,
        )
    )
    figure.add_trace(
        go.Heatmap(
            x=list(range(len(sites))),
            y=layers,
            z=[[shade((layer, site)) for site in sites] for layer in layers],
            text=[[texts.get((layer, site), "") for site in sites] for layer in layers],
            customdata=[[hovers.get((layer, site), "nothing") for site in sites] for layer in layers],
            texttemplate="%{text}",
            hovertemplate="layer %{y}, %{customdata}<extra></extra>",
            hoverongaps=False,
            colorscale=AMOUNTS,
            zmin=0,
            zmax=most if most is not None else (4.0 if log else None),
            xgap=3,
            ygap=3,
            colorbar=bar,
        )
    )
    laid_out(figure, x="", y="layer", height=_height(len(layers)) + 140, legend=False)
    figure.update_xaxes(
        tickvals=list(range(len(sites))), ticktext=sites, showgrid=False, range=[-0.5, len(sites) - 0.5]
    )
    figure.update_yaxes(
        tickvals=layers if len(layers) <= 24 else layers[::4],
        showgrid=False,
        range=[len(layers) - 0.5, -0.5],  # the first layer on top, as a reader goes
    )
    figure.update_layout(dragmode=False)
    return figure


def _height(layers: int) -> int:
    return min(_ROW * max(layers, 4), _MOST)


def _short(one: Occupant) -> str:
    kind = _ABBREVIATED.get(one.kind, one.kind)
    return said(kind if one.size is None else f"{kind} {one.size:g}")


def _long(one: Occupant) -> str:
    size = "" if one.size is None else f" {one.size:g}"
    count = "" if one.parameters is None else f": {one.parameters:,} parameters"
    return f"{said(one.kind)}{size}{count}"
