"""Start a search: put it into the queue, for `autopeft serve` to run. The one page that writes to the database."""

import shlex

import streamlit as st

from autopeft.cli.queue import enqueue
from autopeft.dashboard import database
from autopeft.dashboard.words import plain, sentence
from autopeft.dsl.explain import explain
from autopeft.dsl.finding import find_space
from autopeft.errors import AutopeftError
from autopeft.nouns import JobState
from autopeft.optimize import SAMPLERS
from autopeft.registry import TRADE_OFF, find_objective, objectives, space_names
from autopeft.store import Repository, queue

st.title("New search", anchor=False)
left, right = st.columns(2)
model = left.text_input("Model", "starter", help="`starter` (bundled), a folder on the server, or a hub id.")
data = right.text_input(
    "Data",
    placeholder="the bundled digits",
    help="A file or folder on the server, or a hub data set. The starter has its own.",
)
budget = left.text_input(
    "Budget of trainable parameters", "0.5%", help="`0.5%` of the backbone, `300k` or `120000`."
)
trials = right.number_input("Trials of the search", min_value=1, max_value=100_000, value=32)
space = left.selectbox("Search space", space_names(), index=space_names().index("autopeft"))
with left.expander("What this space says"):
    for line in explain(find_space(space)):
        st.markdown(f"{'&emsp;' * line.depth}{plain(line.text)}")
sampler = right.selectbox("Sampler", list(SAMPLERS))
known = [one for one in objectives().values() if one.searchable]
further = left.multiselect(
    "Objectives besides score and parameters",
    [one.typed for one in known if one.name not in TRADE_OFF],
    format_func=lambda typed: find_objective(typed).title or typed,
    max_selections=2,
)
seeds = right.number_input("Seeds with which the front is confirmed", min_value=0, max_value=20, value=3)
study = left.text_input("Name of the study", placeholder="made from its settings", max_chars=100)
priority = right.number_input("Priority", value=0, help="Larger ones are taken first.")

words = [
    "--model",
    model,
    "--budget",
    budget,
    "--trials",
    str(trials),
    "--space",
    space,
    "--sampler",
    sampler,
]
words += ["--confirm-seeds", str(seeds)]
words += ["--data", data] if data else []
words += ["--study", study] if study else []
words += ["--objectives", ",".join([*TRADE_OFF, *further])] if further else []
st.caption("The same as this command, with a server that takes it from the queue:")
st.code(
    shlex.join(["autopeft", "submit", *words, "--priority", str(priority)]), language="bash", wrap_lines=True
)
if st.button("Put it into the queue", type="primary", icon=":material/send:"):
    try:
        job = enqueue(words, int(priority), database.url())
    except AutopeftError as error:
        st.error(sentence(error), icon=":material/error:")
    else:
        st.success(f"{plain(job.study)} is in the queue.", icon=":material/check:")


@st.fragment(run_every=database.LIVE_SECONDS)
def _jobs() -> None:
    if not database.is_there():
        return
    try:
        with Repository.open(database.url(), read_only=True) as repository:
            found = queue.jobs(repository)
    except AutopeftError:
        return
    if not found:
        return
    st.subheader("The queue", anchor=False)
    st.dataframe(
        {
            "study": [job.study for job in found],
            "state": [str(job.state) for job in found],
            "owner": [job.owner for job in found],
            "priority": [job.priority for job in found],
            "server": [job.server for job in found],
            "reason": [job.reason for job in found],
        },
        alt=f"{len(found)} jobs",
    )
    waiting = any(job.state is JobState.WAITING for job in found)
    if waiting and not any(job.state is JobState.RUNNING for job in found):
        st.info("No server runs. This one takes what waits:", icon=":material/dns:")
        st.code("autopeft serve", language="bash")


_jobs()
