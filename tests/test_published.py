"""The published method comparison as studies: fronts as counted from the files themselves, and nothing searches them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from autopeft.cli.app import app
from autopeft.errors import InputError
from autopeft.nouns import TrialStatus
from autopeft.published import import_peft_comparison, read_runs
from autopeft.report import Summary, studies_table, summarise, trial_record
from autopeft.store import Repository


@pytest.fixture(scope="module")
def comparison(shared_data: Path) -> Path:
    return shared_data / "peft_method_comparison" / "method_comparison"


@pytest.fixture(scope="module")
def _imported(tmp_path_factory: pytest.TempPathFactory, comparison: Path) -> Path:
    path = tmp_path_factory.mktemp("published") / "studies.db"
    with Repository.open(str(path)) as repository:
        found = import_peft_comparison(repository, comparison)
    assert [(one.study, one.added, one.known) for one in found] == [
        ("peft-metamathqa", 63, 0),
        ("peft-image-gen", 31, 0),
    ]
    assert not found[0].left_out
    return path


@pytest.fixture
def db(_imported: Path, tmp_path: Path) -> str:
    return str(shutil.copy(_imported, tmp_path / "studies.db"))


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def summary_of(db: str, study: str, *objectives: str) -> Summary:
    with Repository.open(db) as repository:
        return summarise(repository, repository.get_study(study), objectives)


# What the files call it, and of how many points its front against the score is, by the comparison's own rule.
GOLDEN = {
    "memory": ("accelerator_memory_max", 7),
    "trainable": ("num_trainable_params", 12),
    "bytes": ("file_size", 14),
    "time": ("train_time", 4),
    "forgetting": ("forgetting", 7),
}


@pytest.mark.parametrize("objective", GOLDEN)
def test_golden_fronts(db: str, comparison: Path, objective: str) -> None:
    """Dropped is a point than which another is at least as good in both, and better in one."""
    key, size = GOLDEN[objective]
    points = {}
    for path in (comparison / "MetaMathQA" / "results").glob("*.json"):
        content = json.loads(path.read_text())
        last = content["train_info"]["metrics"][-1]
        cost = last[key] if key == "forgetting" else content["train_info"][key]
        points[content["run_info"]["experiment_name"]] = (last["test accuracy"], cost)
    kept = {
        name
        for name, (score, cost) in points.items()
        if not any(s >= score and c <= cost and (s, c) != (score, cost) for s, c in points.values())
    }
    front = summary_of(db, "peft-metamathqa", "score", objective).front
    found = {row.configuration.modules[0].option("experiment"): row for row in front}
    assert set(found) == kept
    assert len(kept) == size
    assert all(row.score == points[name][0] for name, row in found.items())


def test_the_front_that_the_comparisons_page_begins_with(db: str) -> None:
    said = run("front", "peft-metamathqa", "--objectives", "score,memory", "--db", db)
    assert said.exit_code == 0, said.output
    rows = [line for line in said.stdout.splitlines() if "GiB" in line]
    assert [line.split("GiB")[1].split("/")[0].strip() for line in rows] == [
        *("tinylora", "beft", "miss", "miss", "shira", "lily", "lora")
    ]
    assert "lora/llama-3.2-3B-rank64-rslora, lr 0.0001" in said.stdout
    assert "Published results, each of one run" in said.stdout
    assert "Not confirmed" not in said.stdout


def test_a_study_of_six_objectives_says_how_to_look_at_two(db: str) -> None:
    said = run("front", "peft-image-gen", "--db", db).stdout
    assert "--objectives score,drift looks at two" in said
    assert [one["short"] for one in summary_of(db, "peft-image-gen").objectives] == [
        *("score", "trainable", "bytes", "memory", "time", "drift")
    ]


@pytest.mark.parametrize(
    ("objectives", "words"),
    [("score,latency", "known are score, trainable, bytes"), ("score", "name at least 2")],
)
def test_objectives_that_make_no_front(db: str, objectives: str, words: str) -> None:
    said = run("front", "peft-metamathqa", "--objectives", objectives, "--db", db)
    assert said.exit_code == 2
    assert words in said.stderr


def test_a_trial_keeps_the_files_own_words(db: str, comparison: Path) -> None:
    with Repository.open(db) as repository:
        study = repository.get_study("peft-metamathqa")
        (trial,) = [
            t
            for t in repository.trials(study.id)
            if t.configuration.modules[0].option("experiment") == "ia3/llama-3.2-3B-lr_0.001"
        ]
        record = trial_record(repository, study, trial.number)
        assert [line["complete"] for line in studies_table(repository)] == [31, 63]
    file = json.loads((comparison / "MetaMathQA/results/ia3--llama-3.2-3B-lr_0.001.json").read_text())
    published = record["details"]["published"]
    assert published["peft_config"] == file["run_info"]["peft_config"]
    assert published["train_config"] == file["run_info"]["train_config"]
    assert published["train_info"] == file["train_info"]
    assert record["trainable"] == file["train_info"]["num_trainable_params"]
    assert record["measurements"] == {
        "training_memory_bytes": file["train_info"]["accelerator_memory_max"],
        "training_seconds": file["train_info"]["train_time"],
        "seconds": file["run_info"]["total_time"],
        "adapter_bytes": file["train_info"]["file_size"],
        "train_loss": file["train_info"]["metrics"][-1]["train loss"],
        "forgetting": file["train_info"]["metrics"][-1]["forgetting"],
    }
    assert (record["status"], record["seed"]) == ("complete", 0)
    shown = run("show", "peft-metamathqa", str(trial.number), "--db", db)
    assert "ia3/llama-3.2-3B-lr_0.001, lr 0.001" in shown.stdout
    assert "NVIDIA L40S" in shown.stdout


def test_the_run_whose_drift_is_no_number_is_on_no_front_of_drift(db: str) -> None:
    with Repository.open(db) as repository:
        trials = repository.trials(repository.get_study("peft-image-gen").id)
    (full,) = [t for t in trials if "drift" not in t.measurements]
    assert full.configuration.modules[0].type == "full-finetuning"
    assert full.status is TrialStatus.COMPLETE
    assert full.number not in {row.number for row in summary_of(db, "peft-image-gen", "score", "drift").front}


def test_again_adds_only_what_is_new(tmp_path: Path, comparison: Path) -> None:
    results = tmp_path / "some" / "results"
    results.mkdir(parents=True)
    source = sorted((comparison / "MetaMathQA" / "results").glob("*.json"))
    for path in source[:3]:
        shutil.copy(path, results)
    (results / "notes.json").write_text("{}")
    with Repository.open(str(tmp_path / "x.db")) as repository:
        (first,) = import_peft_comparison(repository, tmp_path, "mine")
        assert (first.study, first.added, first.known) == ("mine-metamathqa", 3, 0)
        assert first.left_out == {"some/results/notes.json": "it has no 'run_info'"}
        before = repository.trials(repository.get_study("mine-metamathqa").id)
        shutil.copy(source[3], results)
        changed(results / source[0].name, "2027-01-01T00:00:00+00:00")
        (again,) = import_peft_comparison(repository, tmp_path, "mine")
        assert (again.added, again.known, len(again.other)) == (1, 2, 1)
        after = repository.trials(repository.get_study("mine-metamathqa").id)
    assert after[:3] == before
    assert len(after) == 4


def changed(path: Path, created_at: str, **train_info: Any) -> None:
    content = json.loads(path.read_text())
    content["run_info"]["created_at"] = created_at
    content["train_info"] |= train_info
    path.write_text(json.dumps(content))


def test_the_newest_run_of_an_experiment_counts(shared_data: Path) -> None:
    folder = shared_data / "peft_method_comparison" / "history_MetaMathQA"
    runs, left_out = read_runs(folder)
    assert len({run.experiment for run in runs}) == len(runs) == 55
    assert set(left_out.values()) == {"it has no 'num_total_params'"}  # files of June 2025
    assert len(left_out) == 25
    (bone,) = [run for run in runs if run.experiment == "bone/llama-3.2-3B-bat"]
    dates = [json.loads(p.read_text())["run_info"]["created_at"] for p in folder.glob("bone--*-bat--*.json")]
    assert bone.created_at == max(dates)
    assert bone.values["training_memory_bytes"] > 1e10  # which these files call cuda_memory_max


def test_a_run_that_failed_is_a_failed_trial(tmp_path: Path, comparison: Path) -> None:
    path = tmp_path / "one.json"
    shutil.copy(next((comparison / "MetaMathQA" / "results").glob("*.json")), path)
    changed(path, "2026-08-01T00:00:00+00:00", status="failed")
    with Repository.open(str(tmp_path / "x.db")) as repository:
        import_peft_comparison(repository, tmp_path)
        (trial,) = repository.trials(repository.get_study("peft-metamathqa").id)
    assert (trial.status, trial.reason) == (TrialStatus.FAILED, "its status is failed")


@pytest.mark.parametrize(
    "words",
    [
        ["resume", "peft-metamathqa"],
        ["resume", "peft-metamathqa", "--retry-failed"],
        ["search", "--study", "peft-metamathqa"],
        ["search", "--warm-start", "peft-metamathqa"],
    ],
)
def test_it_is_only_read(db: str, words: list[str]) -> None:
    said = run(*words, "--db", db)
    assert said.exit_code == 2
    assert "holds published results that were imported: it is only read" in said.stderr


def test_nothing_was_published_to_export(db: str, tmp_path: Path) -> None:
    said = run("export", "peft-metamathqa", str(tmp_path / "out"), "--pick", "1", "--db", db)
    assert said.exit_code == 2
    assert "no adapter was published" in said.stderr


def test_folders_and_studies_that_will_not_do(tmp_path: Path, db: str, comparison: Path) -> None:
    with Repository.open(db) as repository:
        with pytest.raises(InputError, match="there is no folder"):
            import_peft_comparison(repository, tmp_path / "nowhere")
        with pytest.raises(InputError, match="holds no results of peft's method comparison"):
            import_peft_comparison(repository, tmp_path)
        repository.create_study("own-metamathqa", {"model": "x"}, 1, "lora")
        with pytest.raises(InputError, match="that was searched"):
            import_peft_comparison(repository, comparison, "own")


def test_the_command(tmp_path: Path, comparison: Path) -> None:
    db = str(tmp_path / "x.db")
    words = ["import", "peft-comparison", str(comparison / "image-gen"), "--name", "theirs", "--db", db]
    assert run(*words).stdout == "Study theirs-image-gen: 31 new trials\n"
    (told,) = json.loads(run(*words, "--json").stdout)
    assert (told["study"], told["added"], told["known"], told["other"]) == ("theirs-image-gen", 0, 31, [])
