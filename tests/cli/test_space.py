"""`autopeft space`: check, describe, list, schema."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from autopeft.backbones import model_path, read_backbone
from autopeft.cli import draw_space
from autopeft.cli.space import app
from autopeft.dsl.finding import find_space
from autopeft.dsl.schema import json_schema
from autopeft.registry import space_names

MINE = """\
name: mine
modules:
  lora: {type: lora, sites: {subset: [q, v]}, rank: {choice: [1, 2]}}
training: {learning_rate: 0.01}
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(MINE)
    return "mine.yaml"


def test_a_file_that_is_right(mine: str) -> None:
    result = run("check", mine)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "mine.yaml is right: 2 decisions of the space 'mine'.\n"
    assert json.loads(run("check", mine, "--json").stdout) == {"name": "mine", "decisions": 2}
    assert run("check", "lora-anatomy").exit_code == 0


KNOBS = """\
# Knobs of a machine.
name: knobs
decisions:
  depth: {integer: [1, 10]}
  rate: {float: [1.0e-4, 1.0e-1], log: true}
  fine: {choice: [false, true], when: {depth: '>= 6'}}
"""


@pytest.fixture
def knobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "knobs.yaml").write_text(KNOBS)
    return "knobs.yaml"


def test_a_space_without_modules_is_checked_and_described(knobs: str) -> None:
    assert run("check", knobs).stdout == "knobs.yaml is right: 3 decisions of the space 'knobs'.\n"
    told = run("describe", knobs)
    assert (told.exit_code, told.stderr) == (0, "")
    assert "depth: a whole number from 1 to 10" in told.stdout
    assert "fine: no or yes, only if depth is at least 6" in told.stdout
    assert "Points  15, an interval counted as one" in told.stdout
    as_json = json.loads(run("describe", knobs, "--json").stdout)
    assert (as_json["about"], as_json["decisions"], as_json["cardinality"]) == ("Knobs of a machine.", 3, 15)
    assert len(as_json["samples"]) == 5
    assert all(("fine" in sample) == (sample["depth"] >= 6) for sample in as_json["samples"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("check", "--model", "starter"), "the space 'knobs' has plain decisions and no modules"),
        (
            ("describe", "--budget", "1%"),
            "--budget is of a space with modules, and 'knobs' has none: leave it out.",
        ),
    ],
)
def test_a_space_without_modules_has_no_model(knobs: str, words: tuple[str, ...], said: str) -> None:
    result = run(words[0], knobs, *words[1:])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_file_that_is_wrong(mine: str) -> None:
    Path(mine).write_text(MINE.replace("rank:", "rnak:"))
    result = run("check", mine)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: mine.yaml:3:47: unknown field 'rnak': allowed are type, rank,")
    assert result.stderr.endswith("Did you mean 'rank'?\n")
    as_json = run("check", mine, "--json")
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout) == {"error": result.stderr.removeprefix("Error: ").strip()}


def test_on_a_model(mine: str) -> None:
    result = run("check", mine, "--model", "starter", "--budget", "0.5%")
    assert (result.exit_code, result.stderr) == (0, "")
    # 3 sets of sites x 2 ranks; LoRA of rank 1 at one map of 96 by 96 in six layers
    assert words(result.stdout) == (
        "mine.yaml is right: 4 decisions on the model starter. Configurations 6 "
        "Smallest 1,152 parameters, 0.17% of the backbone Largest 4,608 parameters, 0.68% of the backbone "
        "Budget at most 3,384 parameters: those of 1,152 to 3,384"
    )
    told = json.loads(run("check", mine, "--model", "starter", "--json").stdout)
    assert told == {
        "name": "mine",
        "model": "starter",
        "parameters": 676_992,
        "decisions": 4,
        "cardinality": 6,
        "smallest": 1_152,
        "largest": 4_608,
        "limit": None,
    }
    all_of_it = run("check", mine, "--model", "starter", "--budget", "10k").stdout
    assert "at most 10,000 parameters: all of them" in all_of_it


def test_what_the_model_or_the_budget_has_no_room_for(mine: str) -> None:
    small = run("check", mine, "--model", "starter", "--budget", "1k")
    assert small.exit_code == 2
    assert "the smallest configuration of the space 'mine' on this backbone has 1,152" in small.stderr
    Path(mine).write_text(MINE.replace("[q, v]", "[q, gate]"))
    lacks = run("check", mine, "--model", "starter")
    assert lacks.exit_code == 2
    assert lacks.stderr == (
        "Error: mine.yaml:3:29: unknown site 'gate' for 'lora': this backbone has q, k, v, o, up, down.\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "1k"], "--budget is checked on a model: give --model too."),
        (["--sites", "q=attn.q"], "--sites is checked on a model: give --model too."),
        (["--model", "./nowhere"], "there is no model folder './nowhere'."),
        (["--model", "starter", "--budget", "much"], "cannot read the budget 'much'"),
    ],
)
def test_options_that_cannot_be(mine: str, options: list[str], message: str) -> None:
    result = run("check", mine, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_plain_words() -> None:
    result = run("describe", "mam")
    assert (result.exit_code, result.stderr) == (0, "")
    said = words(result.stdout)
    assert said.startswith(
        "mam · He et al. 2022, arXiv:2110.04366 The MAM adapter: a prefix in the attention"
    )
    assert "size: 1, 3, 6, 12 or 30" in said
    assert "On the model starter Configurations 1,890, an interval counted as one" in said
    assert "Smallest 481 parameters" in said
    assert result.stdout.count("prefix") >= 5 + 1  # five samples
    assert "\x1b" not in result.stdout
    assert "{" not in result.stdout  # no YAML
    assert all(line == line.rstrip() for line in result.stdout.splitlines())


def test_plain_words_as_json() -> None:
    told = json.loads(run("describe", "tiny", "--budget", "0.2%", "--json").stdout)
    assert (told["name"], told["model"], told["cardinality"]) == ("tiny", "starter", 12)
    assert told["limit"] == 1353
    assert "lora: a product of two thin matrices beside a weight" in told["explanation"]
    assert len(told["samples"]) == 5
    costs = [sample["trainable"] for sample in told["samples"]]
    assert costs == sorted(costs)
    assert all(384 <= cost <= 1353 for cost in costs)
    assert all(sample["configuration"]["modules"][0]["type"] == "lora" for sample in told["samples"])


def test_the_shipped_spaces() -> None:
    result = run("list")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == space_names()
    for row in rows:
        assert row["name"] in result.stdout
        assert row["about"] in result.stdout
        assert row["source"] in result.stdout


def test_the_schema() -> None:
    assert json.loads(run("schema").stdout) == json_schema()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", space_names())
def test_a_narrow_terminal_cuts_nothing(name: str, width: int) -> None:
    space = find_space(name)
    bound = space.bind(read_backbone(model_path("starter"))[1].shape, 10**9)
    samples = [
        {"trainable": 1152, "share": 0.0017, "description": "lora 4 on q,v,o (dora, pissa) in layers 0 2 4"}
    ]
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(draw_space.draw_space(space, "starter", bound, samples, limited=True))
        console.print(
            draw_space.draw_spaces([{"name": name, "about": "What it is.", "source": space.source}])
        )
    said = capture.get()
    assert "…" not in said
    for word in ("(dora,", "learning_rate", "1,152", name):
        assert word in said


def test_checking_needs_nothing_heavy() -> None:
    """An editor's or a pipeline's check is quick: torch alone takes seconds."""
    code = (
        "import sys; from typer.testing import CliRunner; from autopeft.cli.space import app; "
        "result = CliRunner().invoke(app, ['check', 'lora']); assert result.exit_code == 0, result.output; "
        "print([name for name in ('torch', 'transformers', 'peft', 'ray', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
