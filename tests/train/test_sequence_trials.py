"""Trials of problems with a target for each token: on their own heads or on new ones, and leaving nothing behind."""

import json
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import save_model

from autopeft.nouns import Configuration, Module
from autopeft.optimize.baselines import baselines
from autopeft.tasks.load import resolve_task
from autopeft.train import Report, Training, Workbench

LINES = [f"to be or not to be said {who} number {i % 7}" for i in range(48) for who in ("Ann", "Bob")]
EVERY = (0, 1)
LORA = Module("lora", 2, EVERY, (("alpha", 4.0), ("sites", ("qkv",))))
SERIAL = Module("bottleneck", 4, EVERY, (("position", "serial"), ("sites", ("ffn",))))
PREFIX = Module("prefix", 3, EVERY, (("sites", ("attention",)),))
PROMPT = Module("prompt_tuning", 3, (0,), (("sites", ("input",)),))
PREFIX_TUNING = Module("prefix_tuning", 3, EVERY, (("sites", ("input",)),))


def prepare(kind: str, folder: Path, data: Path, **task: Any) -> Workbench:
    torch.set_num_threads(1)
    around = "$A </s>" if kind in ("t5", "bart") else "<s> $A" if kind == "llama" else "$A"
    model = save_model(kind, folder / kind, LINES, around=around)
    found = resolve_task(str(data), max_length=24, confirmation_fraction=0.5, **task)
    return Workbench.prepare(str(model), {}, found.settings, Training(epochs=3, batch_size=8))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    folder = tmp_path_factory.mktemp("decoder")
    (folder / "lines.txt").write_text("\n".join(LINES))
    return prepare("gpt2", folder, folder / "lines.txt")


def run(
    bench: Workbench, *modules: Module, rate: float = 3e-2, seed: int = 0, folder: Path | None = None
) -> list[Report]:
    return list(bench.trial(Configuration.of(modules, rate), seed, folder, confirm=True))


def weights(bench: Workbench) -> list[torch.Tensor]:
    return [p.detach().clone() for p in bench.backbone.model.parameters()]


def test_a_decoder_keeps_its_head(decoder: Workbench) -> None:
    assert decoder.backbone.head == ()
    assert decoder.backbone.task_type == "CAUSAL_LM"


@pytest.mark.parametrize(
    "modules",
    [(LORA,), (SERIAL, PREFIX), (PROMPT,), (PREFIX_TUNING,)],
    ids=lambda m: "-".join(one.type for one in m),
)
def test_modules_alone_learn(decoder: Workbench, modules: tuple[Module, ...]) -> None:
    before = weights(decoder)
    untrained = run(decoder, *modules, rate=1e-9)[-1].values["score"]
    reports = run(decoder, *modules)
    assert reports[-1].values["score"] > untrained
    assert reports[-1].values["score"] < 0  # the loss with its sign changed
    assert reports[-1].values["confirmation_score"] < 0
    assert all(map(torch.equal, before, weights(decoder)))
    assert not any(p.requires_grad for p in decoder.backbone.model.parameters())
    again = run(decoder, *modules)
    assert [r.values["score"] for r in again] == [r.values["score"] for r in reports]


def test_a_frozen_decoder_is_the_same_at_any_rate(decoder: Workbench, tmp_path: Path) -> None:
    first, second = run(decoder, rate=1e-4), run(decoder, rate=1e-1, seed=5, folder=tmp_path)
    assert len(first) == 3
    assert {r.values["score"] for r in (*first, *second)} == {first[0].values["score"]}
    record = json.loads((tmp_path / "autopeft_config.json").read_text())
    assert record["score"] == -first[0].values["score"]  # people read values
    assert record["confirmation_score"] > 0


def test_the_frozen_backbone_is_one_baseline(decoder: Workbench) -> None:
    from autopeft.dsl.finding import find_space

    space = find_space("lora").bind(decoder.backbone.layout.shape, 10_000)
    heads = [[c for _, c in baselines(space, new_head=new) if not c.modules] for new in (True, False)]
    assert [len(found) for found in heads] == [6, 1]


def test_perplexity_is_of_the_same_tokens(decoder: Workbench, tmp_path: Path) -> None:
    other = Workbench(
        decoder.backbone, replace(decoder.task, metric="perplexity"), decoder.data, decoder.training
    )
    loss, perplexity = (run(bench, LORA)[-1].values["score"] for bench in (decoder, other))
    assert perplexity == pytest.approx(-exp(-loss))


def test_tags_get_a_new_head(tmp_path: Path) -> None:
    lines = [
        f"{word} {'B-PER' if word in ('Ann', 'Bob') else 'O'}"
        for line in LINES
        for word in (*line.split(), "")
    ]
    (tmp_path / "tags.conll").write_text("\n".join(line if line.split()[1:] else "" for line in lines))
    bench = prepare("roberta", tmp_path, tmp_path / "tags.conll")
    assert bench.backbone.task_type == "TOKEN_CLS"
    assert bench.backbone.head == ("classifier",)
    assert bench.task.num_labels == 2
    before = weights(bench)
    reports = run(bench, SERIAL)
    assert reports[-1].values["score"] > 0.9  # two words are easy to tell apart
    assert reports[-1].values["confirmation_score"] > 0.9
    assert all(map(torch.equal, before[:-2], weights(bench)[:-2]))
    with_prompt = run(bench, PROMPT)  # logits of the prompt do not count
    assert with_prompt[-1].values["train_loss"] < 1


CROSS = Module("lora", 2, (0, 1, 2, 3), (("alpha", 4.0), ("sites", ("q", "cross_v"))))
ALL = (0, 1, 2, 3)
MIXED = (replace(SERIAL, layers=ALL), replace(PREFIX, layers=ALL))


@pytest.mark.parametrize("kind", ["t5", "bart"])
@pytest.mark.parametrize("metric", ["loss", "chrf"])
def test_one_text_from_another(kind: str, metric: str, tmp_path: Path) -> None:
    rows = [{"source": f"say {line[:9]}", "target": line[9:20]} for line in LINES[:60]]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench = prepare(kind, tmp_path, tmp_path / "pairs.jsonl", metric=metric)
    assert (bench.backbone.head, bench.backbone.task_type) == ((), "SEQ_2_SEQ_LM")
    before = weights(bench)
    for modules in ((CROSS,), MIXED):
        frozen, reports = run(bench), run(bench, *modules)
        assert reports[-1].values["train_loss"] < frozen[-1].values["train_loss"]
        if metric == "loss":
            assert reports[-1].values["score"] > frozen[-1].values["score"]
        else:
            assert 0 <= reports[-1].values["score"] <= 100
        assert run(bench, *modules)[-1].values["score"] == reports[-1].values["score"]
    assert all(map(torch.equal, before, weights(bench)))


def test_what_is_cut_by_positions_is_cut_for_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(LINES))
    model = save_model("gpt2", tmp_path / "gpt2", LINES)
    task = resolve_task(str(tmp_path / "lines.txt"), max_length=500)
    bench = Workbench.prepare(str(model), {}, task.settings, Training(epochs=1))
    assert int(bench.data["train"].lengths.max()) == bench.backbone.max_positions == 96
    assert bench.known.max_length == 96


def test_the_probe_ranks_without_a_head_to_train(decoder: Workbench) -> None:
    from autopeft.dsl.finding import find_space
    from autopeft.train.elastic import gradient_scores

    space = find_space("lora").bind(decoder.backbone.layout.shape, 2_000)
    before = weights(decoder)
    ranking = gradient_scores(decoder, space, 0, configurations=10)
    assert len({score for _, score in ranking.scores}) > 1
    assert ranking.head_score == run(decoder)[-1].values["score"]
    assert all(map(torch.equal, before, weights(decoder)))
