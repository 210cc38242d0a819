"""`studies`, `front`, `show`, and how errors are told."""

import json
from pathlib import Path
from typing import Any

import pytest
from report.filled import FOUND, LOSSES, confirm, fill_losses, fill_three
from rich.console import Console
from typer.testing import CliRunner, Result

from autopeft.cli import render
from autopeft.cli.app import app
from autopeft.errors import AutopeftError, InputError
from autopeft.nouns import Configuration, Module
from autopeft.report import pick, summarise
from autopeft.store import Repository


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_the_front_as_a_table(db: str) -> None:
    result = run("front", "digits", "--db", db)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    (knee,) = [line for line in lines if "◆ knee" in line]
    assert " ".join(knee.split()) == "7 ◆ knee 450 0.225% 0.9000 0.8800 serial 6 in layers 0 2, lr 0.003"
    (best,) = [line for line in lines if "★ best" in line]
    assert best.split()[0] == "8"
    at = [i for i, line in enumerate(lines) if "──" in line]
    assert len(at) == 2  # under the header, and above the baselines
    beneath = "\n".join(lines[at[1] :])
    assert "frozen backbone, head only, lr 0.001, best of 3 learning rates" in beneath
    assert "LoRA r=8 on q,v, lr 0.001, best of 2 learning rates (over the budget)" in beneath
    assert "at most 2,000 of 200,000 parameters" in result.stdout
    assert "5 trials complete, 1 failed, 2 to go · hypervolume 0.1234" in result.stdout
    assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("name", ["digits", "three"])
def test_a_narrow_terminal_cuts_nothing(db: str, width: int, anew: bool, name: str) -> None:
    if name == "three":
        fill_three(db, "three")
    if anew:
        confirm(
            db,
            FOUND if name == "digits" else dict.fromkeys((1, 3, 4, 5), (0.88, 0.9)),
            name,
            training_memory_bytes=3e6,
        )
    with Repository.open(db) as repository:
        summary = summarise(repository, repository.get_study(name))
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(render.draw_front(summary, width))
    words = capture.get()
    assert "…" not in words
    wanted = {
        ("digits", True): ("450", "0.890 ± 0.010"),
        ("digits", False): ("1,800", "0.9200"),
        ("three", True): ("128", "0.890 ± 0.010", "2.9"),
        ("three", False): ("900", "0.9000", "6.0", "MiB"),
    }[name, anew]
    for said in (*wanted, "★ best", "◆ knee", "serial"):
        assert said in words


def test_other_objectives_have_a_column_each_with_units(db: str) -> None:
    fill_three(db)
    shown = run("front", "three", "--db", db).stdout
    assert "for score ↑, trainable ↓, training memory ↓" in shown
    (titles,) = [line for line in shown.splitlines() if "Trainable" in line]
    assert "Training memory" in titles
    (knee,) = [line for line in shown.splitlines() if "◆ knee" in line]
    assert " ".join(knee.split()) == "3 ◆ knee 210 0.105% 0.8000 2.0 MiB serial 3 in layers 0 2, lr 0.003"
    confirm(db, dict.fromkeys((1, 3, 4, 5), (0.5, 0.6)), "three", training_memory_bytes=3e6)
    assert "2.9 MiB" in run("front", "three", "--db", db).stdout
    trial = run("show", "three", "1", "--db", db).stdout
    assert "Training memory 2.9 MiB ± 0 B" in " ".join(trial.split())
    assert "Training memory 3.0 MiB" in " ".join(trial.split())
    listed = [line.split() for line in run("studies", "--db", db).stdout.splitlines() if line.strip()]
    assert "For" in listed[0]
    assert [line[0] for line in listed[2:]] == ["three", "digits"]
    assert "score,trainable,memory" in listed[2]
    assert "score,trainable" in listed[3]


CONFIRMED = """
  Trial            Trainable   Share      Confirmed  Search said   Test  Configuration
  ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
      6                  128  0.064%  0.730 ± 0.010        0.750  0.710  serial 1 in layers 0 2, lr 0.003
      7  ◆ knee ★ best   450  0.225%  0.890 ± 0.010        0.900  0.870  serial 6 in layers 0 2, lr 0.003
  ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
      1  baseline          0      0%  0.690 ± 0.010        0.710  0.670  frozen backbone, head only, lr 0.001, best of 3 learning rates
      3  baseline      4,096  2.048%              –        0.880  0.870  LoRA r=8 on q,v, lr 0.001, best of 2 learning rates (over the budget)

  Confirmed: mean ± standard error over 2 seeds, on 500 examples that the search never saw (the choice of the examples adds ± 0.014).
  What the search said was 0.023 higher on average.
  1 point of its front fell off it when confirmed: trial 8.
"""


def test_a_confirmed_front_as_a_table(db: str) -> None:
    confirm(db, FOUND)
    result = run("front", "digits", "--db", db)
    assert result.exit_code == 0, result.output
    shown = [" ".join(line.split()) for line in result.stdout.splitlines() if "──" not in line]
    wanted = [" ".join(line.split()) for line in CONFIRMED.splitlines() if "──" not in line]
    assert "\n".join(wanted).strip() in "\n".join(shown)
    told = json.loads(run("front", "digits", "--db", db, "--json").stdout)
    assert (told["by_confirmed"], told["fallen"][0]["number"]) == (True, 8)


def test_before_a_confirmation_its_absence_is_told(db: str) -> None:
    said = "these are the scores that the search chose by, which flatter."
    assert f"Not confirmed: {said}" in run("front", "digits", "--db", db).stdout
    confirm(db, {6: (0.7,)})
    assert f"Not confirmed (1 confirming trial complete): {said}" in run("front", "digits", "--db", db).stdout


def test_a_front_of_losses(db: str) -> None:
    fill_losses(db)
    confirm(db, LOSSES, "text")
    said = run("front", "text", "--db", db).stdout
    assert "2.510 ± 0.010" in said
    assert "-2" not in said
    assert "What the search said was 0.093 lower on average." in said
    assert "frozen backbone, nothing trained" in said
    assert "parameters\n" in said  # no new head that would not be counted
    shown = run("show", "text", "4", "--db", db).stdout
    assert "2.4000 loss" in shown
    assert "the search said 0.110 less" in shown


def test_a_trial_and_what_confirms_it(db: str) -> None:
    confirm(db, FOUND)
    shown = run("show", "digits", "8", "--db", db).stdout
    assert "0.880 ± 0.010 over 2 seeds; the search said 0.040 more" in shown
    assert "0.8700 (trial 17)  0.8900 (trial 18)" in shown
    anew = run("show", "digits", "17", "--db", db).stdout
    assert "Trial 17 of digits · confirming · complete" in anew
    assert "trial 8" in anew


def test_what_the_importance_of_layers_means(db: str) -> None:
    wide = Configuration.of([Module("lora", 4, (0, 1), (("alpha", 8), ("sites", ("q",))))], 0.003)
    found: dict[str, Any] = {"layer_set": [0, 1], "multipliers": {"0": 1.5, "1": 1.5, "2": 0.0, "3": 1.0}}
    means = {"layer_set": wide.to_json(), "multipliers": wide.to_json()}
    dealt = {"seconds": 0.5, "plan": wide.to_json(), "layers": {"0": 0.9}, **found, "configurations": means}
    with Repository.open(db) as repository:
        running = repository.trial(repository.get_study("digits").id, 12)
        repository.report(running.id, 2, {"score": 0.6, "train_loss": 1.0})
        repository.complete(running.id, {"seconds": 1.0}, {"allocation": dealt, "threads": 1}, "")
    shown = " ".join(run("show", "digits", "12", "--db", db).stdout.split())
    assert "Layer set 0 1: lora 4 on q in layers 0 1, lr 0.003" in shown
    assert "Multipliers 0 ×1.50 1 ×1.50 2 ×0.00 3 ×1.00: lora 4 on q in layers 0 1, lr 0.003" in shown
    assert "configurations" not in shown
    told = json.loads(run("show", "digits", "12", "--db", db, "--json").stdout)
    assert told["details"]["allocation"] == dealt
    assert {name: one["found"] for name, one in told["read_out"].items()} == found
    assert told["read_out"]["layer_set"]["configuration"] == wide.to_json()
    assert "Layer set" not in run("show", "digits", "8", "--db", db).stdout


def test_a_trial_that_was_stopped(db: str) -> None:
    with Repository.open(db) as repository:
        study = repository.get_study("digits")
        running = repository.trial(study.id, 12)
        repository.report(running.id, 1, {"score": 0.6, "train_loss": 1.0})
        repository.stop(running.id)
    assert (
        "5 trials complete, 1 stopped early, 1 failed, 1 to go" in run("front", "digits", "--db", db).stdout
    )
    shown = run("show", "digits", "12", "--db", db).stdout
    assert "Trial 12 of digits · a point of the search · stopped" in shown
    assert "after epoch 1: other trials of about its size did better there" in shown
    told = json.loads(run("show", "digits", "12", "--db", db, "--json").stdout)
    assert (told["status"], told["score"], told["scores"]) == ("stopped", None, [{"epoch": 1, "score": 0.6}])
    (line,) = json.loads(run("studies", "--db", db, "--json").stdout)
    assert (line["complete"], line["stopped"]) == (5, 1)
    assert [
        row["number"] for row in json.loads(run("front", "digits", "--db", db, "--json").stdout)["front"]
    ] == [6, 7, 8]
    with (
        Repository.open(db) as repository,
        pytest.raises(InputError, match="trial 12 cannot be picked: it was stopped after epoch 1"),
    ):
        pick(repository, study, "12")


def test_the_front_as_json(db: str) -> None:
    result = run("front", "digits", "--db", db, "--json")
    assert result.exit_code == 0
    assert [row["number"] for row in json.loads(result.stdout)["front"]] == [6, 7, 8]


def test_the_studies(db: str) -> None:
    table = run("studies", "--db", db)
    assert table.exit_code == 0
    assert "digits" in table.stdout
    assert "0.9200" in table.stdout
    (told,) = json.loads(run("studies", "--db", db, "--json").stdout)
    assert (told["name"], told["complete"]) == ("digits", 5)


def test_who_has_asked_for_studies_is_told_where_they_are_several(db: str) -> None:
    assert "Owner" not in run("studies", "--db", db).stdout
    with Repository.open(db) as repository:
        settings = dict(repository.get_study("digits").settings)
        repository.create_study("adas", settings, 1_000, "autopeft", owner="ada")
    lines = [line.split() for line in run("studies", "--db", db).stdout.splitlines() if line.strip()]
    assert lines[0][:2] == ["Study", "Owner"]
    assert [line[:2] for line in lines[2:]] == [["adas", "ada"], ["digits", "–"]]
    told = json.loads(run("studies", "--db", db, "--json").stdout)
    assert [line["owner"] for line in told] == ["ada", ""]


def test_no_study_yet(tmp_path: Path) -> None:
    result = run("studies")
    assert (result.exit_code, result.stdout) == (0, "No study yet. `autopeft search` starts one.\n")
    assert json.loads(run("studies", "--json").stdout) == []
    assert list(tmp_path.iterdir()) == []  # looking makes no database


def test_a_trial(db: str) -> None:
    result = run("show", "digits", "7", "--db", db)
    assert result.exit_code == 0
    for said in (
        "Trial 7 of digits · a point of the search · complete",
        "serial 6 in layers 0 2, lr 0.003",
        "450 parameters",
        "0.9000 accuracy",
        "0.8000  0.9000",
        "4.2 s",
        "1.5 GiB",
        "/adapters/7",
        "threads 1, device cpu",
        "position serial",
    ):
        assert said in result.stdout
    assert json.loads(run("show", "digits", "7", "--db", db, "--json").stdout)["score"] == 0.9


def test_a_trial_that_failed_or_waits(db: str) -> None:
    assert "the training loss is nan in epoch 1." in run("show", "digits", "10", "--db", db).stdout
    waiting = run("show", "digits", "11", "--db", db).stdout
    assert "waiting" in waiting
    assert "not kept" in waiting


@pytest.mark.parametrize("command", [["front", "digit"], ["show", "digit", "0"]])
def test_an_unknown_study(db: str, command: list[str]) -> None:
    result = run(*command, "--db", db)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "Error: unknown study 'digit': known are digits. Did you mean 'digits'?\n"


def test_an_error_is_json_too(db: str) -> None:
    result = run("front", "digit", "--db", db, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "error": "unknown study 'digit': known are digits. Did you mean 'digits'?"
    }
    assert result.stderr.startswith("Error: ")


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for command in (["front", "digits"], ["show", "digits", "1"], ["studies"]):
        result = run(*command, "--db", str(tmp_path / "typo.db"))
        assert result.exit_code == 2
        assert "there is no database" in result.stderr
    assert not (tmp_path / "typo.db").exists()
    assert run("studies", "--db", "typo").exit_code == 2


def test_the_default_database(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPEFT_DB", db)
    assert "digits" in run("studies").stdout


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (AutopeftError("the disk is full."), 1, "Error: the disk is full.\n"),
        (
            ValueError("one\ntwo"),
            1,
            "internal error: ValueError: one (set AUTOPEFT_DEBUG=1 for the traceback)\n",
        ),
        (KeyError(), 1, "internal error: KeyError (set AUTOPEFT_DEBUG=1 for the traceback)\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def broken(_repository: Any) -> None:
        raise error

    monkeypatch.setattr("autopeft.cli.studies.is_absent", broken)
    result = run("studies")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", said)


def test_the_traceback_is_there_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_url: str) -> bool:
        raise ValueError("odd")

    monkeypatch.setattr("autopeft.cli.studies.is_absent", broken)
    monkeypatch.setenv("AUTOPEFT_DEBUG", "1")
    result = run("studies")
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("internal error: ValueError: odd\n")


def test_wrong_words_are_answered_with_the_near_ones() -> None:
    option = run("search", "--trails", "3")
    assert option.exit_code == 2
    assert "--trials" in option.stderr
    command = run("serch")
    assert command.exit_code == 2
    assert "search" in command.stderr


def test_the_version() -> None:
    from autopeft import __version__

    assert run("--version").stdout == f"autopeft {__version__}\n"
