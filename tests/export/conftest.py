"""Small studies whose trials are trained here, without a search."""

import contextlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tiny import save_model

from autopeft.backbones import STARTER
from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Study, Trial, TrialKind, TrialStatus
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench


@dataclass
class Lab:
    """A study as a database would give it, and a worker for it."""

    study: Study
    bench: Workbench

    def train(self, configuration: Configuration, folder: Path | None = None) -> Trial:
        """The complete trial of a configuration; its adapter is kept where there is a folder for it."""
        reports = list(self.bench.trial(configuration, 3, folder))
        values = reports[-1].values  # as a driver keeps them
        return Trial(
            id=7,
            number=7,
            kind=TrialKind.SEARCH,
            configuration=configuration,
            trainable=trainable_parameters(configuration, self.bench.backbone.layout.shape),
            seed=3,
            status=TrialStatus.COMPLETE,
            scores={report.rung: report.values["score"] for report in reports},
            measurements={name: values[name] for name in ("train_loss", "test_score") if name in values},
            artifact=str(folder or ""),
            details=dict(reports[-1].details),
        )


def lab(model: str, path: str, overrides: Mapping[str, Any], data: Path, **task: Any) -> Lab:
    torch.set_num_threads(1)
    resolved = resolve_task(str(data), **{"max_length": 32, **task})
    training = {"epochs": 2, "batch_size": 8}
    bench = Workbench.prepare(path, overrides, resolved.settings, Training(**training))
    shape = bench.backbone.layout.shape
    settings = {
        "model": model,
        "budget": "1%",
        "backbone": {
            "path": path,
            "overrides": dict(overrides),
            "parameters": shape.parameters,
            "layers": len(shape.layers),
        },
        "task": bench.task.to_json(),
        "training": training,
    }
    return Lab(
        Study(1, "tiny", settings, shape.parameters // 100, "tiny", None, "2026-11-21T00:00:00"), bench
    )


def write(folder: Path, header: str, rows: list[str]) -> Path:
    for name, part in (("train", rows[:40]), ("validation", rows[40:50]), ("test", rows[50:])):
        (folder / f"{name}.tsv").write_text("\n".join([header, *part]) + "\n")
    return folder / "train.tsv"


WORDS = ("fair", "fine", "poor", "good", "weak")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Lab:
    """Classes of texts, not easy to tell apart, on a MiniLM of two layers."""
    rows = [
        f"a {WORDS[i * 7 % 5]} film, says critic {i * i % 11}\t{'yes' if i % 3 else 'no'}" for i in range(60)
    ]
    data = write(tmp_path_factory.mktemp("texts"), "text\tlabel", rows)
    return lab("minilm", str(minilm_folder), {"num_hidden_layers": 2}, data)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Lab:
    """Values of pairs of texts on a tiny random GPT-2, whose weights are transposed and which pads at will."""
    folder = tmp_path_factory.mktemp("gpt2")
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (minilm_folder / file).exists():
            shutil.copy(minilm_folder / file, folder)
    config = transformers.GPT2Config(vocab_size=30522, n_embd=16, n_layer=2, n_head=4, n_positions=64)
    torch.manual_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
        transformers.GPT2Model(config).save_pretrained(folder)
    rows = [
        f"{WORDS[i % 5]} film\tfilm {WORDS[i * i % 5]} {'very ' * (i % 4)}\t{(i * i % 17) / 3}"
        for i in range(60)
    ]
    data = write(tmp_path_factory.mktemp("pairs"), "sentence1\tsentence2\tlabel", rows)
    return lab("gpt2", str(folder), {}, data, problem="regression")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Two classes of noise on the starter's backbone."""
    folder, generator = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label in ("dark", "light"):
        (folder / label).mkdir()
        for i in range(16):
            pixels = generator.integers(0, 160, (12, 12, 3), dtype=np.uint8) + (60 if label == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{i}.png")
    return lab(STARTER, STARTER, {}, folder)


@pytest.fixture(scope="session")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Names in sentences on a tiny random RoBERTa."""
    folder = tmp_path_factory.mktemp("tags")
    names = [("Ann", "B-PER"), ("Bo Li", "B-PER I-PER"), ("Rome", "B-LOC")]
    rows = []
    for i in range(60):
        (name, entity), verb = names[i % 3], ("likes", "sees")[i % 2]
        rows.append({"tokens": [*name.split(), verb, "it"], "ner_tags": [*entity.split(), "O", "O"]})
    (folder / "tags.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = save_model("roberta", folder / "roberta", ["Ann likes Rome"], around="<s> $A </s>")
    return lab("roberta", str(model), {}, folder / "tags.jsonl")


@pytest.fixture(scope="session")
def translations(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Texts from texts on a tiny random T5."""
    folder = tmp_path_factory.mktemp("translations")
    rows = [
        {"source": f"name[{name}] {i % 7}", "target": f"{name} is it"}
        for i in range(30)
        for name in ("Ann", "Bo")
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = save_model("t5", folder / "t5", ["name[Ann] is it"], around="$A </s>")
    return lab("t5", str(model), {}, folder / "pairs.jsonl", metric="chrf", max_length=16)


SPEECH = [f"said {name}: to be or not to be {i % 7}" for i in range(60) for name in ("Ann", "Bob")]


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """One text on a tiny random Llama."""
    folder = tmp_path_factory.mktemp("lines")
    (folder / "lines.txt").write_text("\n".join(SPEECH))
    model = save_model("llama", folder / "llama", SPEECH, around="<s> $A")
    return lab("llama", str(model), {}, folder / "lines.txt", max_length=24, confirmation_fraction=0.5)


@pytest.fixture(scope="session")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Questions with answers, as messages, on a tiny random GPT-2."""
    folder = tmp_path_factory.mktemp("chats")
    rows = [
        {"messages": [{"role": "user", "content": said[:9]}, {"role": "assistant", "content": said[9:]}]}
        for said in SPEECH
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = save_model("gpt2", folder / "gpt2", SPEECH)
    return lab("gpt2", str(model), {}, folder / "chats.jsonl", metric="perplexity")
