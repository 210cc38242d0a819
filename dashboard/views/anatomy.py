"""The anatomy of a configuration, alone or beside another one, and what the front has in common."""

from typing import Any

import pandas as pd
import streamlit as st

from autopeft.dashboard import database
from autopeft.dashboard.card import card, measurements
from autopeft.dashboard.choice import choose_study
from autopeft.dashboard.words import plain
from autopeft.nouns import Study, Trial
from autopeft.report.anatomy import Anatomy, anatomy, differing, in_common
from autopeft.report.figures.anatomy import (
    anatomy_figure,
    by_layer_figure,
    in_common_figure,
    in_words,
    learning_figure,
)
from autopeft.report.figures.look import CONFIG
from autopeft.report.numbers import show_mean

study = choose_study()
version = database.follow(study)
summary = database.summary(database.url(), study.name, version)
repository = database.repository()
st.title("Where the parameters are", anchor=False)
if not summary.front and not summary.baselines:
    st.info("No trial is complete yet; this page fills with the first one.", icon=":material/hourglass:")
    st.stop()

rows = {row.number: row for row in (*summary.front, *summary.fallen, *summary.baselines)}


def _label(number: int) -> str:
    row = rows.get(number)
    if row is None:
        return f"trial {number}"
    role = "knee, " if row.knee else "best, " if row.best else "" if row.on_front else f"{row.kind}, "
    return f"trial {number}: {role}{show_mean(row.reported)}, {row.trainable:,} parameters"


def _choose(place: Any, label: str, key: str, default: int) -> int:
    known = list(rows)
    if default not in known:
        known.insert(0, default)
    return int(place.selectbox(label, known, index=known.index(default), format_func=_label, key=key))


def _trial(study: Study, number: int) -> Trial:
    return repository.trial(study.id, number)


left, right = st.columns(2)
default = st.session_state.get(f"anatomy-{study.name}") or next(
    (row.number for row in summary.front if row.knee), next(iter(rows))
)
first = _choose(left, "Configuration", f"first-{study.name}-{default}", default)
beside = right.toggle("Beside another one", key="beside")
by_number = right.number_input(
    "Any trial, by its number",
    min_value=0,
    max_value=int(database.frame(database.url(), study.name, version)["number"].max()),
    value=None,
)
if by_number is not None:
    first = int(by_number)


def _draw(number: int, found: Anatomy, marked: set[tuple[int, str]], place: str) -> dict[str, Any]:
    record = card(study, summary, number, narrow=beside)
    st.plotly_chart(
        anatomy_figure(found, marked=marked), key=f"anatomy-{place}", config=CONFIG, alt=in_words(found)
    )
    if found.shared:
        st.caption(f"{found.shared:,} further parameters belong to no one place.")
    st.plotly_chart(
        by_layer_figure(found),
        key=f"by-layer-{place}",
        config=CONFIG,
        alt="Trainable parameters of each layer",
    )
    return record


def _settings(record: dict[str, Any]) -> dict[str, str]:
    configuration = record["configuration"]
    found = {
        name: str(value) for name, value in configuration.items() if name not in ("modules", "allocation")
    }
    found |= {f"allocation {name}": str(value) for name, value in configuration.get("allocation", {}).items()}
    for module in configuration["modules"]:
        layers = ", ".join(map(str, module["layers"]))
        name = f"{module.get('position', module['type'])} {module['size']:g} in layers {layers}"
        told = {k: v for k, v in module.items() if k not in ("type", "size", "layers", "position")}
        found[name] = "; ".join(
            f"{key} {', '.join(map(str, value)) if isinstance(value, list) else value}"
            for key, value in told.items()
        )
    return found


def _curves(record: dict[str, Any]) -> None:
    own = {one["epoch"]: one["score"] for one in record["scores"]}
    curves = [(f"trial {record['number']}", own)] if own else []
    for anew in record["confirmations"]:
        again = _trial(study, anew["number"])
        sign = -1.0 if summary.direction == "minimize" else 1.0
        curves.append((f"seed {anew['seed']}", {epoch: sign * s for epoch, s in again.scores.items()}))
    if curves:
        st.plotly_chart(
            learning_figure(curves, summary.metric),
            key=f"learning-{record['number']}",
            config=CONFIG,
            alt=f"{summary.metric} by epoch, of this trial and of its configuration trained anew",
        )


if beside:
    others = [number for number in rows if number != first] or [first]
    second = int(right.selectbox("The other one", others, format_func=_label))
    plans = [_trial(study, number).plan for number in (first, second)]
    one, other = (anatomy(plan, study, beside=plans) for plan in plans)
    marked = differing(one, other)
    st.caption(f"{len(marked)} places differ; they are framed.")
    columns = st.columns(2)
    with columns[0]:
        record = _draw(first, one, marked, "first")
    with columns[1]:
        against = _draw(second, other, marked, "second")
    mine, theirs = _settings(record), _settings(against)
    both = pd.DataFrame(
        [
            (
                name,
                mine.get(name, "–"),
                theirs.get(name, "–"),
                "≠" if mine.get(name) != theirs.get(name) else "",
            )
            for name in dict.fromkeys([*mine, *theirs])
        ],
        columns=["setting", f"trial {first}", f"trial {second}", "differs"],
    )
    st.dataframe(both, hide_index=True, alt="Settings of both, side by side")
else:
    found = anatomy(_trial(study, first).plan, study)
    record = _draw(first, found, set(), "first")
    left, right = st.columns(2)
    with left:
        st.markdown("**Learning curve**")
        _curves(record)
    with right:
        if record["confirmations"]:
            st.markdown("**Seeds**")
            st.dataframe(
                pd.DataFrame(record["confirmations"])[["number", "seed", "status", "score"]],
                hide_index=True,
                column_config={"number": "trial", "score": st.column_config.NumberColumn(format="%.4f")},
            )
        st.markdown("**Training settings**")
        st.dataframe(pd.DataFrame(_settings(record).items(), columns=["setting", "value"]), hide_index=True)
    with st.expander("All that was measured", icon=":material/monitoring:"):
        measurements(record)

if len(summary.front) > 1:
    st.subheader("What the front has in common", anchor=False)
    configurations = [row.configuration for row in summary.front]
    empty, shares = in_common(configurations, study)
    st.plotly_chart(
        in_common_figure(empty, shares, len(configurations)),
        key="in-common",
        config=CONFIG,
        alt=f"Share of the front's {len(configurations)} members with a module at each layer and site",
    )
    st.caption(
        f"Share of the {len(configurations)} members of {plain(study.name)}'s front that have a module there."
    )
