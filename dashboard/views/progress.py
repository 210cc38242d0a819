"""How the search came along: hypervolume, what became of the trials, failures with their reasons."""

import shlex

import pandas as pd
import streamlit as st

from autopeft.dashboard import database
from autopeft.dashboard.choice import choose_study
from autopeft.dashboard.words import plain
from autopeft.nouns import TrialStatus
from autopeft.report.compare import objections
from autopeft.report.figures.look import CONFIG
from autopeft.report.figures.progress import fate_figure, hypervolume_figure
from autopeft.report.numbers import show_seconds
from autopeft.report.progress import common_of, fate, hypervolume_curve

study = choose_study()
version = database.follow(study)
frame = database.frame(database.url(), study.name, version)
repository = database.repository()
st.title("Progress", anchor=False)
if not len(frame):
    st.info("The study has no trial yet.", icon=":material/hourglass:")
    st.stop()
became = fate(frame)
columns = st.columns(4)
columns[0].metric("running now", became.workers)
columns[1].metric("trials an hour", "–" if became.per_hour is None else f"{became.per_hour:,.0f}")
columns[2].metric(
    "stopped early",
    became.counts["stopped"],
    help="Weak at a rung; it took " + show_seconds(became.seconds["stopped"]),
)
columns[3].metric(
    "lost on failures", show_seconds(became.seconds["failed"]) if became.counts["failed"] else "none"
)

st.subheader("Hypervolume", anchor=False)
others = [
    other
    for other in repository.studies()
    if other.name != study.name and other.reference_score is not None and not objections([study, other])
]
random = [other.name for other in others if other.settings.get("sampler") == "random"]
against = st.multiselect(
    "Against",
    [other.name for other in others],
    default=random[:1],
    help="Studies of the same backbone, data and metric.",
)
if not random:
    st.caption(
        "To see what the search is worth, let random search try the same: `autopeft search … --sampler random`."
    )
by_time = st.segmented_control("Over", ["trials", "time"], default="trials") == "time"
compared = [study, *(other for other in others if other.name in against)]
common = common_of(*compared)
if common is None:
    st.info(
        "The hypervolume is counted from the best of the frozen backbone: it begins when that is trained.",
        icon=":material/hourglass:",
    )
else:
    curves = {}
    for one in compared:
        own = version if one.name == study.name else repository.version(one.id)
        curves[one.name] = hypervolume_curve(database.frame(database.url(), one.name, own), one, common)
    ends = "; ".join(f"{name} {c['hypervolume'].iloc[-1]:.4f}" for name, c in curves.items() if len(c))
    st.plotly_chart(
        hypervolume_figure(curves, by_time=by_time),
        key="hypervolume",
        config=CONFIG,
        alt=f"Hypervolume at the end: {ends}",
    )
    st.caption("Score against trainable parameters, by the search's own scores, of all from one reference.")

st.subheader("What became of the trials", anchor=False)
st.plotly_chart(
    fate_figure(frame),
    key="fate",
    config=CONFIG,
    alt=", ".join(f"{count} {status}" for status, count in became.counts.items() if count),
)
stops = repository.stops(study.id)
if stops:
    told = ", ".join(f"{n} after epoch {rung}" for rung, n in sorted(stops.items()))
    st.caption(
        f"Stopped because others of their size did better: {told}, of {study.settings['training']['epochs']}."
    )
drivers = repository.drivers(study.id)
if drivers:
    st.caption("Searched by " + plain(", ".join(f"process {one.pid} on {one.host}" for one in drivers)) + ".")
running = frame[frame["status"] == TrialStatus.RUNNING]
if len(running):
    now = pd.Timestamp.now(tz="UTC")
    st.dataframe(
        pd.DataFrame(
            {
                "trial": running["number"],
                "kind": running["kind"],
                "parameters": running["trainable"],
                "seconds so far": (now - running["started_at"]).dt.total_seconds().round(),
                "last score": running["last_score"],
                "attempt": running["attempt"],
            }
        ),
        hide_index=True,
    )
failed = [int(number) for number in frame.loc[frame["status"] == TrialStatus.FAILED, "number"]]
lost = frame[(frame["attempt"] > 1)]
if len(lost):
    st.caption(f"{len(lost)} trials were taken up again after their worker was lost.")
if failed:
    st.subheader("Failures", anchor=False)
    trials = repository.trials(study.id, failed[-100:])
    for reason, numbers in sorted(
        ((reason, [t.number for t in trials if t.reason == reason]) for reason in {t.reason for t in trials}),
        key=lambda pair: -len(pair[1]),
    ):
        listed = ", ".join(map(str, numbers[:12]))
        with st.expander(f"{len(numbers)} trials: {plain(reason[:80])}", icon=":material/error:"):
            st.code(reason, language=None, wrap_lines=True)
            st.caption(f"Trials {listed}{' …' if len(numbers) > 12 else ''}.")
    st.code(shlex.join(["autopeft", "resume", study.name, "--retry-failed"]), language="bash")
