"""The adapter folder: its card's code loads what was trained, and says what peft alone can read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from autopeft.errors import InputError
from autopeft.export.peft import export_peft
from autopeft.nouns import Configuration, Module
from autopeft.tasks.batches import evaluation_order
from autopeft.tasks.metrics import METRICS

from .conftest import Lab

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
LORA = Module("lora", 2, (0, 1), (("sites", ("q",)),))
DORA_PISSA = Module("lora", 2, (0, 1), (("dora", True), ("init", "pissa"), ("sites", ("q",))))
IA3 = Module("ia3", 1, (1,), (("sites", ("k",)),))
SERIAL = Module("bottleneck", 2, (0,), (("position", "serial"), ("sites", ("ffn",))))
SPARSE = Module("sparse", 0.001, (0, 1), (("mask", "random"), ("sites", ("v",))))
PROMPT = Module("prompt_tuning", 3, (0,), (("sites", ("input",)),))


def exported(lab: Lab, folder: Path, *modules: Module) -> str:
    """The card of a trained configuration."""
    trial = lab.train(Configuration.of(modules, 2e-2), folder / "trained")
    export_peft(lab.study, trial, folder / "exported")
    return (folder / "exported" / "README.md").read_text()


def loaded(card: str, folder: Path) -> list[Any]:
    """The models that the card's pieces of code load, each from the beginning."""
    blocks = re.findall(r"```python\n(.*?)```", card.replace("path/to/this/folder", str(folder)), re.DOTALL)
    found = []
    for i in range(len(blocks)):
        names: dict[str, Any] = {}
        first = blocks[0] if i == 0 else blocks[0].replace("model = autopeft.load_adapter", "# ")
        torch.manual_seed(50 + i)
        exec(first if i == 0 else first + blocks[i], names)
        found.append(names["model"].eval())
    return found


@pytest.mark.parametrize(
    ("modules", "said", "library"),
    [
        ((LORA,), "The whole arrangement is one that peft has", "peft"),
        ((DORA_PISSA,), "The whole arrangement is one that peft has", "peft"),
        ((PROMPT,), "The whole arrangement is one that peft has", "peft"),
        ((LORA, IA3), "The arrangement is 2 adapters of peft", "peft"),
        ((LORA, SERIAL), "peft has no serial bottleneck of this form", "autopeft"),
        ((LORA, IA3, SPARSE), "the adapters that are peft's, one at a time: `peft-0-", "autopeft"),
        ((SERIAL, SPARSE), "peft has no serial bottleneck and sparse of this form, so", "autopeft"),
        ((), "peft has no head alone of this form", "autopeft"),
    ],
    ids=lambda value: "-".join(m.type for m in value) if isinstance(value, tuple) else "",
)
def test_the_card_loads_what_was_trained(
    texts: Lab, tmp_path: Path, modules: tuple[Module, ...], said: str, library: str
) -> None:
    card = exported(texts, tmp_path, *modules)
    assert said in card
    assert f"library_name: {library}\n" in card
    models = loaded(card, tmp_path / "exported")
    assert len(models) == (2 if "The whole" in said else 1)
    data = texts.bench.data["validation"]
    batch = data.batch(range(len(data)))
    labels = batch.pop("labels")
    stored = float(re.findall(r"validation \| ([\d.]+)", card)[0])
    with torch.no_grad():
        logits = [model(**batch).logits for model in models]
    for found in logits:
        assert float((found.argmax(1) == labels).double().mean()) == pytest.approx(stored, abs=1e-4)
        torch.testing.assert_close(found, logits[0], atol=1e-5, rtol=1e-5)


QKV = Module("lora", 2, (0, 1), (("sites", ("qkv",)),))
PREFIX = Module("prefix", 2, (0, 1), (("sites", ("attention",)),))


@pytest.mark.parametrize(
    ("fixture", "modules", "task_type"),
    [("lines", (LORA,), "CAUSAL_LM"), ("chats", (QKV, PREFIX), None), ("chats", (QKV,), "CAUSAL_LM"), ("lines", (), None), ("tags", (LORA,), "TOKEN_CLS"), ("translations", (LORA,), "SEQ_2_SEQ_LM")],
)  # fmt: skip
def test_the_card_loads_what_has_a_target_for_each_token(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    fixture: str,
    modules: tuple[Module, ...],
    task_type: str | None,
) -> None:
    lab: Lab = request.getfixturevalue(fixture)
    card = exported(lab, tmp_path, *modules)
    if task_type:
        config = json.loads((tmp_path / "exported" / "adapter_config.json").read_text())
        assert config["task_type"] == task_type
        assert (config["modules_to_save"] is None) == (task_type != "TOKEN_CLS")
    assert ("num_labels" in card) == ("the task head" in card) == (task_type == "TOKEN_CLS")
    bench = lab.bench
    measure = METRICS[bench.task.metric].measure
    assert measure is not None
    stored = float(re.findall(r"validation \| ([\d.]+)", card)[0])
    order = evaluation_order(bench.data["validation"])
    for model in loaded(card, tmp_path / "exported"):
        found = measure(model, bench.batches("validation", order, 8), bench.known)
        assert found == pytest.approx(stored, abs=1e-3)


def test_parts_are_where_the_card_says(texts: Lab, tmp_path: Path) -> None:
    card = exported(texts, tmp_path, LORA, IA3)
    names = re.findall(r"`(peft-\d-\w+)`", card)
    assert len(names) == 2
    for name in names:
        assert (tmp_path / "exported" / name / "adapter_config.json").is_file()


def test_an_adapter_that_is_gone_can_be_trained_again(texts: Lab, tmp_path: Path) -> None:
    trial = texts.train(Configuration.of([LORA], 2e-2))
    with pytest.raises(InputError, match=r"is not at '' any more\. Export it with --to script"):
        export_peft(texts.study, trial, tmp_path / "exported")


def test_the_plan_of_an_allocator_comes_back_with_its_entries(texts: Lab, tmp_path: Path) -> None:
    """What was trained is LoRA at some maps and single entries at others, and the card speaks of that."""
    lora = Module("lora", 1, (0, 1), (("sites", ("q", "v", "up")),))
    spt = {"type": "spt", "threshold": 50.0, "times": 2.0}
    trial = texts.train(Configuration.of([lora], 2e-2, None, spt), tmp_path / "trained")
    assert {module.type for module in trial.plan.modules} == {"lora", "sparse"}
    export_peft(texts.study, trial, tmp_path / "exported")
    card = (tmp_path / "exported" / "README.md").read_text()
    assert "sparse" in card
    first, *_ = loaded(card, tmp_path / "exported")
    data = texts.bench.data["validation"]
    order = evaluation_order(data)
    with torch.inference_mode():
        logits = torch.cat(
            [
                first(**{n: t for n, t in b.items() if n != "labels"}).logits
                for b in texts.bench.batches("validation", order)
            ]
        )
    found = (logits.argmax(-1) == data.labels[order]).float().mean()
    assert float(found) == pytest.approx(trial.score)
