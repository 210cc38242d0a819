import sys
from pathlib import Path

import pytest

# Studies filled by hand are told of in tests/report/filled.py, for both folders.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))

import filled


@pytest.fixture
def db(tmp_path: Path) -> str:
    """A database with the study `digits` in it."""
    url = str(tmp_path / "studies.db")
    filled.fill(url)
    return url


@pytest.fixture(autouse=True)
def _no_database_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPEFT_DB", str(tmp_path / "default.db"))
    monkeypatch.delenv("AUTOPEFT_DEBUG", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
