"""Scripts of every kind of configuration train as the trial did: to the last digit."""

import dataclasses
import json
import os
import re
import runpy
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from autopeft.dsl import MODULE_TYPES
from autopeft.errors import InputError
from autopeft.export.script import export_script
from autopeft.nouns import Configuration, Module, Study, Trial

from .conftest import Lab

Run = Callable[[Path], list[float]]
LAYERS = (0, 1)

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # datasets leaves files open
]


def module(
    kind: str, size: float, sites: tuple[str, ...], layers: tuple[int, ...] = LAYERS, **options: Any
) -> Module:
    return Module(kind, size, layers, tuple(sorted({**options, "sites": sites}.items())))


OURS = [
    module("bottleneck", 4, ("attention", "ffn"), (0,), position="serial", activation="gelu", scaling=2.0),
    module("bottleneck", 3, ("ffn",), position="parallel"),
    module("prefix", 2, ("attention",)),
    module("sparse", 0.001, ("q", "v"), mask="random"),
    module("sparse", 0.002, ("down",), (1,)),
    module("bias", 1, ("o", "norm")),
]
RANKS = [module("lora", 2, ("q", "v"), (0,), alpha=4.0), module("lora", 5, ("q",), (1,), alpha=20.0)]
DORA_PISSA = [module("lora", 3, ("q", "v"), dora=True, init="pissa")]
ADALORA = [module("adalora", 4, ("q", "v"), target_rank=2)]
IA3 = [module("ia3", 1, ("k", "v")), module("ia3", 1, ("down",), feedforward=True)]
SEVERAL = [
    *(*RANKS, *IA3, *ADALORA),
    module("vera", 8, ("up",)),
    module("shira", 1, ("o",)),
    module("bottleneck", 2, ("ffn",), (1,), position="serial"),
]
WITH_DATA = [
    module("lora", 3, ("q", "v"), (0,), init="eva"),
    module("lora", 3, ("k",), (0,), init="corda"),
    module("lora", 2, ("up",), init="olora"),
]
PROMPT = [module("prompt_tuning", 3, ("input",)), module("lora", 2, ("q",))]
SPARSE_BOTTLENECK = [OURS[1], OURS[3]]


def configuration(modules: list[Module], **training: float) -> Configuration:
    return Configuration.of(modules, 2e-2, training)


def written(study: Study, trial: Trial, folder: Path) -> str:
    export_script(study, trial, folder)
    text = (folder / "train.py").read_text()
    assert not re.search(r"(import|from) autopeft", text)
    # Every name in it is known, and nothing is imported that is not used.
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "-"]
    checked = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    return text


def check_result(folder: Path) -> None:
    found: dict[str, float] = json.loads((folder / "result.json").read_text())
    assert found["validation"] == found["stored_validation"]
    assert found.get("test") == found.get("stored_test")


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a script in this process, which is quick; gives its losses."""

    def run(folder: Path) -> list[float]:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        losses: list[float] = []
        names = runpy.run_path(str(folder / "train.py"), run_name="script")
        train_epoch = names["train_epoch"]
        namespace = names["main"].__globals__

        def remembered(*args: Any) -> float:
            losses.append(train_epoch(*args))
            return losses[-1]

        namespace["train_epoch"] = remembered
        names["main"]()
        return losses

    return run


@pytest.mark.parametrize(
    ("modules", "training"),
    [
        ([], {}),
        (OURS, {"batch_size": 5, "weight_decay": 0.3, "warmup_fraction": 0.5, "max_grad_norm": 0.2}),
        (SEVERAL, {}),
        (DORA_PISSA, {}),
        (WITH_DATA, {"batch_size": 4}),
        (PROMPT, {}),
    ],
    ids=["head only", "ours", "several of peft", "dora and pissa", "eva and corda", "prompt"],
)
def test_trains_as_the_trial_did(
    texts: Lab,
    run_here: Run,
    tmp_path: Path,
    modules: list[Module],
    training: dict[str, float],
) -> None:
    trial = texts.train(configuration(modules, **training))
    text = written(texts.study, trial, tmp_path / "script")
    losses = run_here(tmp_path / "script")
    assert losses[-1] == trial.measurements["train_loss"]
    check_result(tmp_path / "script")
    for name, value in training.items():
        assert f"{name.upper()} = {value!r}\n" in text


def test_values_of_pairs_on_transposed_weights(pairs: Lab, run_here: Run, tmp_path: Path) -> None:
    fused = [
        module("lora", 2, ("qkv",), init="pissa"),
        module("sparse", 0.02, ("qkv", "down")),
        module("bottleneck", 2, ("attention", "ffn"), position="parallel"),
        module("prefix", 2, ("attention",), (1,)),
        module("bias", 1, ("up", "norm")),
    ]
    trial = pairs.train(configuration(fused))
    text = written(pairs.study, trial, tmp_path / "script")
    assert "fan_in_fan_out=True" in text
    assert "transposed=True" in text
    assert run_here(tmp_path / "script")[-1] == trial.measurements["train_loss"]
    check_result(tmp_path / "script")


def test_pictures_on_the_starter(pictures: Lab, run_here: Run, tmp_path: Path) -> None:
    trial = pictures.train(configuration([module("oft", 4, ("q", "v")), module("prefix", 2, ("attention",))]))
    written(pictures.study, trial, tmp_path / "script")
    assert (tmp_path / "script" / "backbone" / "config.json").is_file()
    assert run_here(tmp_path / "script")[-1] == trial.measurements["train_loss"]
    check_result(tmp_path / "script")


def check_sequences(lab: Lab, run_here: Run, folder: Path, modules: list[Module]) -> str:
    trial = lab.train(configuration(modules))
    text = written(lab.study, trial, folder)
    assert run_here(folder)[-1] == trial.measurements["train_loss"]
    check_result(folder)
    return text


def test_a_text_on_a_decoder(lines: Lab, run_here: Run, tmp_path: Path) -> None:
    text = check_sequences(lines, run_here, tmp_path, RANKS)
    assert "AutoModelForCausalLM" in text
    assert "task_type='CAUSAL_LM'" in text
    assert "NUM_LABELS" not in text
    assert "the task head" not in text
    stored = json.loads((tmp_path / "result.json").read_text())["stored_validation"]
    assert stored > 0  # the loss itself
    assert f"Its loss on the validation split was {stored!r}." in text


def test_chats_on_a_decoder(chats: Lab, run_here: Run, tmp_path: Path) -> None:
    fused = [module("lora", 2, ("qkv",)), module("prefix", 2, ("attention",))]
    check_sequences(chats, run_here, tmp_path, fused)
    assert "jinja2==" in (tmp_path / "requirements.txt").read_text()


def test_tags_of_words(tags: Lab, run_here: Run, tmp_path: Path) -> None:
    text = check_sequences(tags, run_here, tmp_path, [*RANKS, OURS[1]])
    assert "AutoModelForTokenClassification" in text
    assert "task_type='TOKEN_CLS'" in text
    assert "NUM_LABELS = 4\n" in text
    assert "LABELS = ['O', 'B-LOC', 'B-PER', 'I-PER']\n" in text
    assert "seqeval==" in (tmp_path / "requirements.txt").read_text()


def test_texts_that_are_generated(translations: Lab, run_here: Run, tmp_path: Path) -> None:
    modules = [module("lora", 2, ("q", "cross_v"), (0, 1, 2, 3)), module("prefix", 2, ("attention",), (3,))]
    text = check_sequences(translations, run_here, tmp_path, modules)
    assert "AutoModelForSeq2SeqLM" in text
    assert "task_type='SEQ_2_SEQ_LM'" in text
    assert "DECODER_START = 0\n" in text
    assert "sacrebleu==" in (tmp_path / "requirements.txt").read_text()


def test_a_frozen_decoder(lines: Lab, run_here: Run, tmp_path: Path) -> None:
    check_sequences(lines, run_here, tmp_path, [])


SIZES = {"rank": 4, "block_size": 32, "n_frequency": 50, "density": 0.001, "tokens": 3, "size": 3, "": 1}
REQUIRED: dict[str, dict[str, Any]] = {
    "adalora": {"target_rank": 2},
    "vblora": {"num_vectors": 8, "vector_length": 32},
    "bottleneck": {"position": "parallel"},
}
ALONE = [
    pytest.param(
        [module(name, SIZES[kind.size], kind.sites or ("q", "v"), **REQUIRED.get(name, {}))], id=name
    )
    for name, kind in MODULE_TYPES.items()
    if name not in ("frozen", "ln_tuning", "bias")
]
ALONE += [pytest.param([module(name, 1, ("norm",))], id=name) for name in ("ln_tuning", "bias")]


@pytest.mark.parametrize("kind", ["knapsack", "eva", "adalora", "diffora", "random"])
def test_what_an_allocator_dealt_out_is_trained_as_it_was(
    kind: str, texts: Lab, run_here: Run, tmp_path: Path
) -> None:
    lora = module("lora", 2, ("q", "v", "up"), alpha=4.0)
    trial = texts.train(Configuration.of([lora], 2e-2, None, {"type": kind}))
    assert trial.plan != trial.configuration
    written(texts.study, trial, tmp_path / "script")
    assert run_here(tmp_path / "script")[-1] == trial.measurements["train_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("modules", ALONE)
def test_every_type_alone(texts: Lab, run_here: Run, tmp_path: Path, modules: list[Module]) -> None:
    trial = texts.train(configuration(modules))
    written(texts.study, trial, tmp_path / "script")
    assert run_here(tmp_path / "script")[-1] == trial.measurements["train_loss"]
    check_result(tmp_path / "script")


@pytest.mark.slow
@pytest.mark.parametrize(
    "modules",
    [RANKS, DORA_PISSA, IA3, SPARSE_BOTTLENECK, ADALORA],
    ids=["ranks", "dora and pissa", "ia3", "sparse and bottleneck", "adalora"],
)
def test_a_script_needs_no_autopeft(texts: Lab, tmp_path: Path, modules: list[Module]) -> None:
    """In a process of its own, in which autopeft cannot be imported."""
    trial = texts.train(configuration(modules))
    written(texts.study, trial, tmp_path / "script")
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "autopeft.py").write_text("raise ImportError('not here')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "blocked"), "HF_DATASETS_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=tmp_path / "script",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_result(tmp_path / "script")


def test_one_adapter_is_put_on_as_users_of_peft_do_it(texts: Lab, tmp_path: Path) -> None:
    text = written(texts.study, texts.train(configuration(RANKS)), tmp_path / "script")
    assert "    get_peft_model(model, config)\n    return model, ()\n" in text
    assert "class Stack" not in text
    for own in ("nn.ModuleDict", "put_serial", "put_prefix", "class Bottleneck"):
        assert own not in text
    assert "rank_pattern={" in text
    names: dict[str, Any] = {}
    start, end = text.index("    config = "), text.index("    get_peft_model(")
    exec("from peft import LoraConfig\n" + textwrap.dedent(text[start:end]), names)
    assert set(names["config"].rank_pattern.values()) <= {2, 5}
    assert names["config"].r in (2, 5)


def test_requirements_name_what_an_initialisation_needs(texts: Lab, tmp_path: Path) -> None:
    for init, needed in (("corda", True), ("olora", False)):
        trial = texts.train(configuration([module("lora", 2, ("q",), init=init)]))
        written(texts.study, trial, tmp_path / init)
        lines = (tmp_path / init / "requirements.txt").read_text().splitlines()
        assert [line for line in lines if line.startswith("torch==")]
        assert any(line.startswith("attrs==") for line in lines) == needed
        assert all("+" not in line for line in lines)


def test_what_cannot_be_scripted_says_what_to_do(texts: Lab, tmp_path: Path) -> None:
    """Entries that were chosen by scores, which no script has."""
    trial = texts.train(configuration([OURS[3]]))
    chosen = Configuration.of([module("sparse", 0.001, ("q",), mask="sensitivity")], 2e-2)
    with pytest.raises(InputError) as raised:
        export_script(texts.study, dataclasses.replace(trial, configuration=chosen), tmp_path / "script")
    assert str(raised.value) == (
        "which entries a sparse delta with mask sensitivity changes hangs on scores that a script does not have. "
        "Export it with --to peft: the folder holds the entries."
    )
    assert not (tmp_path / "script").exists()


def test_what_is_chosen_anew_at_every_step_is_not_scripted(texts: Lab, tmp_path: Path) -> None:
    lora = module("lora", 2, ("q", "v"), alpha=4.0)
    trial = texts.train(Configuration.of([lora], 2e-2, None, {"type": "ist"}))
    with pytest.raises(InputError, match=r"^ist has a part in every step .* Export it with --to peft"):
        export_script(texts.study, trial, tmp_path / "script")
    assert not (tmp_path / "script").exists()
