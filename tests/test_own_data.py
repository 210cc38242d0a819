"""Real data from the command line, at smoke size: text on a real MiniLM, photographs on the starter's backbone."""

import zipfile
from pathlib import Path

import pytest
from end_to_end import answer, autopeft

pytestmark = pytest.mark.slow


def _rows(source: Path, target: Path, rows: int) -> None:
    lines = source.read_text(encoding="utf-8").splitlines()[: rows + 1]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("data", "space"), [("sst2", "autopeft"), ("rte", "lora"), ("stsb", "autopeft")])
def test_minilm_runs_to_its_front(
    tmp_path: Path, shared_data: Path, minilm_folder: Path, data: str, space: str
) -> None:
    _rows(shared_data / data / "train.tsv", tmp_path / "train.tsv", 160)
    _rows(shared_data / data / "dev.tsv", tmp_path / "dev.tsv", 80)
    done = autopeft(
        tmp_path,
        *("search", "--model", str(minilm_folder), "--data", str(tmp_path / "train.tsv"), "--budget", "0.5%"),
        *("--space", space, "--model-config", "num_hidden_layers=2", "--epochs", "1", "--trials", "3"),
        *("--confirm-seeds", "1"),
        *("--max-length", "48", "--study", data),
    )
    assert done.returncode == 0, done.stderr
    summary = answer(tmp_path, "front", data)
    assert summary["front"]
    assert all(row["confirmed"]["examples"] == 40 for row in summary["front"])
    assert all(row["trainable"] <= summary["limit"] for row in summary["front"])
    assert summary["metric"] == ("pearson" if data == "stsb" else "accuracy")
    exported = autopeft(tmp_path, "export", data, "--pick", "knee", "--to", "peft", "knee")
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "knee" / "adapter_config.json").exists() == (space == "lora")


def test_a_folder_of_photographs_runs_to_its_front(tmp_path: Path, shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / "flowers17" / "flowers17_128px.zip") as archive:
        names = [n for n in archive.namelist() if n.endswith((".jpg", ".png"))]
        classes = sorted({Path(n).parent.name for n in names})[:2]
        for label in classes:
            (tmp_path / "flowers" / label).mkdir(parents=True)
            for name in [n for n in names if Path(n).parent.name == label][:30]:
                (tmp_path / "flowers" / label / Path(name).name).write_bytes(archive.read(name))
    done = autopeft(
        tmp_path,
        *("search", "--model", "starter", "--data", str(tmp_path / "flowers"), "--budget", "3k"),
        *("--epochs", "1", "--trials", "2", "--study", "flowers", "--sampler", "optuna:tpe"),
    )
    assert done.returncode == 0, done.stderr
    summary = answer(tmp_path, "front", "flowers")
    assert summary["limit"] == 3_000
    assert summary["front"]
    exported = autopeft(tmp_path, "export", "flowers", "--pick", "best", "--to", "script", "script")
    assert exported.returncode == 0, exported.stderr
