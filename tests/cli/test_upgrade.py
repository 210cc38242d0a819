import re
from pathlib import Path

import pytest
from postgres import Postgres
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.store import upgrade


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


def test_a_servers_tables_are_made_and_then_up_to_date(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.create("by_command")
    monkeypatch.setenv("AUTOPEFT_DB", url)
    code, said = run("studies")
    assert code == 2
    assert "has no tables yet. Run `autopeft db upgrade`" in said
    code, said = run("db", "upgrade")
    assert code == 0
    assert re.fullmatch(
        rf"The database {re.escape(url)}, which had no tables, has the revision \d+ now\.\n", said
    )
    code, said = run("db", "upgrade")
    assert code == 0
    assert "is up to date" in said
    assert run("studies")[0] == 0


def test_an_sqlite_file_can_be_upgraded_too(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    assert run("db", "upgrade", "--db", str(path))[0] == 0
    assert upgrade(str(path))[0] is not None


def test_a_server_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    code, said = run("db", "upgrade", "--db", f"postgresql://me:secret@/studies?host={tmp_path}")
    assert code == 2
    assert "cannot use the database" in said
    assert "secret" not in said
