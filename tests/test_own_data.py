"""Real data from the command line, at smoke size: text on a real MiniLM, photographs on the starter's backbone, language on tiny
random models."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from end_to_end import answer, autopeft
from tiny import save_model

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
        *(
            "--space",
            space,
            "--model-config",
            "num_hidden_layers=2",
            "--epochs",
            "1",
            "--trials",
            "3",
            "--workers",
            "1",
        ),
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
        *(
            "--epochs",
            "1",
            "--trials",
            "2",
            "--workers",
            "1",
            "--study",
            "flowers",
            "--sampler",
            "optuna:tpe",
        ),
    )
    assert done.returncode == 0, done.stderr
    summary = answer(tmp_path, "front", "flowers")
    assert summary["limit"] == 3_000
    assert summary["front"]
    exported = autopeft(tmp_path, "export", "flowers", "--pick", "best", "--to", "script", "script")
    assert exported.returncode == 0, exported.stderr


def _whole_way(folder: Path, model: Path, data: Path, *options: str) -> dict[str, object]:
    """From a search over its front to both exports; the script has to find the study's score again."""
    done = autopeft(
        folder,
        *("search", "--model", str(model), "--data", str(data), "--budget", "6%", "--space", "lora"),
        *(
            "--epochs",
            "2",
            "--trials",
            "3",
            "--workers",
            "1",
            "--confirm-seeds",
            "1",
            "--study",
            "it",
            *options,
        ),
    )
    assert done.returncode == 0, done.stderr
    assert "score -" not in done.stderr
    summary: dict[str, object] = answer(folder, "front", "it")
    for to in ("peft", "script"):
        exported = autopeft(folder, "export", "it", "--pick", "best", "--to", to, to)
        assert exported.returncode == 0, exported.stderr
    trained = subprocess.run(
        [sys.executable, "train.py"], cwd=folder / "script", capture_output=True, text=True, check=False
    )
    assert trained.returncode == 0, trained.stderr
    result = json.loads((folder / "script" / "result.json").read_text())
    assert result["validation"] == result["stored_validation"]
    return summary


def test_a_decoder_on_a_text_runs_to_its_exports(tmp_path: Path, shared_data: Path) -> None:
    text = (shared_data / "tinyshakespeare" / "input.txt").read_text()[:20_000]
    (tmp_path / "speeches.txt").write_text(text)
    model = save_model("llama", tmp_path / "llama", [text], around="<s> $A")
    summary = _whole_way(tmp_path, model, tmp_path / "speeches.txt", "--max-length", "48")
    assert (summary["metric"], summary["direction"]) == ("loss", "minimize")
    front, baselines = summary["front"], summary["baselines"]
    assert isinstance(front, list)
    assert isinstance(baselines, list)
    assert all(0 < row["score"] < 7 for row in (*front, *baselines))
    assert [row["best_of"] for row in baselines] == [1, 6]
    scores = [row["confirmed"]["mean"] for row in front]
    assert scores == sorted(scores, reverse=True)  # the dearest is the best: its loss is the lowest
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert config["task_type"] == "CAUSAL_LM"


def test_a_decoder_on_instructions_runs_to_its_exports(tmp_path: Path, shared_data: Path) -> None:
    rows = (shared_data / "gsm8k" / "train.jsonl").read_text().splitlines()[:60]
    chats = [json.loads(row) for row in rows]
    (tmp_path / "chats.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "messages": [
                        {"role": "user", "content": chat["question"][:40]},
                        {"role": "assistant", "content": chat["answer"][:40]},
                    ]
                }
            )
            + "\n"
            for chat in chats
        )
    )
    model = save_model("gpt2", tmp_path / "gpt2", [chat["question"] for chat in chats], size=600)
    options = ("--metric", "perplexity", "--max-length", "96")
    assert _whole_way(tmp_path, model, tmp_path / "chats.jsonl", *options)["metric"] == "perplexity"


def test_entities_run_to_their_exports(tmp_path: Path, minilm_folder: Path) -> None:
    """Files as CoNLL 2003 has them, with a test split, on two layers of a real MiniLM."""
    people, places = ("Ann", "Bob", "Peter Blackburn"), ("Rome", "New York", "Oslo")
    for name, size in (("train", 60), ("valid", 30), ("test", 20)):
        sentences = []
        for i in range(size):
            lines = [
                f"{word} NNP {'B' if at == 0 else 'I'}-PER" for at, word in enumerate(people[i % 3].split())
            ]
            lines += [f"{word} VB O" for word in (("lives", "in"), ("likes",), ("leaves",))[i // 3 % 3]]
            lines += [
                f"{word} NNP {'B' if at == 0 else 'I'}-LOC"
                for at, word in enumerate(places[i // 2 % 3].split())
            ]
            sentences.append("\n".join([*lines, ". . O"]))
        (tmp_path / f"{name}.conll").write_text("-DOCSTART- -X- O\n\n" + "\n\n".join(sentences) + "\n")
    options = ("--max-length", "24", "--model-config", "num_hidden_layers=2")
    summary = _whole_way(tmp_path, minilm_folder, tmp_path / "train.conll", *options)
    assert (summary["metric"], summary["direction"]) == ("entity_f1", "maximize")
    assert isinstance(summary["front"], list)
    assert all(0 <= row["score"] <= 1 and 0 <= row["test_score"] <= 1 for row in summary["front"])
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert config["task_type"] == "TOKEN_CLS"
    assert "classifier" in config["modules_to_save"]


def test_texts_from_data_run_to_their_exports(tmp_path: Path, shared_data: Path) -> None:
    rows = (shared_data / "e2e_nlg" / "devset.csv").read_text().splitlines()[:121]
    (tmp_path / "train.csv").write_text("\n".join(rows[:91]) + "\n")
    (tmp_path / "test.csv").write_text("\n".join([rows[0], *rows[91:]]) + "\n")
    model = save_model("bart", tmp_path / "bart", rows, size=500, around="$A </s>")
    options = ("--metric", "chrf", "--max-length", "24")
    summary = _whole_way(tmp_path, model, tmp_path / "train.csv", *options)
    assert (summary["metric"], summary["direction"]) == ("chrf", "maximize")
    assert isinstance(summary["front"], list)
    assert all(row["test_score"] is not None for row in summary["front"])
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_2_SEQ_LM"
