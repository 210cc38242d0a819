"""`autopeft objectives`: what a search may be for, and all about one."""

import json

import pytest
from typer.testing import CliRunner, Result

from autopeft.cli.app import app
from autopeft.registry import objectives

SEARCHABLE = [objective for objective in objectives().values() if objective.searchable]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["objectives", *words])


def test_all_that_a_search_may_be_for_is_listed() -> None:
    rows = json.loads(run("--json").stdout)
    assert [row["name"] for row in rows[:2]] == ["score", "trainable"]
    assert {row["short"] for row in rows} == {objective.typed for objective in SEARCHABLE}
    shown = run().stdout
    assert all(f" {row['short']} " in shown for row in rows)
    assert "test_score" not in shown


@pytest.mark.parametrize("objective", SEARCHABLE, ids=lambda objective: objective.typed)
def test_all_about_one(objective: object) -> None:
    known = next(one for one in SEARCHABLE if one is objective)
    row = json.loads(run(known.typed, "--json").stdout)
    assert (row["name"], row["unit"], row["known"]) == (known.name, known.unit, known.known)
    shown = " ".join(run(known.typed).stdout.split())
    assert " ".join(known.about.split()) in shown
    assert known.name in shown


def test_an_unknown_one_is_refused_in_a_sentence() -> None:
    result = run("latncy")
    assert result.exit_code == 2
    assert "unknown objective 'latncy'" in result.stderr
    assert "Did you mean 'latency'?" in result.stderr
