"""What the documents say is true: their commands run, their spaces parse, their tables are the recorded results."""

import importlib.util
import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from end_to_end import COMMAND, answer, autopeft, environment
from shapes import VIT, transformer
from tiny import save_model

import autopeft as api
from autopeft.dsl import read_space

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What makes a search small, whatever the document says: the last of an option counts.
SMOKE = ["--trials", "1", "--epochs", "1", "--max-length", "16", "--confirm-seeds", "0", "--workers", "1"]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)


def commands(text: str) -> list[str]:
    """The autopeft commands of a text, those behind `&&` too."""
    found = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    parts = [part.strip() for block in found for line in block.splitlines() for part in line.split("&&")]
    return [part for part in parts if part.startswith("autopeft ")]


def walks() -> dict[str, list[str]]:
    """What a reader can type from nothing: the commands of a section, with those of later ones that speak of its STUDY."""
    found: dict[str, list[str]] = {}
    for document in DOCUMENTS:
        searched = ""
        for section in re.split(r"^## ", document.read_text(encoding="utf-8"), flags=re.MULTILINE):
            typed = commands(section)
            if not typed:
                continue
            first = next((i for i, command in enumerate(typed) if " search" in command), len(typed))
            goes_on = any("STUDY" in command for command in typed[: first + 1])
            title = searched if goes_on else f"{document.name}: {section.splitlines()[0].lstrip('# ')}"
            found.setdefault(title, []).extend(typed)
            if first < len(typed):
                searched = title
    return found


@pytest.fixture
def folder(tmp_path: Path, minilm_folder: Path, shared_data: Path) -> Path:
    """A folder with what the documents speak of: models, `my.yaml`, and data of every kind."""
    (tmp_path / "my-model").symlink_to(minilm_folder)
    (tmp_path / "peft").symlink_to(shared_data / "peft_method_comparison")
    words = ["good", "bad"]
    rows = [f"this one is {words[i % 2]} says critic {i},{words[i % 2]}" for i in range(40)]
    (tmp_path / "my.yaml").write_text(blocks(ROOT / "docs" / "search-space.md", "yaml")[0])
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tickets = [{"body": f"the {words[i % 2]} printer {i}", "queue": words[i % 2]} for i in range(40)]
    (tmp_path / "tickets.jsonl").write_text("".join(json.dumps(ticket) + "\n" for ticket in tickets))
    save_model("llama", tmp_path / "my-decoder", rows)
    save_model("t5", tmp_path / "my-t5", rows, around="$A </s>")
    (tmp_path / "restaurants.csv").write_text(
        "mr,ref\n" + "name[Aromi],Aromi is good\nname[Zizzi],Zizzi is bad\n" * 20
    )
    (tmp_path / "speeches.txt").write_text("\n".join(rows))
    (tmp_path / "sentences.conll").write_text("Ann B-PER\nspoke O\n\nshe O\nleft O\n\n" * 10)
    answers = [{"prompt": f"critic {i} says", "completion": f" {words[i % 2]}"} for i in range(40)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("walk", [pytest.param(typed, id=title) for title, typed in walks().items()])
def test_every_command_runs(walk: list[str], folder: Path) -> None:
    for command in walk:
        words = shlex.split(command)[1:]
        if "STUDY" in words:  # the reader's own; a trial's number is one that the small study has
            study = answer(folder, "studies")[0]["name"]
            words = [study if word == "STUDY" else word for word in words]
        if words[0] == "search":
            small = [] if "--model" not in words else ["--model-config", "num_hidden_layers=2"]
            done = autopeft(folder, *words, *SMOKE, *small)
        elif words[0] == "dashboard":  # which serves until it is told to end
            with socket.socket() as free:  # another test may serve at the same time
                free.bind(("127.0.0.1", 0))
                port = str(free.getsockname()[1])
            with subprocess.Popen(
                [*COMMAND, *words, "--port", port],
                env=environment(folder),
                cwd=folder,
                stderr=subprocess.PIPE,
                text=True,
            ) as serving:
                assert serving.stderr is not None
                said = serving.stderr.readline()
                serving.terminate()
                assert "http://" in said, command
            continue
        elif words[0] == "resume":
            done = autopeft(folder, *words, "--trials", "1", "--confirm-seeds", "0")
        else:
            done = autopeft(folder, *words)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.slow
def test_the_readmes_python_runs(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    assert len(block.strip().splitlines()) <= 10
    small = block.replace("trials=32", "trials=1, epochs=1, confirm_seeds=0")
    assert small != block
    done = subprocess.run(
        [sys.executable, "-c", small],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout
    assert (tmp_path / "my-adapter" / "README.md").exists()


def test_the_how_tos_space_is_the_same_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(ROOT / "docs" / "how-to.md", "python")
    exec(compile(block, "how-to.md", "exec"), {})  # our own text
    space = read_space(capsys.readouterr().out, "printed.yaml")
    assert space.name == "mine"
    assert space.bind(VIT, 10**6).cardinality > 1


def test_the_optimisers_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(ROOT / "docs" / "optimizer.md", "python")
    exec(compile(block, "optimizer.md", "exec"), {})  # our own text
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(re.match(r"size \d+, score \d\.\d\d: \{'depth'", line) for line in lines)


def test_the_languages_example_is_a_space() -> None:
    block, *_ = blocks(ROOT / "docs" / "search-space.md", "yaml")
    space = read_space(block, "search-space.md")
    shape = transformer(64, 4, 256, parameters=1_000_000)
    assert space.bind(shape, 10**6).limit == 5_000


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_results_are_those_recorded() -> None:
    results = (ROOT / "docs" / "results.md").read_text()
    searches = json.loads((ROOT / "benchmarks" / "results" / "default_search.json").read_text())
    assert benchmark("default_search").table(searches["seeds"]) in results
    costs = json.loads((ROOT / "benchmarks" / "results" / "space_cost.json").read_text())
    assert benchmark("space_cost").table(costs) in results
    assert costs["spaces"]["ranks-48"]["decisions"] == 49
    store = json.loads((ROOT / "benchmarks" / "results" / "store.json").read_text())
    assert benchmark("store").markdown(store) in results
    waits = json.loads((ROOT / "benchmarks" / "results" / "dashboard.json").read_text())
    assert benchmark("dashboard").markdown(waits) in (ROOT / "docs" / "dashboard.md").read_text()


def test_the_changelog_speaks_of_this_version() -> None:
    assert f"## {api.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target
