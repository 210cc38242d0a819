"""The main job on the bundled starter, through the installed command, small."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from end_to_end import INTERRUPT, KILL, answer, autopeft, stop_after, training_workers, wait_for
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

import autopeft as api
from autopeft.backbones import model_path
from autopeft.nouns import TrialKind, TrialStatus
from autopeft.store import Repository

pytestmark = pytest.mark.slow

SMALL = ("search", "--budget", "0.5%", "--epochs", "1")
PROBE = 0
BASELINES = range(1, 13)  # two, at six learning rates each
SEARCHED = range(13, 17)  # the trials of a search of four


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose database holds the finished study `small`."""
    folder = tmp_path_factory.mktemp("starter")
    done = autopeft(folder, *SMALL, "--trials", "4", "--study", "small")
    assert done.returncode == 0, done.stderr
    assert "0.5%" in done.stdout
    assert "knee" in done.stdout
    assert "baseline" in done.stdout
    return folder


def test_front_is_inside_the_budget(folder: Path) -> None:
    summary = answer(folder, "front", "small")
    assert summary["limit"] == 3384
    assert summary["front"]
    costs = [row["trainable"] for row in summary["front"]]
    scores = [row["confirmed"]["mean"] for row in summary["front"]]
    assert costs == sorted(costs)
    assert scores == sorted(scores)
    assert all(0 < cost <= 3384 for cost in costs)
    assert sum(row["knee"] for row in summary["front"]) == 1
    assert {row["kind"] for row in summary["baselines"]} == {"head-only", "lora-qv"}
    assert all(row["best_of"] == 6 for row in summary["baselines"])


def test_every_trial_is_recorded(folder: Path) -> None:
    probe = answer(folder, "show", "small", str(PROBE))
    assert (probe["kind"], probe["status"]) == ("probe", "complete")
    assert len(probe["ranking"]) > 100
    for number in (*BASELINES, *SEARCHED):
        trial = answer(folder, "show", "small", str(number))
        assert trial["status"] == "complete", trial["reason"]
        assert [score["epoch"] for score in trial["scores"]] == [1]
        assert {"test_score", "train_loss", "seconds", "peak_memory_bytes"} <= trial["measurements"].keys()
        assert trial["details"]["threads"] >= 1


def test_the_front_is_confirmed(folder: Path) -> None:
    summary = answer(folder, "front", "small")
    assert summary["by_confirmed"]
    rows = [*summary["front"], *summary["fallen"], *summary["baselines"]]
    # Besides, those that the surrogate thought as good as the front's members, and that were not.
    assert summary["confirmations"]["complete"] >= 3 * len(rows)
    assert summary["confirmations"]["complete"] % 3 == 0
    for row in rows:
        found = row["confirmed"]
        assert (found["seeds"], found["failed"], found["held_back"], found["examples"]) == (3, 0, True, 1_000)
        assert found["gap"] == pytest.approx(row["score"] - found["mean"])
        anew = answer(folder, "show", "small", str(row["number"]))["confirmations"]
        assert [one["seed"] for one in anew] == [1, 2, 3]
        assert sum(one["score"] for one in anew) / 3 == pytest.approx(found["mean"])
        assert len({one["score"] for one in anew}) > 1  # seeds of their own
    for number in (*BASELINES, *SEARCHED):  # the search was never told a score on what was held back
        assert "confirmation_score" not in answer(folder, "show", "small", str(number))["measurements"]


def test_more_seeds_train_what_is_missing_only(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("autopeft.db*"):
        shutil.copy(file, tmp_path)
    before = answer(tmp_path, "front", "small")
    members = len(before["front"]) + len(before["fallen"]) + len(before["baselines"])
    call = (*SMALL, "--trials", "4", "--study", "small", "--confirm-seeds")
    none = autopeft(tmp_path, *call, "0")
    assert none.returncode == 0
    assert "starting Ray" not in none.stderr
    more = autopeft(tmp_path, *call, "4")
    assert more.returncode == 0, more.stderr
    assert more.stderr.count("confirming: ") == members
    after = answer(tmp_path, "front", "small")
    assert after["confirmations"]["complete"] == 4 * members
    assert all(row["confirmed"]["seeds"] == 4 for row in after["front"])


def test_a_confirmation_that_was_killed_goes_on(tmp_path: Path) -> None:
    call = (*SMALL, "--trials", "2", "--study", "killed", "--confirm-seeds", "2")
    code, said, session = stop_after(
        tmp_path, len(BASELINES) + 1 + 2 + 2, KILL, *call
    )  # two of the confirmation
    assert code == -KILL, said
    assert wait_for(lambda: not training_workers(session), 20)
    before = answer(tmp_path, "front", "killed")["confirmations"]["complete"]
    assert before >= 2
    done = autopeft(tmp_path, *call)
    assert done.returncode == 0, done.stderr
    with Repository.open(f"sqlite:///{tmp_path}/autopeft.db") as repository:
        trials = repository.trials(repository.get_study("killed").id)
    anew = [(t.configuration.key, t.seed) for t in trials if t.kind is TrialKind.CONFIRM]
    assert len(set(anew)) == len(anew)
    summary = answer(tmp_path, "front", "killed")
    assert summary["by_confirmed"]
    assert summary["confirmations"] == {**summary["confirmations"], "complete": len(anew), "failed": 0}
    assert done.stderr.count("confirming: ") <= len(anew) - before


def test_the_same_command_again_is_done_at_once(folder: Path) -> None:
    before = answer(folder, "front", "small")
    again = autopeft(folder, *SMALL, "--trials", "4", "--study", "small")
    assert again.returncode == 0
    assert "starting Ray" not in again.stderr
    assert answer(folder, "front", "small") == before


def test_other_settings_are_refused(folder: Path) -> None:
    done = autopeft(folder, *SMALL, "--study", "small", "--seed", "1")
    assert done.returncode == 2
    assert "other settings" in done.stderr
    assert "seed was 0, now 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_exported_adapter_gives_the_stored_score(folder: Path) -> None:
    done = autopeft(folder, "export", "small", "--pick", "best", "--to", "peft", "best")
    assert done.returncode == 0, done.stderr
    config = json.loads((folder / "best" / "autopeft_config.json").read_text())
    assert _score(api.load_adapter(_fresh(), folder / "best")) == pytest.approx(config["score"], abs=1e-9)
    assert load_file(folder / "best" / "autopeft_model.safetensors")
    card = (folder / "best" / "README.md").read_text()
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    found: dict[str, Any] = {}
    exec(code.replace("path/to/this/folder", str(folder / "best")), found)
    assert _score(found["model"]) == pytest.approx(config["score"], abs=1e-9)
    again = autopeft(folder, "export", "small", "--pick", "best", "--to", "peft", "best")
    assert again.returncode == 2
    assert "not empty" in again.stderr


# peft 0.21 asks transformers 5.23 for a name that it has renamed.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_lora_is_read_by_peft_itself(folder: Path) -> None:
    from peft import PeftModel

    (lora,) = [row for row in answer(folder, "front", "small")["baselines"] if row["kind"] == "lora-qv"]
    done = autopeft(folder, "export", "small", "--pick", str(lora["number"]), "--to", "peft", "lora")
    assert done.returncode == 0, done.stderr
    model = PeftModel.from_pretrained(_fresh(), str(folder / "lora"))
    assert _score(model.eval()) == pytest.approx(lora["score"], abs=1e-9)


@pytest.mark.parametrize("pick", ["best", "lora"])
def test_the_script_reproduces_the_stored_score(folder: Path, pick: str) -> None:
    if pick == "lora":
        rows = answer(folder, "front", "small")["baselines"]
        pick = str(next(row["number"] for row in rows if row["kind"] == "lora-qv"))
    target = folder / f"script-{pick}"
    done = autopeft(folder, "export", "small", "--pick", pick, "--to", "script", str(target))
    assert done.returncode == 0, done.stderr
    run = subprocess.run(
        [sys.executable, "train.py"], cwd=target, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    result = json.loads((target / "result.json").read_text())
    # Same machine, same versions, same number of threads: the same number, not one within the tolerance.
    assert result["validation"] == result["stored_validation"]
    assert result["test"] == result["stored_test"]
    assert not re.search(r"(import|from) autopeft", (target / "train.py").read_text())


def test_killed_search_goes_on(tmp_path: Path) -> None:
    call = (*SMALL, "--trials", "4", "--study", "killed", "--confirm-seeds", "0")
    code, said, session = stop_after(tmp_path, 5, KILL, *call)
    assert code == -KILL, said
    assert wait_for(lambda: not training_workers(session), 20)  # Ray's workers end with their driver
    recorded = [answer(tmp_path, "show", "killed", str(n)) for n in range(5)]
    before = {t["number"]: t for t in recorded if t["status"] == "complete"}
    assert len(before) >= 4  # all that was said to be done is in the database
    done = autopeft(tmp_path, *call)
    assert done.returncode == 0, done.stderr
    trials = [answer(tmp_path, "show", "killed", str(n)) for n in range(SEARCHED.stop)]
    assert all(t["status"] == "complete" for t in trials)
    assert all(trials[n] == t for n, t in before.items())  # a finished trial never changes
    configurations = [json.dumps([t["kind"], t["configuration"]], sort_keys=True) for t in trials]
    assert len(set(configurations)) == SEARCHED.stop  # none twice
    assert autopeft(tmp_path, "show", "killed", str(SEARCHED.stop)).returncode == 2  # and none too many


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    code, said, _ = stop_after(tmp_path, 2, INTERRUPT, *SMALL, "--trials", "2", "--study", "stopped")
    assert code == 130, said
    assert "Traceback" not in said
    assert "autopeft search" in said
    (study,) = answer(tmp_path, "studies")
    assert study["name"] == "stopped"


def test_starts_from_an_earlier_study(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("autopeft.db*"):
        shutil.copy(file, tmp_path)
    call = ("search", "--budget", "0.2%", "--epochs", "1", "--trials", "2", "--warm-start", "small")
    done = autopeft(tmp_path, *call)
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr  # the suggester, or a trial
    name = answer(tmp_path, "studies")[0]["name"]
    with Repository.open(f"sqlite:///{tmp_path}/autopeft.db") as repository:
        study, small = repository.get_study(name), repository.get_study("small")
        (used,) = study.settings["warm_start"]
        assert used == {"study": "small", "id": small.id, "trials": list(SEARCHED)}
        # The earlier study goes on: the same command means the same study, and it knows no more.
        one = repository.trials(study.id)[-1]
        more = repository.add_trial(small.id, TrialKind.SEARCH, one.configuration, one.trainable, 7)
        repository.start_trial(more.id)
        repository.report(more.id, 1, {"score": 1.0})
        repository.complete(more.id, {}, {})
    again = autopeft(tmp_path, *call)
    assert again.returncode == 0, again.stderr
    assert "starting Ray" not in again.stderr
    assert answer(tmp_path, "studies")[0]["name"] == name
    cold = autopeft(tmp_path, *call[:-2], "--study", name)
    assert cold.returncode == 2
    assert "warm_start was" in cold.stderr
    itself = autopeft(tmp_path, *call, "--study", "small")
    assert itself.returncode == 2
    assert "cannot start from itself" in itself.stderr


def test_a_recipe_trains_again_and_starts_a_search(folder: Path, tmp_path: Path) -> None:
    exported = autopeft(
        folder, "export", "small", str(tmp_path / "recipe.json"), "--pick", "best", "--to", "autopeft"
    )
    assert exported.returncode == 0, exported.stderr
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    again = autopeft(tmp_path, "train", "recipe.json", "adapter", "--check")  # where there is no database
    assert again.returncode == 0, again.stderr
    assert (
        f"{recipe['result']['score']:.4f}, and the recipe's was {recipe['result']['score']:.4f}"
        in again.stdout
    )
    assert not list(tmp_path.glob("*.db"))
    few = ("--epochs", "1", "--trials", "1", "--prior", "none", "--confirm-seeds", "0")
    call = ("search", "--study", "other", "--seed", "5", *few, "--start", "recipe.json")
    done = autopeft(tmp_path, *call)
    assert done.returncode == 0, done.stderr
    assert answer(tmp_path, "show", "other", "0")["configuration"] == recipe["configuration"]
    over = autopeft(tmp_path, *call[:2], "small", *call[3:], "--budget", "0.05%")
    assert over.returncode == 2
    assert "cannot start from 'recipe.json': it trains" in over.stderr


def _fresh() -> torch.nn.Module:
    return AutoModelForImageClassification.from_pretrained(
        model_path("starter"), num_labels=10, ignore_mismatched_sizes=True
    )


def _score(model: torch.nn.Module) -> float:
    from autopeft.tasks.batches import encode, evaluation_order
    from autopeft.tasks.load import resolve_task
    from autopeft.tasks.metrics import compute
    from autopeft.tasks.preprocessor import load_preprocessor
    from autopeft.train.loop import predict

    torch.set_num_threads(1)
    task = resolve_task("starter", confirmation_fraction=0.5)  # the search's half of validation
    data = encode(task.validation, task.settings, load_preprocessor(model_path("starter"), "image"))
    order = evaluation_order(data)
    logits = predict(model, (data.batch(part) for part in order.split(256)))
    return compute("accuracy", logits.numpy(), data.labels[order].numpy())


def test_a_search_for_other_objectives(tmp_path: Path) -> None:
    call = (*SMALL, "--trials", "3", "--study", "four", "--confirm-seeds", "1")
    wanted = ("--objectives", "score,memory,flops,bytes")
    done = autopeft(tmp_path, *call, *wanted)
    assert done.returncode == 0, done.stderr
    assert all(title in done.stdout for title in ("Training memory", "Inference FLOPs", "Adapter size"))
    summary = answer(tmp_path, "front", "four")
    names = [one["name"] for one in summary["objectives"]]
    assert names == ["score", "adapter_bytes", "inference_flops", "training_memory_bytes"]
    assert summary["by_confirmed"]
    assert summary["front"]
    assert sum(row["best"] for row in summary["front"]) == sum(row["knee"] for row in summary["front"]) == 1
    for row in (*summary["front"], *summary["baselines"]):
        assert set(row["objectives"]) == set(names[1:])
        # The same numbers for every seed: what is counted does not depend on the weights.
        means = {name: found["mean"] for name, found in row["confirmed"]["objectives"].items()}
        assert means == row["objectives"]
    trials = [answer(tmp_path, "show", "four", str(n)) for n in range(16)]
    assert not any(trial["kind"] == "probe" for trial in trials)
    head = trials[0]["measurements"]
    assert head["adapter_bytes"] == 0
    assert all(
        t["measurements"]["training_memory_bytes"] > head["training_memory_bytes"] for t in trials[6:15]
    )
    best = next(row for row in summary["front"] if row["best"])
    exported = autopeft(tmp_path, "export", "four", "--pick", "best", "--to", "peft", "adapter")
    assert exported.returncode == 0, exported.stderr
    saved = 0
    for file in (tmp_path / "adapter").rglob("*.safetensors"):
        tensors = load_file(file).items()
        saved += sum(t.numel() * t.element_size() for name, t in tensors if "classifier" not in name)
    assert saved == best["objectives"]["adapter_bytes"]
    again = autopeft(tmp_path, *call, *wanted)
    assert again.returncode == 0
    assert "starting Ray" not in again.stderr
    other = autopeft(tmp_path, *call)
    assert other.returncode == 2
    assert "objectives was" in other.stderr


def test_trials_that_are_trained_together(tmp_path: Path) -> None:
    """Packs of three on one worker: some are stopped at a rung, and the others of their pack go on."""
    arguments = [
        "search",
        "--budget",
        "0.5%",
        "--epochs",
        "3",
        "--trials",
        "12",
        "--confirm-seeds",
        "0",
        "--pack",
        "3",
    ]
    done = autopeft(tmp_path, *arguments, "--workers", "1", "--study", "packed")
    assert done.returncode == 0, done.stderr
    with Repository.open(f"sqlite:///{tmp_path}/autopeft.db") as repository:
        trials = repository.trials(repository.get_study("packed").id)
    assert not [trial.reason for trial in trials if trial.status is TrialStatus.FAILED]
    search = [trial for trial in trials if trial.kind is TrialKind.SEARCH]
    assert len(search) == 12
    assert {trial.status for trial in search} == {TrialStatus.COMPLETE, TrialStatus.STOPPED}
    complete = [trial for trial in trials if trial.status is TrialStatus.COMPLETE]
    assert (
        len({trial.details["process"] for trial in complete if "process" in trial.details}) == 1
    )  # one worker
    packed = [trial.details.get("packed", 1) for trial in complete]
    assert max(packed) == 3
    assert all(len(trial.scores) == 3 for trial in search if trial.status is TrialStatus.COMPLETE)
