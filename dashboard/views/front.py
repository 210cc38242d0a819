"""The front: any two objectives, limits to move, a point to choose."""

import math
import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from autopeft.confirmation import FOUND
from autopeft.dashboard import database
from autopeft.dashboard.card import card, recipe
from autopeft.dashboard.choice import choose_study
from autopeft.dashboard.words import plain
from autopeft.report.figures.front import described, front_figure
from autopeft.report.figures.look import CONFIG


def _number(point: Mapping[str, Any]) -> int:
    # A list from the browser, or a mapping of positions, by what the figure was made from.
    data = point["customdata"]
    return int(data["0"] if isinstance(data, Mapping) else data[0])


study = choose_study()
version = database.follow(study)
summary = database.summary(database.url(), study.name, version)

st.title(plain(study.name), anchor=False)
by = "confirmed means" if summary.by_confirmed else "the search's own scores"
st.caption(
    f"{plain(summary.model)} on {plain(summary.data)} · budget {plain(summary.budget)} ({summary.limit:,} parameters) · "
    f"{summary.counts['complete']:,} complete, {summary.counts['stopped']:,} stopped, {summary.counts['failed']:,} failed · "
    f"the front is by {by}"
)
frame = database.frame(database.url(), study.name, version)  # of a large study the slowest, and last
running = int((frame["status"] == "running").sum())
if not summary.front:
    failed = frame[frame["status"] == "failed"]
    if running or (frame["status"] == "waiting").any():
        st.info(
            f"{running} trials are running; the front appears with the first complete one.",
            icon=":material/hourglass:",
        )
    elif len(failed):
        st.error(
            "Every trial of the search has failed. The page Progress lists the reasons.",
            icon=":material/error:",
        )
    else:
        st.info("The study has no trial yet. It goes on with:", icon=":material/play_arrow:")
        st.code(shlex.join(["autopeft", "resume", study.name]), language="bash")
    st.stop()

names = {"score": summary.metric, "trainable": "trainable parameters", "seconds": "training seconds"}
names |= {one["name"]: one["title"] for one in summary.objectives if one["name"] not in names}
missing = [
    one["title"]
    for one in summary.objectives
    if one["name"] in frame and not frame[one["name"]].notna().any()
]
if missing:
    st.warning(f"Not measured on any trial yet: {plain(', '.join(missing))}. The other objectives are drawn.")

with st.expander("Axes and limits", expanded=False, icon=":material/tune:"):
    first, second, third, fourth = st.columns(4)
    x = first.selectbox("Across", list(names), index=list(names).index("trainable"), format_func=names.get)
    y = second.selectbox("Upwards", [n for n in names if n != x], format_func=names.get)
    others = [name for name in names if name not in (x, y)]
    more = third.selectbox("Third", [None, *others], format_func=lambda n: "none" if n is None else names[n])
    as_size = fourth.segmented_control("Third as", ["colour", "size"], default="colour") == "size"
    log = first.toggle("Logarithmic across", value=x == "trainable", key=f"log-{x}")
    left, right = st.columns(2)
    steps = [step * 10**power for power in range(10) for step in (1, 2, 5)]
    steps = [step for step in steps if step < summary.limit] + [summary.limit]
    least, most = left.select_slider(
        "Trainable parameters", steps, value=(steps[0], steps[-1]), format_func=lambda n: f"{n:,}"
    )
    found = frame[frame["kind"].isin(FOUND) & frame["score"].notna()]
    scores = frame["score"].dropna()
    low, high = float(math.floor(scores.min() * 100) / 100), float(math.ceil(scores.max() * 100) / 100)
    if not low < high:
        high = low + 0.01
    between = right.slider(summary.metric, low, high, (low, high))
    inside = frame["trainable"].clip(lower=1).between(least, most)
    inside &= frame["score"].isna() | frame["score"].between(*between)
    for one in summary.objectives[2:]:
        values = frame[one["name"]].dropna()
        if len(values) > 1 and values.min() < values.max():
            limits = right.slider(
                plain(one["title"]),
                float(values.min()),
                float(values.max()),
                (float(values.min()), float(values.max())),
            )
            inside &= frame[one["name"]].isna() | frame[one["name"]].between(*limits)
    shown = frame[inside]
    st.caption(
        f"{int(inside[found.index].sum()):,} of {len(found):,} complete trials of the search are inside."
    )

selected: list[int] = st.session_state.get(f"chosen-{study.name}", [])
figure = front_figure(
    shown,
    summary,
    x=x,
    y=y,
    third=more,
    as_size=as_size,
    log_x=log and bool((shown[x] > 0).any()),
    selected=selected,
)
event = st.plotly_chart(
    figure,
    key=f"front-{study.name}",
    on_select="rerun",
    selection_mode=("points", "box"),
    config=CONFIG,
    alt=described(shown, summary),
)
picked = list(dict.fromkeys(_number(point) for point in event.selection.points if point.get("customdata")))
if picked and picked != selected:
    st.session_state[f"chosen-{study.name}"] = picked
    st.rerun()
number = None
rows = {row.number: row for row in summary.front}
if len(selected) > 1:
    chosen = frame[frame["number"].isin(selected)][["number", "score", "trainable", "seconds", "status"]]
    st.caption(f"{len(chosen)} trials are in the box. Choose one:")
    table = st.dataframe(
        chosen.sort_values("trainable"),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        height=200,
    )
    if table.selection.rows:
        number = int(chosen.sort_values("trainable").iloc[table.selection.rows[0]]["number"])
elif selected:
    number = selected[0]
if number is None and len(selected) < 2:
    number = next((row.number for row in summary.front if row.knee), summary.front[-1].number)
    st.caption(
        "This is the knee. Click a point for another one, or draw a box around several with the chart's box tool."
    )
if number is not None:
    with st.container(border=True):
        card(study, summary, number)
        left, right = st.columns(2)
        if left.button("See where its parameters are", icon=":material/grid_on:"):
            st.session_state[f"anatomy-{study.name}"] = number
            st.switch_page("views/anatomy.py")
        if right.button("Read its recipe", icon=":material/description:"):
            st.session_state[f"export-{study.name}"] = number
            st.switch_page("views/export.py")
        if frame.loc[frame["number"] == number, "status"].eq("complete").all():
            recipe(study, number, read=False)

with st.expander("The front as a table", icon=":material/table:"):
    st.dataframe(
        pd.DataFrame(
            {
                "trial": row.number,
                "role": "knee" if row.knee else "best" if row.best else "",
                summary.metric: row.reported,
                "±": None if row.confirmed is None else row.confirmed.standard_error,
                "trainable": row.trainable,
                "share": 100 * row.share,
                "configuration": row.description,
            }
            for row in summary.front
        ),
        hide_index=True,
        column_config={
            summary.metric: st.column_config.NumberColumn(format="%.4f"),
            "±": st.column_config.NumberColumn(format="%.4f"),
            "trainable": st.column_config.NumberColumn(format="localized"),
            "share": st.column_config.NumberColumn(format="%.3f %%"),
        },
    )
