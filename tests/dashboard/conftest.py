import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from report.filled import FOUND, WHOLE, confirm, empty, fill, fill_losses, fill_three

from autopeft.dashboard.access import TOKEN
from autopeft.dashboard.database import DATABASE


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A database that the pages read; nothing is in it yet."""
    path = tmp_path / "studies.db"
    monkeypatch.setenv(DATABASE, f"sqlite:///{path}")
    monkeypatch.delenv(TOKEN, raising=False)
    st.cache_data.clear()
    st.cache_resource.clear()
    yield path
    st.cache_resource.clear()


@pytest.fixture
def filled(place: Path) -> Path:
    """A confirmed study `digits`, one of losses (`text`), one of three objectives (`three`), and one without a trial (`new`)."""
    fill(place, settings=WHOLE)
    confirm(place, FOUND)
    fill_losses(place)
    fill_three(place)
    empty(place)
    assert os.environ[DATABASE]
    return place
