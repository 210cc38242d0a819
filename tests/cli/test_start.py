"""How fast the command line starts, as far as that can be told without a clock."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "ray",
    "transformers",
    "botorch",
    "sqlalchemy",
    "optuna",
    "datasets",
    "numpy",
    "sklearn",
    "alembic",
)


@pytest.mark.parametrize(
    "words", [["--help"], ["search", "--help"], ["--version"], ["search", "--budget", "x"]]
)
def test_help_and_errors_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys, autopeft.cli\n"
        f"sys.argv = ['autopeft', *{words!r}]\n"
        "try:\n    autopeft.cli.main()\n"
        "except SystemExit:\n    pass\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": "."},
    )


def test_a_narrow_encoding_does_not_crash(db: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autopeft", "front", "digits", "--db", db],
        capture_output=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert b"knee" in done.stdout
    assert b"best" in done.stdout
