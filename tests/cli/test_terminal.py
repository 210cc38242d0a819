"""What a hostile name, label or error does to the terminal that shows it: nothing."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from report.filled import fill
from rich.console import Console
from rich.text import Text
from sqlalchemy import text

from autopeft.cli import live
from autopeft.cli.terminal import Harmless, harmless, to_json
from autopeft.report.events import Phase
from autopeft.store import Repository

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31mx\x7f\u202egnp.exe"
BAD = ("\x1b", "\x07", "\x9b", "\x7f", "\u202e")


def test_signs_stand_for_what_cannot_be_seen() -> None:
    assert harmless(HOSTILE) == "␛]0;owned␇␛[2J�31mx��gnp.exe"
    assert harmless("größe\t研究 ◆\n") == "größe\t研究 ◆\n"


def test_what_is_drawn_keeps_its_own_colours_only() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="standard", width=80)
    console.print(Harmless(Text(HOSTILE, style="bold")))
    said = file.getvalue()
    assert said.startswith("\x1b[1m␛]0;owned")
    assert said.count("\x1b") == 2  # bold, and its end


def test_json_can_be_read_back_and_has_no_control_characters() -> None:
    said = to_json({"name": HOSTILE})
    assert json.loads(said) == {"name": HOSTILE}
    assert not any(bad in said for bad in BAD)


def test_the_display_of_a_search() -> None:
    file = io.StringIO()
    with live.progress(Console(file=file)) as tell:
        tell(Phase(HOSTILE))
    file_on_terminal = io.StringIO()
    with live.progress(Console(file=file_on_terminal, force_terminal=True, width=80)) as tell:
        tell(Phase(HOSTILE))
    assert "owned" in file.getvalue()
    assert not any(bad in file.getvalue() for bad in BAD)
    assert "␛]0;owned" in file_on_terminal.getvalue()
    assert "\x1b]0;" not in file_on_terminal.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        ["studies"],
        ["studies", "--json"],
        ["front", HOSTILE],
        ["show", HOSTILE, "1"],
        ["front", "no" + HOSTILE],
    ],
)
def test_a_study_that_somebody_else_named(words: list[str], tmp_path: Path) -> None:
    """Its name, and the reason of a trial, come from a database that others write to."""
    fill(tmp_path / "a.db")
    with Repository.open(str(tmp_path / "a.db")) as repository, repository._writer.begin() as connection:
        connection.execute(text("UPDATE study SET name = :name"), {"name": HOSTILE})
        connection.execute(text("UPDATE trial SET reason = :reason"), {"reason": HOSTILE})
    done = subprocess.run(
        [sys.executable, "-m", "autopeft", *words, "--db", str(tmp_path / "a.db")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "owned" in done.stdout + done.stderr
    assert not any(bad in done.stdout + done.stderr for bad in BAD)
