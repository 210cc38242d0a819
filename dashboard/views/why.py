"""Why: what each decision is worth, and how far the surrogate can be believed."""

from typing import Any

import pandas as pd
import streamlit as st

from autopeft.dashboard import database
from autopeft.dashboard.choice import choose_study
from autopeft.report.figures.look import CONFIG
from autopeft.report.figures.why import calibration_figure, importance_figure, parallel_figure, slice_figure
from autopeft.report.why import Foretold, decisions, foretold, importance, space_of

study = choose_study()
version = database.follow(study)
summary = database.summary(database.url(), study.name, version)
st.title("Why", anchor=False)
space = space_of(study)
if space is None:
    st.info(
        "This study does not say which space it searched on which shape of backbone, so its decisions cannot be told apart.",
        icon=":material/info:",
    )
    st.stop()


@st.cache_data(max_entries=5, show_spinner="Asking which decisions matter")
def _analysed(
    url: str, name: str, version: tuple[Any, ...]
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    assert space is not None
    table = decisions(space, database.trials(url, name, version), summary.metric)
    wanted = {"score": summary.metric} | {one["name"]: one["title"] for one in summary.objectives[1:]}
    return table, {title: found for n, title in wanted.items() if (found := importance(space, table, n))}


@st.cache_data(max_entries=5, show_spinner="Holding the surrogate against what was measured")
def _foretold(url: str, name: str, version: tuple[Any, ...]) -> list[Foretold]:
    assert space is not None
    return foretold(space, database.trials(url, name, version), summary.metric)


table, worth = _analysed(database.url(), study.name, version)
if len(table) < 4:
    st.info(
        f"{len(table)} trials of the search are complete: with four, decisions can be told apart.",
        icon=":material/hourglass:",
    )
    st.stop()
st.subheader("Which decisions matter", anchor=False)
st.caption(
    "Share of an objective's variance over the search's trials that each decision explains by itself and with others (fANOVA). It says "
    "what mattered among what was tried."
)
st.plotly_chart(
    importance_figure(worth),
    key="importance",
    config=CONFIG,
    alt="; ".join(
        f"{title}: " + ", ".join(f"{n} {s:.0%}" for n, s in list(found.items())[:5])
        for title, found in worth.items()
    ),
)
first = next(iter(worth.values()), {})
ranked = [name for name in first if table[name].nunique() > 1]
if ranked:
    st.subheader("Trials as lines", anchor=False)
    chosen = st.multiselect("Decisions", [d.name for d in space.decisions], default=ranked[:6])
    st.caption("Drag along an axis to keep the lines that pass there; drag an axis's name to move it.")
    st.plotly_chart(
        parallel_figure(table, space, chosen, summary.metric),
        key="parallel",
        config=CONFIG,
        alt=f"Parallel coordinates of {len(table)} trials over {', '.join(chosen)}",
    )
    st.subheader("One decision at a time", anchor=False)
    name = st.selectbox("Decision", ranked)
    st.plotly_chart(
        slice_figure(table, space, name, summary.metric),
        key="slice",
        config=CONFIG,
        alt=f"{summary.metric} of {len(table)} trials against {name}",
    )
st.subheader("What the surrogate knows", anchor=False)
held = _foretold(database.url(), study.name, version)
if not held:
    st.info(
        "With ten complete trials the surrogate can be held against what it was not told.",
        icon=":material/hourglass:",
    )
else:
    inside = sum(one.within <= 2 for one in held) / len(held)
    st.plotly_chart(
        calibration_figure(held, summary.metric),
        key="calibration",
        config=CONFIG,
        alt=f"Foretold against measured {summary.metric} of {len(held)} trials; {inside:.0%} lie within two standard deviations",
    )
    st.caption(
        f"Each of {len(held)} trials as foretold from the others: {inside:.0%} lie within two standard deviations (95% if the "
        "surrogate knows how much it does not know)."
    )
