"""Our own recipe: what it says trains again to the same score, without a database."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.errors import DataError, InputError
from autopeft.export.portable import export_portable, recipe_of
from autopeft.nouns import Configuration, Module
from autopeft.recipe import read_recipe
from autopeft.retrain import Epoch, Step, retrain

from .conftest import Lab

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
LORA = Module("lora", 2, (0, 1), (("sites", ("q", "v")),))
SERIAL = Module("bottleneck", 2, (0,), (("position", "serial"), ("sites", ("ffn",))))
CONFIGURATIONS = {
    "lora": Configuration.of([LORA], 2e-2),
    "mixed": Configuration.of([LORA, SERIAL], 1e-2, {"weight_decay": 0.1}),
    "head": Configuration.of([], 1e-2),
    "spt": Configuration.of(
        [Module("lora", 1, (0, 1), (("sites", ("q", "v", "up")),))],
        2e-2,
        None,
        {"type": "spt", "threshold": 50.0, "times": 2.0},
    ),
}


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's files hold, by name: (step, value)."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in folder.rglob("events.out.tfevents*"):
        data, at = file.read_bytes(), 0
        while at < len(data):  # length (8), its checksum (4), an event, its checksum (4)
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event()
            event.ParseFromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_score_comes_back(texts: Lab, tmp_path: Path, name: str) -> None:
    trial = texts.train(CONFIGURATIONS[name])
    export_portable(texts.study, trial, tmp_path / "recipe")
    recipe = read_recipe(tmp_path / "recipe")
    assert recipe == recipe_of(texts.study, trial)
    assert (recipe.plan is None) == (name != "spt")
    told: list[Step | Epoch] = []
    done = retrain(recipe, tmp_path / "again", tell=told.append)
    assert done.came_back
    assert done.score == trial.score == recipe.score
    assert done.test_score == trial.measurements["test_score"]
    epochs = [one for one in told if isinstance(one, Epoch)]
    assert [(one.number, one.last) for one in epochs] == [(1, False), (2, True)]
    assert epochs[-1].loss == trial.measurements["train_loss"]
    steps = [one for one in told if isinstance(one, Step)]
    assert [one.number for one in steps] == list(range(1, steps[0].steps + 1))
    assert [one.epoch for one in steps] == sorted([1, 2] * (len(steps) // 2))
    found = curves(tmp_path / "again" / "logs")
    assert [step for step, _ in found["train/loss"]] == [one.number for one in steps]
    assert found["validation/accuracy"][-1] == (len(steps), pytest.approx(done.score))
    assert read_recipe(tmp_path / "again") == recipe


def test_a_part_of_a_training_comes_back(texts: Lab, tmp_path: Path) -> None:
    """What DyLoRA hands out besides is trials of their own, each with a recipe."""
    wide = Module("lora", 4, (0, 1), (("sites", ("q", "v")),))
    whole = texts.train(Configuration.of([wide], 2e-2, None, {"type": "dylora"}))
    parts = whole.details["parts"]
    assert parts
    for number, part in enumerate(parts):
        trial = texts.train(Configuration.from_json(part["configuration"]))
        done = retrain(recipe_of(texts.study, trial), tmp_path / str(number))
        assert done.score == trial.score == part["values"]["score"]


def test_a_loss_is_the_metrics_own_value(lines: Lab, tmp_path: Path) -> None:
    trial = lines.train(Configuration.of([LORA], 1e-2))
    recipe = recipe_of(lines.study, trial)
    assert recipe.metric == "loss"
    assert recipe.score == -(trial.score or 0) > 0
    assert retrain(recipe, tmp_path / "again").score == recipe.score


def test_the_command_says_whether_it_came_back(texts: Lab, tmp_path: Path) -> None:
    export_portable(texts.study, texts.train(CONFIGURATIONS["lora"]), tmp_path / "recipe.json")
    run = CliRunner().invoke(app, ["train", str(tmp_path / "recipe.json"), str(tmp_path / "one"), "--check"])
    assert run.exit_code == 0, run.output
    assert "The accuracy came back within ±0.01: " in run.stdout
    assert run.stderr.count("epoch ") == 2
    assert (tmp_path / "one" / "adapter_config.json").is_file()
    content = json.loads((tmp_path / "recipe.json").read_text())
    content["result"]["score"] += 0.5
    (tmp_path / "wrong.json").write_text(json.dumps(content))
    for number, words in enumerate([[], ["--check"]]):
        folder = tmp_path / f"wrong-{number}"
        run = CliRunner().invoke(app, ["train", str(tmp_path / "wrong.json"), str(folder), *words])
        assert run.exit_code == number
        assert "did not come back" in run.stdout
    again = ["train", str(tmp_path / "recipe.json"), str(tmp_path / "two"), "--json"]
    told = json.loads(CliRunner().invoke(app, again).stdout)
    assert told["came_back"] is True
    assert told["score"] == told["wanted"]


def test_data_that_were_moved(texts: Lab, tmp_path: Path) -> None:
    recipe = recipe_of(texts.study, texts.train(CONFIGURATIONS["head"]))
    shutil.copytree(Path(recipe.task["data"]).parent, tmp_path / "moved")
    done = retrain(recipe, tmp_path / "one", data=str(tmp_path / "moved" / "train.tsv"))
    assert done.score == recipe.score
    with (tmp_path / "moved" / "validation.tsv").open("a") as file:
        file.write("one more\tyes\n")
    with pytest.raises(DataError, match="have changed"):
        retrain(recipe, tmp_path / "two", data=str(tmp_path / "moved" / "train.tsv"))


def test_what_cannot_be_trained_is_told(texts: Lab, tmp_path: Path) -> None:
    trial = texts.train(CONFIGURATIONS["head"])
    recipe = recipe_of(texts.study, trial)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    with pytest.raises(InputError, match="is there already and not empty"):
        retrain(recipe, tmp_path / "used")
    with pytest.raises(InputError, match="unknown place for curves 'tensorbord': known are mlflow, wandb"):
        retrain(recipe, tmp_path / "new", log_to=["tensorbord"])
    with pytest.raises(InputError, match="unknown field of training 'epoch'"):
        retrain(replace(recipe, training={"epoch": 3}), tmp_path / "new")
    with pytest.raises(InputError, match="unknown field of the task 'dat'"):
        retrain(replace(recipe, task={**recipe.task, "dat": "x"}), tmp_path / "new")


@pytest.mark.filterwarnings("ignore")  # of what these two import
@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_curves_at_other_places(
    texts: Lab, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(texts.study, texts.train(CONFIGURATIONS["head"]))
    if importlib.util.find_spec(name) is None:
        with pytest.raises(InputError, match=f"{name} is not installed. Install it with: pip install {name}"):
            retrain(recipe, tmp_path / "new", log_to=[name])
        assert not (tmp_path / "new").exists()
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert retrain(recipe, tmp_path / "new", log_to=[name]).came_back
    assert list(tmp_path.glob(f"{name}*"))
