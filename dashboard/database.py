"""The dashboard's database, opened read-only, and what was read from it, kept until it changes."""

import os
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from autopeft.dashboard.words import sentence
from autopeft.errors import AutopeftError, StudyError
from autopeft.nouns import Study, Trial
from autopeft.report import Summary, studies_table, summarise
from autopeft.report.points import points
from autopeft.store import Repository
from autopeft.store.place import database_path

DATABASE = "AUTOPEFT_DASHBOARD_DB"
"""The environment variable by which `autopeft dashboard` hands its database on; it may hold a password."""

LIVE_SECONDS = 2.0
"""How often an open page looks whether its study has changed."""

MOST_TRIALS = 2_000
"""Trials of one study whose configurations are read, for what looks at decisions."""

_KEPT = 20  # of each kind of what was read


def url() -> str:
    """The database's URL."""
    return os.environ[DATABASE]


def is_there() -> bool:
    """Whether the database has been made; of a server's that is for it to say."""
    path = database_path(url())
    return path is None or path.exists()


def repository() -> Repository:
    """The database. The page ends here, with a sentence, if it is not there or cannot be used."""
    if not is_there():
        path = database_path(url())
        st.info(
            f"There is no database at `{path}` yet. The first search makes it:\n\n"
            "```bash\nautopeft search --trials 12\n```\n\nThis page goes on by itself then.",
            icon=":material/database:",
        )
        wait_for(is_there)
        st.stop()
    try:
        return _opened(url())
    except AutopeftError as error:
        st.error(sentence(error), icon=":material/database_off:")
        st.stop()


@st.cache_resource
def _opened(url: str) -> Repository:
    return Repository.open(url, read_only=True)


@st.fragment(run_every=LIVE_SECONDS)
def wait_for(there: Callable[[], bool]) -> None:
    """Draw the page anew as soon as something is there."""
    if there():
        st.rerun()


def follow(study: Study | None) -> tuple[Any, ...]:
    """The version of a study, or of all, as it is drawn now; when it becomes another one, the page is drawn anew.

    Charts keep their zoom and what is selected: they are the same to the browser, with new data.
    """
    drawn = repository().version(None if study is None else study.id)

    @st.fragment(run_every=LIVE_SECONDS)
    def look() -> None:
        try:
            changed = repository().version(None if study is None else study.id) != drawn
        except StudyError:
            return  # the database does not answer; what is drawn stays
        if changed:
            st.rerun()

    look()
    return drawn


def study_of(name: str) -> Study:
    """The study of that name; its reference score may be newer than when it was last asked for."""
    return repository().get_study(name)


# What depends on a study is kept by its version: the same as long as nothing has changed.


@st.cache_data(max_entries=_KEPT, show_spinner=False)
def studies(url: str, version: tuple[Any, ...]) -> list[dict[str, Any]]:
    """As `autopeft.report.studies_table`."""
    return studies_table(repository())


@st.cache_data(max_entries=_KEPT, show_spinner=False)
def courses(url: str, version: tuple[Any, ...]) -> dict[str, list[float]]:
    """By study: the hypervolumes of its fronts so far, in order."""
    found = repository().hypervolumes()
    return {study.name: found.get(study.id, []) for study in repository().studies()}


@st.cache_data(max_entries=_KEPT, show_spinner=False)
def frame(url: str, name: str, version: tuple[Any, ...]) -> pd.DataFrame:
    """As `autopeft.report.points.points`."""
    return points(repository(), study_of(name))


@st.cache_data(max_entries=_KEPT, show_spinner=False)
def summary(url: str, name: str, version: tuple[Any, ...]) -> Summary:
    """As `autopeft.report.summarise`."""
    return summarise(repository(), study_of(name))


@st.cache_data(max_entries=5, show_spinner="Reading the trials")
def trials(url: str, name: str, version: tuple[Any, ...]) -> list[Trial]:
    """The trials of a study with their configurations; of a large one those that the front can be told from, and every k-th."""
    of = frame(url, name, version)
    kept = {row.number for row in summary(url, name, version).front}
    step = -(-len(of) // MOST_TRIALS)
    kept |= set(of["number"].iloc[:: max(step, 1)])
    return repository().trials(study_of(name).id, [int(number) for number in kept])
