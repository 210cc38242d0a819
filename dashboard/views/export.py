"""A trial's recipe: choose a format, read it, download it."""

import streamlit as st

from autopeft.dashboard import database
from autopeft.dashboard.card import card, recipe
from autopeft.dashboard.choice import choose_study

study = choose_study()
version = database.follow(study)
summary = database.summary(database.url(), study.name, version)
st.title("Export", anchor=False)
if not summary.front:
    st.info(
        "No trial of the search is complete yet; there is nothing to export.", icon=":material/hourglass:"
    )
    st.stop()
rows = {row.number: row for row in (*summary.front, *summary.baselines)}
default = st.session_state.get(f"export-{study.name}")
if default is not None and default not in rows:
    st.caption(f"Trial {default} is not on the front.")
numbers = list(rows) if default is None or default in rows else [default, *rows]
start = default if default is not None else next((n for n, row in rows.items() if row.knee), numbers[0])


def _label(number: int) -> str:
    row = rows.get(number)
    if row is None:
        return f"trial {number}"
    role = "knee: " if row.knee else "best: " if row.best else ""
    return f"trial {number}, {role}{row.description}"


number = int(
    st.selectbox(
        "Trial", numbers, index=numbers.index(start), format_func=_label, key=f"of-{study.name}-{start}"
    )
)
with st.container(border=True):
    card(study, summary, number)
recipe(study, number, read=True)
