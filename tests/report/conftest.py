import shutil
from pathlib import Path

import pytest

from .filled import fill


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "studies.db"
    fill(path)
    return path


@pytest.fixture
def url(_filled: Path, tmp_path: Path) -> str:
    """A database of its own with the study `digits`; see `filled.fill`."""
    return str(shutil.copy(_filled, tmp_path / "studies.db"))
