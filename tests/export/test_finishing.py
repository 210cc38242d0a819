"""What becomes of an adapter folder: a card that says where it is from, the whole model merged, the hub."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from autopeft.errors import InputError
from autopeft.export.compress import parse_compression
from autopeft.export.finishing import Wishes, finish, push_to_hub
from autopeft.export.peft import export_peft
from autopeft.nouns import Configuration, Module, Trial
from autopeft.recipe import read_recipe

from .conftest import Lab

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
LORA = Module("lora", 4, (0, 1), (("sites", ("q", "v")),))
SERIAL = Module("bottleneck", 2, (0,), (("position", "serial"), ("sites", ("ffn",))))


def row(number: int, **further: Any) -> dict[str, Any]:
    told = {
        "trainable": 128,
        "share": 0.01,
        "score": 0.75,
        "confirmed": None,
        "description": f"lora {number}",
    }
    return {"number": number, "objectives": {}, **told, **further}


def finished(
    lab: Lab, folder: Path, *modules: Module, wishes: Wishes | None = None, front: Any = None
) -> tuple[Trial, Path]:
    trial = lab.train(Configuration.of(modules, 2e-2), folder / "trained")
    export_peft(lab.study, trial, folder / "out")
    rows = [row(3), row(7, score=0.8)] if front is None else front
    finish(lab.study, trial, folder / "out", wishes or Wishes(), rows)
    return trial, folder / "out"


def test_the_card(texts: Lab, tmp_path: Path) -> None:
    front = [
        row(3, confirmed=0.7, objectives={"Training memory (bytes)": "1,024"}),
        row(7, description="a|b", objectives={}),
    ]
    trial, folder = finished(texts, tmp_path, LORA, front=front)
    card = (folder / "README.md").read_text()
    first = yaml.safe_load(card.split("---\n")[1])
    assert "license" not in first  # a comment, left to the user
    assert "# license: yours to choose" in card
    assert (first["base_model"], first["library_name"]) == ("minilm", "peft")
    titles, _, *rows = card.split("## The trade-off it was chosen from\n\n")[1].split("\n\n")[0].splitlines()
    assert titles == (
        "| Trial | Trainable | Share | Score | Confirmed | Training memory (bytes) | Configuration |"
    )
    assert rows == [
        "| 3 | 128 | 1 % | 0.7500 | 0.7000 | 1,024 | lora 3 |",
        "| **7** | 128 | 1 % | 0.7500 | – | – | a\\|b |",  # the one that is exported
    ]
    found = card.split("## How it was found\n\n")[1]
    assert "| data | `train.tsv` |" in found  # and no path of this machine
    assert "| training | epochs 2, batch size 8 |" in found
    assert f"torch {torch.__version__}" in found
    assert str(Path(texts.study.settings["task"]["data"]).parent) not in card
    assert "autopeft train path/to/this/folder a-new-folder --check" in card
    assert read_recipe(folder).score == trial.score


@pytest.mark.parametrize("fixture", ["texts", "lines"])
def test_the_whole_model(request: pytest.FixtureRequest, tmp_path: Path, fixture: str) -> None:
    lab: Lab = request.getfixturevalue(fixture)
    trial, folder = finished(lab, tmp_path, LORA, wishes=Wishes(merge=True))
    assert {p.name for p in folder.iterdir()} >= {
        "model.safetensors",
        "config.json",
        "README.md",
        "recipe.json",
    }
    assert not list(folder.rglob("adapter*"))
    auto = AutoModelForSequenceClassification if fixture == "texts" else AutoModelForCausalLM
    card = (folder / "README.md").read_text()
    assert "library_name: transformers" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("path/to/this/folder", str(folder)), names)
    model = names["model"].eval()
    assert isinstance(model, auto.from_pretrained(folder).__class__)
    assert AutoTokenizer.from_pretrained(folder).get_vocab()
    assert lab.bench.score(model, "validation") == pytest.approx(trial.score, abs=1e-5)
    if fixture == "texts":
        assert model.config.id2label == {0: "no", 1: "yes"}
    assert str(lab.study.settings["backbone"]["path"]) not in (folder / "config.json").read_text()


def test_what_cannot_be_merged_leaves_no_folder(texts: Lab, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a serial bottleneck has a non-linear function"):
        finished(texts, tmp_path, LORA, SERIAL, wishes=Wishes(merge=True))
    assert not (tmp_path / "out").exists()


def test_smaller_and_merged(texts: Lab, tmp_path: Path) -> None:
    wishes = Wishes(merge=True, compress=parse_compression("energy=0.9"))
    _, folder = finished(texts, tmp_path, LORA, wishes=wishes)
    card = (folder / "README.md").read_text()
    assert "## Made smaller: energy, 0.9 kept" in card
    (after,) = re.findall(r"\| accuracy, validation \| [\d.]+ \| ([\d.]+) \|", card)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert texts.bench.score(model, "validation") == pytest.approx(float(after), abs=1e-4)


def test_what_compressing_would_make_larger(texts: Lab, tmp_path: Path) -> None:
    one = Module("sparse", 1e-5, (1,), (("mask", "random"), ("sites", ("k",))))  # a single entry
    trial = texts.train(Configuration.of([one], 2e-2), tmp_path / "trained")
    export_peft(texts.study, trial, tmp_path / "out")
    with pytest.raises(InputError, match=r"would take [\d,]+ bytes, and it takes [\d,]+: it is too small"):
        finish(texts.study, trial, tmp_path / "out", Wishes(compress=parse_compression("8bit")), [])


# -- the hub -----------------------------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as sending a folder of small files takes."""

    sent: dict[str, bytes]
    created: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        port = self.server.server_address[1]
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            self.created.append(name)
            return self.answer({"url": f"http://127.0.0.1:{port}/{name}"}, 403 if name == "not/mine" else 200)
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.sent[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://127.0.0.1:{port}/me/x/commit/{'a' * 40}"
            return self.answer({"success": True, "commitOid": "a" * 40, "commitUrl": url})
        return self.answer({"error": "unknown"}, 404)

    def do_GET(self) -> None:
        self.answer({"error": "unknown"}, 404)

    def answer(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    import huggingface_hub.constants as constants

    Hub.sent, Hub.created = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_folder_is_sent(hub: type[Hub], texts: Lab, tmp_path: Path) -> None:
    _, folder = finished(texts, tmp_path, LORA)
    assert push_to_hub(folder, "me/x").endswith("/me/x")
    assert hub.created == ["me/x"]
    there = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert hub.sent == there


def test_what_the_hub_refuses_is_a_sentence(hub: type[Hub], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(
        InputError, match=r"the hub refuses 'not/mine': .*403.* The folder .* is written: send it"
    ):
        push_to_hub(tmp_path, "not/mine")
    with pytest.raises(InputError, match="'a/b/c' is no name of a repository"):
        push_to_hub(tmp_path, "a/b/c")


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    (tmp_path / "README.md").write_text("x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="cannot send to 'me/x': HF_HUB_OFFLINE is set"):
        push_to_hub(tmp_path, "me/x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(InputError, match="cannot reach the hub for 'me/x': "):
        push_to_hub(tmp_path, "me/x")
