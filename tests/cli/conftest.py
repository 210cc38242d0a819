import shutil
from pathlib import Path

import pytest
from report.filled import fill  # tests/report: pytest puts the folder of tests/conftest.py on the path


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "studies.db"
    fill(path)
    return path


@pytest.fixture
def db(_filled: Path, tmp_path: Path) -> str:
    """A database of its own with the study `digits`; see `report.filled.fill`."""
    return str(shutil.copy(_filled, tmp_path / "studies.db"))


@pytest.fixture(autouse=True)
def _no_database_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPEFT_DB", str(tmp_path / "default.db"))
    monkeypatch.delenv("AUTOPEFT_DEBUG", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
