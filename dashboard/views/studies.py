"""Every study of the database in a line."""

import pandas as pd
import streamlit as st

from autopeft.dashboard import database
from autopeft.dashboard.choice import remember
from autopeft.report.figures.progress import sparkline

_STATES = ("running", "waiting", "finished")


def _state(line: dict[str, object]) -> str:
    return "running" if line["running"] else "waiting" if line["waiting"] else "finished"


st.title("Studies")
repository = database.repository()
version = database.follow(None)
lines = database.studies(database.url(), version)
if not lines:
    st.info(
        "No study yet. This one takes two minutes:\n\n```bash\nautopeft search --trials 12\n```\n\nor start one on the page "
        "**New search**.",
        icon=":material/science:",
    )
    st.stop()
courses = database.courses(database.url(), version)
table = pd.DataFrame(
    {
        "study": line["name"],
        "state": _state(line),
        "progress": min(1.0, (line["complete"] + line["stopped"] + line["failed"]) / line["asked"])
        if line["asked"]
        else None,
        "trials": line["complete"] + line["stopped"] + line["failed"],
        "best": line["best_score"],
        "metric": line["metric"],
        "hypervolume": line["hypervolume"],
        "course": sparkline(courses.get(line["name"], [])),
        "front": line["front_size"],
        "budget": line["budget"],
        "model": line["model"],
        "data": line["data"],
        "space": line["space"],
        "owner": line["owner"],
        "failed": line["failed"],
        "created": line["created_at"],
    }
    for line in lines
)
table["created"] = pd.to_datetime(table["created"], utc=True, format="ISO8601")
left, middle, right = st.columns([2, 2, 2])
wanted = left.text_input("Find", placeholder="name, model, data or space", icon=":material/search:")
states = middle.pills("State", _STATES, selection_mode="multi", default=None)
datasets = right.multiselect("Data", sorted(table["data"].unique()))
shown = table
if wanted:
    text = table[["study", "model", "data", "space", "owner"]].astype(str).agg(" ".join, axis=1).str.lower()
    shown = shown[text.str.contains(wanted.lower(), regex=False)]
if states:
    shown = shown[shown["state"].isin(states)]
if datasets:
    shown = shown[shown["data"].isin(datasets)]
st.caption(f"{len(shown)} of {len(table)} studies. Choose a line to see its front.")
chosen = st.dataframe(
    shown,
    hide_index=True,
    on_select="rerun",
    selection_mode="single-row",
    alt=f"{len(shown)} studies with their state, best score, hypervolume and front size",
    column_config={
        "study": st.column_config.TextColumn("Study", pinned=True),
        "state": "State",
        "progress": st.column_config.ProgressColumn(
            "Progress", format="percent", min_value=0.0, max_value=1.0
        ),
        "trials": st.column_config.NumberColumn("Trials", format="localized"),
        "best": st.column_config.NumberColumn("Best in budget", format="%.4f"),
        "metric": "Metric",
        "hypervolume": st.column_config.NumberColumn("Hypervolume", format="%.4f"),
        "course": st.column_config.LineChartColumn("Its course", y_min=0.0),
        "front": st.column_config.NumberColumn("Front", help="members of the front"),
        "budget": "Budget",
        "model": "Model",
        "data": "Data",
        "space": "Space",
        "owner": "Owner" if table["owner"].nunique() > 1 else None,  # of one alone it is noise
        "failed": "Failed",
        "created": st.column_config.DatetimeColumn("Created", format="YYYY-MM-DD HH:mm"),
    },
)
if rows := chosen.selection.rows:
    remember(str(shown.iloc[rows[0]]["study"]))
    st.switch_page("views/front.py")
