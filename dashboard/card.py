"""The card of one trial: what it is, what it came to, and its recipe."""

import io
import shlex
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from autopeft.cli.export import Target
from autopeft.dashboard import database
from autopeft.dashboard.words import plain, sentence
from autopeft.errors import AutopeftError
from autopeft.nouns import Study
from autopeft.report import trial_record
from autopeft.report.numbers import show_mean, show_score, show_seconds, show_share, show_value
from autopeft.report.summary import Row, Summary

_LANGUAGES = {
    ".json": "json",
    ".py": "python",
    ".md": "markdown",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".txt": "text",
}
_LONGEST = 200_000  # characters of a file that the page shows


def of_summary(summary: Summary, number: int) -> Row | None:
    """The trial's row, where it is a member of the front, has fallen from it, or is a baseline."""
    rows = (*summary.front, *summary.fallen, *summary.baselines)
    return next((row for row in rows if row.number == number), None)


def card(study: Study, summary: Summary, number: int, *, narrow: bool = False) -> dict[str, Any]:
    """Draw the figures of a trial; answers its record.

    Args:
        study: The study.
        summary: What it has come to.
        number: The trial.
        narrow: Whether there is half a page only.
    """
    record = trial_record(database.repository(), study, number)
    row = of_summary(summary, number)
    role = (
        ""
        if row is None
        else "knee"
        if row.knee
        else "best"
        if row.best
        else "on the front"
        if row.on_front
        else ""
    )
    st.subheader(f"Trial {number}{f', {role}' if role else ''}", anchor=False)
    st.markdown(plain(record["description"]))
    if record["status"] == "failed":
        st.error("It failed:", icon=":material/error:")
        st.code(record["reason"] or "no reason was recorded", language=None, wrap_lines=True)
    columns = [*st.columns(2), *st.columns(2)] if narrow else st.columns(4)
    confirmed = record["confirmed"]
    error = confirmed["standard_error"] if confirmed else None
    columns[0].metric(
        f"{record['metric']}{', confirmed' if confirmed else ''}",
        show_mean(confirmed["mean"]) if confirmed else show_score(record["score"]),
        **({} if error is None else {"delta": f"± {error:.3f}", "delta_color": "off", "delta_arrow": "off"}),
    )
    columns[1].metric("trainable", f"{record['trainable']:,}", help="The task head is not counted.")
    columns[2].metric("of the backbone", show_share(record["share"]))
    seconds = record["measurements"].get("seconds")
    columns[3].metric("training", "–" if seconds is None else show_seconds(seconds))
    if confirmed:
        on = "examples that the search never saw" if confirmed["held_back"] else "the validation examples"
        st.caption(
            f"Trained anew with {confirmed['seeds']} further seed{'s' if confirmed['seeds'] > 1 else ''}, scored on {on}. The search itself had "
            f"{show_score(record['score'])}."
        )
    return record


def measurements(record: dict[str, Any]) -> None:
    """Draw all that was measured, and how it was trained."""
    units = {one["name"]: one["unit"] for one in record["objectives"]}
    units |= {"seconds": "s", "peak_memory_bytes": "bytes"}
    rows = [
        (name, show_value(value, units.get(name, "")))
        for name, value in sorted(record["measurements"].items())
    ]
    rows += [("seed", str(record["seed"])), ("kind", record["kind"]), ("status", record["status"])]
    details = {k: v for k, v in record["details"].items() if isinstance(v, str | int | float | bool)}
    rows += [(name.replace("_", " "), str(value)) for name, value in sorted(details.items())]
    st.dataframe(
        pd.DataFrame(rows, columns=["what", "value"]), hide_index=True, alt="what was measured of the trial"
    )


def formats() -> list[str]:
    """The formats that a trial can be exported as; what writes them is loaded when one of them is asked for."""
    return [target.value for target in Target]


@st.cache_data(max_entries=10, show_spinner="Writing the recipe")
def files_of(url: str, study: str, number: int, to: str) -> dict[str, bytes]:
    """The files of a recipe: what `autopeft export` writes.

    Raises:
        AutopeftError: It cannot be exported so; the sentence says why.
    """
    from autopeft.service import export

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "recipe"
        export(study, str(number), to, place, db=url)
        return {
            str(path.relative_to(place)): path.read_bytes()
            for path in sorted(place.rglob("*"))
            if path.is_file()
        }


def zipped(files: dict[str, bytes], folder: str) -> bytes:
    """Files as a zip archive with one folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{folder}/{name}", content)
    return buffer.getvalue()


def recipe(study: Study, number: int, *, read: bool) -> None:
    """Draw the choice of a format, the button to download the recipe, and its text.

    Args:
        study: The study.
        number: The trial.
        read: Whether the recipe is what the page is about: then it is written at once, and its files are shown. Else it is written
            when it is asked for: what writes it takes seconds to load.
    """
    to = (
        st.segmented_control("Format", formats(), default=formats()[0], key=f"format-{number}")
        or formats()[0]
    )
    asked = f"recipe-{study.name}-{number}"
    if not read and not st.session_state.get(asked):
        if st.button("Write the recipe", icon=":material/description:", type="primary"):
            st.session_state[asked] = True
            st.rerun()
        return
    try:
        files = files_of(database.url(), study.name, number, to)
    except AutopeftError as error:
        st.warning(sentence(error), icon=":material/block:")
        return
    folder = f"{study.name}-trial-{number}-{to}"
    st.download_button(
        "Download the recipe (zip)",
        zipped(files, folder),
        file_name=f"{folder}.zip",
        mime="application/zip",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
    )
    command = ["autopeft", "export", study.name, folder, "--pick", str(number), "--to", to]
    st.code(shlex.join(command), language="bash", wrap_lines=True)
    if not read:
        return
    for name, content in files.items():
        with st.expander(f"{plain(name)} ({len(content):,} bytes)", expanded=len(files) == 1):
            language = _LANGUAGES.get(Path(name).suffix)
            if language is None:
                st.caption("A file of numbers; it is in the archive.")
            else:
                st.code(content.decode(errors="replace")[:_LONGEST], language=language)
