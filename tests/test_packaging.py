import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("autopeft", "search_spaces", "objectives", "dashboard")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a wheel that is built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(ROOT),
        "--no-deps",
        "--quiet",
        "--wheel-dir",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("the build backend cannot be fetched without a network")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_the_top_level_is_autopeft_and_nothing_else(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert len(tops) == 2
    assert "autopeft" in tops
    assert any(top.startswith("autopeft-") and top.endswith(".dist-info") for top in tops)


@pytest.mark.slow
def test_every_tracked_file_is_in_it(wheel: list[str]) -> None:
    command = ["git", "ls-files", "--", *FOLDERS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this is no git checkout")
    tracked = [path for path in done.stdout.split() if (ROOT / path).is_file()]
    inside = {path if path.startswith("autopeft/") else f"autopeft/{path}" for path in tracked}
    assert inside - set(wheel) == set()


@pytest.mark.slow
def test_nothing_that_is_no_source_is_in_it(wheel: list[str]) -> None:
    assert [name for name in wheel if name.endswith((".pyc", ".db", ".log", ".env"))] == []
