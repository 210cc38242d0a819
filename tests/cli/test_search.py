"""`search` and `export`: what reaches the service, and what becomes of its answer."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from autopeft.cli.app import app
from autopeft.cli.options import parse_duration, parse_fields
from autopeft.errors import InputError
from autopeft.nouns import Configuration
from autopeft.recipe import Recipe, write_recipe
from autopeft.report import Phase, Summary, summarise
from autopeft.store import Repository

RECIPE = Recipe("", {}, {"model": "m", "path": "m", "overrides": {}, "parameters": 9}, {}, Configuration.of([], 0.1), None, {}, 0, "accuracy", 0.5, 0.01, 0)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A result as the service gives it, on a study that was filled by hand."""

    name: str
    url: str
    interrupted: bool
    to_confirm: int = 0

    def summary(self) -> Summary:
        with Repository.open(self.url) as repository:
            return summarise(repository, repository.get_study(self.name))


class Service(ModuleType):
    """A service that trains nothing and remembers what it was asked."""

    def __init__(self, url: str) -> None:
        super().__init__("autopeft.service")
        self.url = url
        self.asked: dict[str, Any] = {}
        self.interrupted = False
        self.to_confirm = 0

    def search(self, **asked: Any) -> Found:
        self.asked = asked
        asked["on_event"](Phase("loading the backbone"))
        print("a library talks")
        return Found("digits", self.url, self.interrupted, self.to_confirm)

    def resume(self, study: str, **asked: Any) -> Found:
        self.asked = asked
        return Found(study, self.url, self.interrupted, self.to_confirm)

    def export(self, study: str, pick: str, to: str, folder: Path, **asked: Any) -> Path:
        self.asked = {"study": study, "pick": pick, "to": to, "folder": folder, **asked}
        return folder


@pytest.fixture
def service(db: str, monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service(db)
    monkeypatch.setitem(sys.modules, "autopeft.service", service)
    return service


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_search_prints_its_front_and_what_to_do_next(service: Service, db: str) -> None:
    result = run("search", "--db", db, "--budget", "1%", "--model-config", "layers=2")
    assert result.exit_code == 0, result.output
    assert "◆ knee" in result.stdout
    assert f"Study digits in {db}" in result.stdout
    assert f"autopeft front digits --db {db}\n" in result.stdout
    assert f"autopeft export digits --pick knee --to peft digits-knee --db {db}\n" in result.stdout
    assert (
        f"autopeft search --budget 1% --trials 64 --model-config layers=2 --study digits --db {db}\n"
        in result.stdout
    )


def test_progress_and_what_libraries_say_go_to_stderr(service: Service) -> None:
    result = run("search", "--json")
    told = json.loads(result.stdout)
    assert (told["name"], told["interrupted"]) == ("digits", False)
    assert "loading the backbone\n" in result.stderr
    assert "a library talks" in result.stderr


def test_the_defaults(service: Service) -> None:
    run("search")
    del service.asked["on_event"]
    assert service.asked == {
        "model": "starter",
        "data": "starter",
        "budget": "0.5%",
        "objectives": "score,trainable",
        "forgetting_data": None,
        "space": "autopeft",
        "sampler": "botorch",
        "trials": 32,
        "seed": 0,
        "batch_size": 32,
        "fidelity": None,
        "prior": None,
        "validation_fraction": 0.2,
        "confirm_fraction": 0.5,
        "confirm_seeds": 3,
        "max_length": 128,
        "weights": "float32",
        "spread": False,
        "gradient_checkpointing": False,
        **dict.fromkeys(("pack", "quantize", "patience", "retries", "trial_seconds", "new_study")),
        **dict.fromkeys(("seconds", "workers", "gpus_per_trial", "ray_address", "study", "db", "epochs")),
        **dict.fromkeys(("validation", "test", "text", "text_pair", "image", "label", "problem", "metric")),
        "model_config": None,
        "sites": None,
        "warm_start": (),
        "start": (),
    }


def test_every_option_reaches_the_service(service: Service, db: str, tmp_path: Path) -> None:
    result = run(
        *("search", "--model", "m", "--data", "d.csv", "--budget", "300k", "--space", "s.yaml"),
        *("--sampler", "optuna:tpe", "--trials", "7", "--time", "10m", "--workers", "3"),
        *("--gpus-per-trial", "0.25", "--ray-address", "auto", "--study", "s", "--db", db, "--seed", "5"),
        *(
            "--epochs",
            "4",
            "--batch-size",
            "8",
            "--prior",
            "none",
            "--fidelity",
            "none",
            "--validation",
            "v.csv",
            "--test",
            "t.csv",
        ),
        *("--text-column", "a", "--text-pair-column", "b", "--image-column", "c", "--label-column", "y"),
        *("--problem", "regression", "--metric", "spearman", "--validation-fraction", "0.3"),
        *("--confirm-seeds", "2", "--confirm-fraction", "0.4"),
        *("--max-length", "64", "--model-config", "num_hidden_layers=2", "--model-config", "hidden_act=relu"),
        *("--sites", "q=attn.q", "--sites", "o=attn.out"),
        *("--warm-start", "one", "--warm-start", "two", "--start", str(write_recipe(RECIPE, tmp_path))),
        *("--objectives", "score,forgetting", "--forgetting-data", "f.csv"),
        *("--pack", "4", "--patience", "2", "--gradient-checkpointing"),
        *("--weights", "bfloat16", "--quantize", "4bit", "--spread"),
        *("--retries", "0", "--trial-timeout", "30m", "--as", "t"),
    )
    assert result.exit_code == 0, result.output
    del service.asked["on_event"]
    further = {"pack": 4, "patience": 2, "gradient_checkpointing": True}
    further |= {"retries": 0, "trial_seconds": 1800.0, "new_study": "t"}
    further |= {"weights": "bfloat16", "quantize": "4bit", "spread": True}
    assert {name: service.asked.pop(name) for name in further} == further
    assert service.asked == {
        "model": "m",
        "data": "d.csv",
        "budget": "300k",
        "objectives": "score,forgetting",
        "forgetting_data": "f.csv",
        "space": "s.yaml",
        "sampler": "optuna:tpe",
        "trials": 7,
        "sites": {"q": "attn.q", "o": "attn.out"},
        "seconds": 600.0,
        "workers": 3,
        "gpus_per_trial": 0.25,
        "ray_address": "auto",
        "study": "s",
        "warm_start": ["one", "two"],
        "start": [str(tmp_path / "recipe.json")],
        "db": db,
        "seed": 5,
        "epochs": 4,
        "batch_size": 8,
        "fidelity": "none",
        "prior": "none",
        "validation": "v.csv",
        "test": "t.csv",
        "text": "a",
        "text_pair": "b",
        "image": "c",
        "label": "y",
        "problem": "regression",
        "metric": "spearman",
        "validation_fraction": 0.3,
        "confirm_fraction": 0.4,
        "confirm_seeds": 2,
        "max_length": 64,
        "model_config": {"num_hidden_layers": 2, "hidden_act": "relu"},
    }


def test_a_confirmation_that_the_time_cut_off_goes_on_by_the_same_command(service: Service) -> None:
    service.to_confirm = 4
    result = run("search", "--trials", "30", "--time", "10m")
    assert result.exit_code == 0
    assert "The time was over with 4 trials of the confirmation to go.\n" in result.stdout
    shown = " ".join(result.stdout.split())
    assert "confirm autopeft search --trials 30 --time 10m --study digits" in shown
    assert json.loads(run("search", "--json").stdout)["to_confirm"] == 4


def test_an_interrupted_search_says_how_to_go_on(service: Service) -> None:
    service.interrupted = True
    result = run("search", "--trials", "30", "--seed", "2")
    assert result.exit_code == 130
    assert "◆ knee" in result.stdout
    assert "autopeft search --trials 30 --seed 2 --study digits\n" in result.stderr
    as_json = run("search", "--json")
    assert as_json.exit_code == 130
    assert json.loads(as_json.stdout)["interrupted"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "roberta-base"], "Error: there are no data to fine-tune 'roberta-base' on."),
        (["--budget", "much"], "Error: cannot read the budget 'much'"),
        (["--objectives", "score"], "Error: a search is for 2 to 4 objectives, not 1"),
        (["--objectives", "score,memry"], "Error: unknown objective 'memry'"),
        (["--time", "soon"], "Error: cannot read the time 'soon'"),
        (["--start", "nowhere"], "Error: there is no recipe 'nowhere'"),
        (["--model-config", "layers"], "Error: cannot read 'layers': write KEY=VALUE"),
    ],
)
def test_bad_input_is_refused_before_anything_is_loaded(
    service: Service, words: list[str], said: str
) -> None:
    result = run("search", *words, "--json")
    assert result.exit_code == 2
    assert result.stderr.startswith(said)
    assert result.stderr == f"Error: {json.loads(result.stdout)['error']}\n"
    assert service.asked == {}


def test_a_password_is_not_printed(service: Service) -> None:
    result = run("search", "--db", "postgresql://me:secret@host/db")
    assert result.exit_code == 0
    assert "secret" not in result.output
    assert "postgresql://me:***@host/db" in result.stdout


def test_every_format_can_be_asked_for() -> None:
    from autopeft.cli.export import Target
    from autopeft.export import EXPORTERS

    assert [target.value for target in Target] == list(EXPORTERS)


def test_export(service: Service, db: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = run("export", "digits", "--pick", "7", "--to", "script", str(folder), "--db", db)
    assert (result.exit_code, result.stdout) == (0, f"Wrote {folder}\n")
    asked = {"lossy": False, "merge": False, "compress": None, "push_to_hub": None}
    assert service.asked == {
        "study": "digits",
        "pick": "7",
        "to": "script",
        "folder": folder,
        "db": db,
        **asked,
    }
    run("export", "digits", str(folder), "--merge", "--compress", "8bit", "--push-to-hub", "me/x")
    assert [service.asked[name] for name in asked] == [False, True, "8bit", "me/x"]
    assert run("export", "digits", str(folder), "--to", "trl", "--lossy", "--db", db).exit_code == 0
    assert service.asked["lossy"]
    told = json.loads(run("export", "digits", str(folder), "--json").stdout)
    assert told == {"study": "digits", "pick": "knee", "to": "peft", "path": str(folder)}
    assert run("export", "digits", str(folder), "--to", "onnx").exit_code == 2
    folder.mkdir()
    figures = {"how": "8bit", "metric": "accuracy", "score_before": 0.75, "score_after": 0.74}
    figures |= {"bytes_before": 4000, "bytes_after": 1200}
    (folder / "autopeft_config.json").write_text(json.dumps({"compressed": figures}))
    said = run("export", "digits", str(folder), "--compress", "8bit").stdout.splitlines()
    assert said == [
        f"Wrote {folder}",
        "  8bit: 1,200 bytes instead of 4,000; accuracy 0.7400, and 0.7500 before",
    ]
    assert json.loads(run("export", "digits", str(folder), "--json").stdout)["compressed"] == figures


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("10min", 600), ("2h", 7200), ("1h 30m", 5400), ("1.5H", 5400)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "h", "0s", "-5m", "m10", "5d", "1e3s", "30m1h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match="write it as 90s, 10m, 2h or 1h30m"):
        parse_duration(text)


def test_fields() -> None:
    assert parse_fields(["a=1", "b=true", "c=x=y", "d=", "e=[1, 2]"]) == {
        "a": 1,
        "b": True,
        "c": "x=y",
        "d": "",
        "e": [1, 2],
    }
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(InputError):
            parse_fields(wrong)


def test_a_study_is_gone_on_with_by_its_name(service: Service, db: str) -> None:
    result = run("resume", "digits", "--db", db)
    assert result.exit_code == 0, result.output
    assert f"autopeft resume digits --trials 16 --db {db}\n" in result.stdout
    del service.asked["on_event"]
    assert service.asked == {
        **dict.fromkeys(("trials", "seconds", "confirm_seeds", "workers", "gpus_per_trial", "pack")),
        **dict.fromkeys(("ray_address", "retries", "trial_seconds")),
        "retry_failed": False,
        "retry": (),
        "db": db,
    }
    run(
        *(
            "resume",
            "digits",
            "--db",
            db,
            "--trials",
            "9",
            "--time",
            "1h",
            "--confirm-seeds",
            "0",
            "--workers",
            "2",
        ),
        *("--gpus-per-trial", "0.5", "--pack", "3", "--ray-address", "auto", "--retries", "1"),
        *("--trial-timeout", "90s", "--retry-failed", "--retry", "4", "--retry", "5"),
    )
    del service.asked["on_event"]
    assert service.asked == {
        "trials": 9,
        "seconds": 3600.0,
        "confirm_seeds": 0,
        "workers": 2,
        "gpus_per_trial": 0.5,
        "pack": 3,
        "ray_address": "auto",
        "retries": 1,
        "trial_seconds": 90.0,
        "retry_failed": True,
        "retry": [4, 5],
        "db": db,
    }


def test_an_unknown_study_is_not_gone_on_with(service: Service, db: str) -> None:
    result = run("resume", "digit", "--db", db)
    assert result.exit_code == 2
    assert "unknown study 'digit'" in result.stderr
    assert "Did you mean 'digits'?" in result.stderr
    assert service.asked == {}


def test_an_interrupted_study_says_how_to_go_on(service: Service, db: str) -> None:
    service.interrupted = True
    result = run("resume", "digits", "--db", db)
    assert result.exit_code == 130
    assert f"go on with: autopeft resume digits --db {db}\n" in result.stderr
