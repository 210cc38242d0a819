"""Studies held against each other."""

import pandas as pd
import streamlit as st

from autopeft.dashboard import database
from autopeft.dashboard.words import plain
from autopeft.report.compare import FEWEST_SEEDS, differences, groups, objections
from autopeft.report.figures.compare import fronts_figure
from autopeft.report.figures.look import CONFIG
from autopeft.report.figures.progress import hypervolume_figure
from autopeft.report.progress import common_of, hypervolume_curve

repository = database.repository()
database.follow(None)
st.title("Compare studies", anchor=False)
every = {study.name: study for study in repository.studies()}
if len(every) < 2:
    st.info(
        "With a second study there is something to compare: `autopeft search --seed 1` makes one.",
        icon=":material/compare:",
    )
    st.stop()
if "compared" not in st.session_state:
    asked = [name for name in st.query_params.get_all("study") if name in every]
    st.session_state["compared"] = asked if len(asked) > 1 else list(every)[:2]
names = st.multiselect("Studies", list(every), key="compared")
st.query_params["study"] = names
if len(names) < 2:
    st.info("Choose two or more.", icon=":material/compare:")
    st.stop()
studies = [every[name] for name in names]
for objection in objections(studies):
    st.warning(plain(objection), icon=":material/warning:")
versions = {study.name: repository.version(study.id) for study in studies}
summaries = [database.summary(database.url(), name, versions[name]) for name in names]
st.plotly_chart(
    fronts_figure(summaries),
    key="fronts",
    config=CONFIG,
    alt="; ".join(f"{s.name}: {len(s.front)} members" for s in summaries),
)
common = common_of(*studies)
if common is None or objections(studies):
    st.info(
        "Hypervolumes can be compared of studies of one backbone, data and metric whose baselines are trained."
    )
    st.stop()
curves = {
    study.name: hypervolume_curve(
        database.frame(database.url(), study.name, versions[study.name]), study, common
    )
    for study in studies
}
volumes = {
    name: float(curve["hypervolume"].iloc[-1]) if len(curve) else 0.0 for name, curve in curves.items()
}
st.subheader("Hypervolume, of all from one reference", anchor=False)
st.dataframe(
    pd.DataFrame(
        {
            "study": summary.name,
            "hypervolume": volumes[summary.name],
            "members": len(summary.front),
            "best": max((row.reported for row in summary.front if row.reported is not None), default=None)
            if summary.direction == "maximize"
            else min((row.reported for row in summary.front if row.reported is not None), default=None),
            "complete trials": summary.counts["complete"],
            "sampler": every[summary.name].settings.get("sampler"),
            "seed": every[summary.name].settings.get("seed"),
            "budget": summary.budget,
        }
        for summary in sorted(summaries, key=lambda s: -volumes[s.name])
    ),
    hide_index=True,
    column_config={
        "hypervolume": st.column_config.NumberColumn(format="%.4f"),
        "best": st.column_config.NumberColumn(format="%.4f"),
    },
)
st.plotly_chart(
    hypervolume_figure(curves), key="courses", config=CONFIG, alt="Hypervolume over trials of each study"
)
st.subheader("More than the seeds' difference?", anchor=False)
found = groups(studies, volumes)
st.dataframe(
    pd.DataFrame(
        {
            "group": chr(ord("A") + i),
            "studies": ", ".join(group.names),
            "seeds": len(group.names),
            "mean": group.mean,
            "± over seeds": group.deviation,
        }
        for i, group in enumerate(found)
    ),
    hide_index=True,
    column_config={
        "mean": st.column_config.NumberColumn(format="%.4f"),
        "± over seeds": st.column_config.NumberColumn(format="%.4f"),
    },
)
for pair in differences(found, volumes):
    first, second = (chr(ord("A") + i) for i in (pair.first, pair.second))
    if pair.p is None:
        st.caption(
            f"{first} and {second}: with {FEWEST_SEEDS} studies in each, that differ in nothing but `--seed`, a difference can be tested."
        )
    else:
        verdict = "more than chance" if pair.p < 0.05 else "no more than chance may do"
        st.markdown(f"**{first} against {second}**: p = {pair.p:.3f} (Mann–Whitney), {verdict}.")
