"""`autopeft modules`: every type, and all about one."""

import json

import pytest
import typer
from typer.testing import CliRunner, Result

from autopeft.cli.modules import modules
from autopeft.dsl import MODULE_TYPES
from autopeft.errors import UnknownNameError

app = typer.Typer()
app.command()(modules)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_every_type_is_listed() -> None:
    result = run()
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert [name for name in names if name in MODULE_TYPES] == list(MODULE_TYPES)


def test_every_type_but_the_frozen_backbone_was_tested_on_two_families() -> None:
    rows = json.loads(run("--json").stdout)
    assert [row["type"] for row in rows] == list(MODULE_TYPES)
    for row in rows:
        if row["type"] != "frozen":
            assert len(row["families_tested"]) >= 2, row["type"]


@pytest.mark.parametrize("name", list(MODULE_TYPES))
def test_all_about_one(name: str) -> None:
    told = run(name).stdout
    found = json.loads(run(name, "--json").stdout)
    assert found["type"] == name
    assert [field["field"] for field in found["fields"]] == list(MODULE_TYPES[name].fields)
    for field in MODULE_TYPES[name].fields:
        assert field in told


def test_an_unknown_type_is_refused_in_a_sentence() -> None:
    result = run("lroa")
    assert result.exit_code == 2
    assert "unknown module type 'lroa'" in result.stderr
    assert "Did you mean 'lora'?" in result.stderr
    assert not isinstance(result.exception, UnknownNameError)
