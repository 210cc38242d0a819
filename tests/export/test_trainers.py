"""Recipes for trainers: what is read back is what was meant, of every configuration of real spaces."""

import dataclasses
import functools
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.backbones import Backbone
from autopeft.backbones.layout import find_layout
from autopeft.dsl import read_space
from autopeft.dsl.finding import find_space
from autopeft.errors import InputError
from autopeft.export import EXPORTERS
from autopeft.export.capabilities import CAPABILITIES, KEEPS, fit, lost
from autopeft.export.known import check_known, known
from autopeft.export.recipe import Recipe, Schedule, canonical, cost, recipe_of
from autopeft.export.trainers import FORMATS, check_files, export_recipe, write_files
from autopeft.nouns import Configuration, Module, TrialKind
from autopeft.tasks.load import load_task

from .conftest import Lab

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
SCHEDULE = Schedule(2e-3, 3, 8, 30, 3, 0.01, 1.0, 5, 64)


def module(
    kind: str, size: float, sites: tuple[str, ...], layers: tuple[int, ...] = (0, 1), **options: Any
) -> Module:
    return Module(kind, size, layers, tuple(sorted({**options, "sites": sites}.items())))


@functools.cache
def made() -> Backbone:
    """Four layers of a Llama, without weights."""
    config = transformers.LlamaConfig(
        vocab_size=100,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        attention_bias=True,
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    return Backbone(model, find_layout(model, 10**6), (), "CAUSAL_LM")


@pytest.fixture
def llama() -> Backbone:
    return made()


def recipe(llama: Backbone, *modules: Module, **changes: Any) -> Recipe:
    found = Recipe("a/model", canonical(modules, llama.layout), SCHEDULE, architecture="llama")
    return dataclasses.replace(found, **changes)


def written(name: str, said: Recipe, backbone: Backbone, folder: Path) -> str:
    """The first words of what was written, once it is read back and found to be what was meant."""
    wanted = FORMATS[name]
    content = wanted.write(said, backbone)
    write_files(wanted, content, "First words\n", folder)
    check_files(wanted, said, backbone, folder)
    (folder / "config.json").unlink(missing_ok=True)
    first = folder / next(iter(content))
    return first.read_text()


# Configurations of real spaces -----------------------------------------------------------------------------------------

MIXED = """
name: mixed
layers: {subset: all}
modules:
  some:
    type: lora
    sites: {subset: all, min: 1}
    rank: {per: site, of: {choice: [1, 2, 4]}}
    alpha: {choice: [2, 3.5, 8]}
    dora: {choice: [false, true]}
    rslora: {choice: [false, true]}
    init: {choice: [default, gaussian, pissa, olora]}
  beside: {type: bottleneck, sites: {subset: [attention, ffn]}, position: {choice: [serial, parallel]},
           size: {per: layer, of: {choice: [0, 3, 5, 7]}}, activation: {choice: [relu, gelu, leaky_relu]}}
training:
  learning_rate: {float: [1.0e-5, 1.0e-1], log: true}
"""
SPACES = ("lora", "lora-anatomy", "unified", "autopeft", "all-types", "mixed")


@functools.cache
def bound(name: str) -> Any:
    space = read_space(MIXED, "mixed.yaml") if name == "mixed" else find_space(name)
    return space.bind(made().layout.shape, 10**6)


def left_out(target: str, full: Recipe) -> bool:
    """Whether a format has none of the kinds of a recipe's modules."""
    whole = [one for name, one in CAPABILITIES.items() if one.whole and name not in KEEPS[target]]
    one_each = [dataclasses.replace(full, modules=(module,)) for module in full.modules]
    return all(any(capability.uses(one) for capability in whole) for one in one_each)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(SPACES),
    seed=st.integers(0, 2**20),
    target=st.sampled_from(sorted(FORMATS)),
    schedule=st.builds(
        Schedule,
        learning_rate=st.floats(1e-7, 1.0).map(lambda x: float(f"{x:.3g}")),
        epochs=st.integers(1, 20),
        batch_size=st.integers(1, 256),
        steps=st.integers(1, 10**5),
        warmup_steps=st.integers(1, 1000),
        weight_decay=st.sampled_from([0.0, 0.01, 1e-5, 0.3]),
        max_grad_norm=st.sampled_from([0.5, 1.0, 1e-3]),
        seed=st.integers(0, 2**31),
        max_length=st.integers(2, 4096),
        gradient_checkpointing=st.booleans(),
    ),
)
def test_what_is_read_back_is_what_was_meant(name: str, seed: int, target: str, schedule: Schedule) -> None:
    llama, space = made(), bound(name)
    (assignment,) = space.sample(random.Random(seed), 1)
    configuration = space.configuration(assignment)
    full = recipe(llama, *configuration.modules, schedule=schedule)
    if not full.modules:
        with pytest.raises(InputError, match="no modules: the head alone"):
            fit(target, full, llama.layout, lossy=True)
        return
    if left_out(target, full):
        for lossy in (False, True):
            with pytest.raises(InputError, match="Nothing would be left") as raised:
                fit(target, full, llama.layout, lossy=lossy)
            assert "--lossy" not in str(raised.value)
        return
    said, losses = fit(target, full, llama.layout, lossy=True)
    assert lost(target, said) == [
        one for one in lost(target, said) if one.name in ("linear", "behind_norm")
    ]  # of these two the nearest is said by the format itself
    with tempfile.TemporaryDirectory() as folder:
        written(target, said, llama, Path(folder))
    if losses:
        with pytest.raises(InputError, match="would lose"):
            fit(target, full, llama.layout, lossy=False)
    else:
        assert said == full


VARIANTS = [
    module("ia3", 1, ("down",), feedforward=True),
    module("loha", 3, ("q",), alpha=5.5),
    module("lokr", 2, ("q",), decompose_both=True, decompose_factor=4),
    module("oft", 4, ("q",), block_share=True, coft=True, eps=1e-4, use_cayley_neumann=False),
    module("vera", 8, ("q",), d_initial=0.2, save_projection=False),
    module("vblora", 2, ("q",), num_vectors=8, vector_length=32, topk=3),
    module("randlora", 8, ("q",), sparse=True),
    module("fourierft", 9, ("q",), scaling=3.5, init="zeros"),
    module("waveft", 9, ("q",), wavelet_family="sym4", use_idwt=False),
    module("miss", 4, ("q",), mode="mini", mini_r=2),
    module("miss", 4, ("q",), mode="bat"),
    *(module("c3a", 8, ("q",), init=word) for word in ("zeros", "gaussian", "xavier_uniform")),
    module("delora", 4, ("q",), delora_lambda=2.5),
    module("gralora", 4, ("q",), hybrid_r=2),
    *(module("hira", 4, ("q",), init=word) for word in ("default", "gaussian")),
    module("psoft", 4, ("q",), ab_svd_init="pissa_init", psoft_mag_a=False),
    module("supertuning", 0.01, ("q",), select_top=False, rank=3),
    module("ln_tuning", 1, ("norm",)),
    module("adalora", 6, ("q",), target_rank=3, alpha=7.5, orth_reg_weight=0.1),
    module("prompt_tuning", 3, ("input",), (0,), init="sample_vocab"),
    *(module("prefix_tuning", 3, ("input",), (0,), init=word) for word in ("normal", "zeros")),
    *(module("lora", 4, ("q",), init=word) for word in ("gaussian", "olora", "orthogonal")),
]


@pytest.mark.parametrize("one", VARIANTS, ids=lambda m: f"{m.type} {dict(m.options).get('init', '')}")
def test_every_field_of_a_type_is_read_back(llama: Backbone, tmp_path: Path, one: Module) -> None:
    written("peft-comparison", recipe(llama, one, data=False), llama, tmp_path)


# Single traps ----------------------------------------------------------------------------------------------------------


def test_a_list_of_one_stays_one_path(llama: Backbone, tmp_path: Path) -> None:
    """trl takes it for a regular expression, which has to fit the whole path."""
    text = written("trl", recipe(llama, module("lora", 2, ("q",), (1,))), llama, tmp_path)
    assert yaml.safe_load(text)["lora_target_modules"] == ["model.layers.1.self_attn.q_proj"]


def test_patterns_are_escaped_full_paths(llama: Backbone, tmp_path: Path) -> None:
    modules = (module("lora", 2, ("q", "v"), alpha=4), module("lora", 5, ("down",), (1,), alpha=9))
    keys = yaml.safe_load(written("axolotl", recipe(llama, *modules), llama, tmp_path))
    assert keys["lora_rank_pattern"] == {r"model\.layers\.1\.mlp\.down_proj": 5}
    assert keys["lora_alpha_pattern"] == {r"model\.layers\.1\.mlp\.down_proj": 9}
    assert (keys["lora_r"], keys["lora_alpha"]) == (2, 4)


def test_a_key_that_is_not_known_is_never_written() -> None:
    with pytest.raises(AssertionError, match=r"axolotl 0\.19\.0 knows no key lora_rank_pattrn"):
        check_known("axolotl", {"lora_rank_pattrn": {}})
    with pytest.raises(AssertionError, match=r"llamafactory 0\.9\.5 takes no str for lora_rank: int"):
        check_known("llamafactory", {"lora_rank": "abc"})
    with pytest.raises(AssertionError, match="takes no bool for lora_r"):
        check_known("trl", {"lora_r": True})
    with pytest.raises(AssertionError, match="learning_rate is nan"):
        check_known("trl", {"learning_rate": float("nan")})


def test_what_reads_as_something_else_is_not_handed_over(llama: Backbone, tmp_path: Path) -> None:
    said = recipe(llama, module("lora", 2, ("q",)))
    wanted = dataclasses.replace(
        FORMATS["trl"], write=lambda r, b: {"sft.yml": {**FORMATS["trl"].write(r, b)["sft.yml"], "lora_r": 3}}
    )
    (tmp_path / "out").mkdir()
    write_files(wanted, wanted.write(said, llama), "", tmp_path / "out")
    with pytest.raises(AssertionError, match=r"the recipe for trl says .*size=3.* where .*size=2"):
        check_files(wanted, said, llama, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_keys_of_trl_are_those_of_its_release() -> None:
    pytest.importorskip("trl", reason="trl is not installed: install autopeft[test]")
    from .known_keys import known as asked

    assert asked("trl") == known("trl")


def test_the_keys_of_the_comparison_are_those_of_its_results(shared_data: Path) -> None:
    results = sorted(
        (shared_data / "peft_method_comparison/method_comparison/MetaMathQA/results").glob("*.json")
    )
    assert len(results) > 50
    for file in results:
        params = json.loads(file.read_text())["run_info"]["train_config"]
        assert set(params) == set(known("peft-comparison")["keys"])
        check_known("peft-comparison", {n: v for n, v in params.items() if n != "init_kv_cache_prefix"})


UPSTREAM = {
    "lora--llama-3.2-3B-rank32": [("lora", 32, ("q", "v"), {"alpha": 64})],
    "ia3--llama-3.2-3B-lr_0.001": [("ia3", 1, ("k", "v"), {}), ("ia3", 1, ("down",), {"feedforward": True})],
    "shira--llama-3.2-3B-lr_0.0003-random_seed_42": [("shira", 32, ("q", "v"), {})],
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_an_experiment_of_the_comparison_comes_out_as_it_is_there(shared_data: Path, name: str) -> None:
    """What they have run: the same settings, and as many parameters as they counted."""
    folder = shared_data / "peft_method_comparison/method_comparison/MetaMathQA/results"
    result = json.loads((folder / f"{name}.json").read_text())
    theirs, params = result["run_info"]["peft_config"], result["run_info"]["train_config"]
    config = transformers.LlamaConfig(
        vocab_size=128256,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=28,
        num_attention_heads=24,
        num_key_value_heads=8,
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    backbone = Backbone(model, find_layout(model, 3_212_749_824), (), "CAUSAL_LM")
    decay = params["optimizer_kwargs"].get("weight_decay", 0.01)  # AdamW's own
    schedule = Schedule(
        params["optimizer_kwargs"]["lr"], 1, params["batch_size"], params["max_steps"], 1, decay,
        params["grad_norm_clip"], params["seed"], params["max_seq_length"], params["use_gc"], True,
    )  # fmt: skip
    modules = [
        module(kind, size, sites, tuple(range(28)), **options)
        for kind, size, sites, options in UPSTREAM[name]
    ]
    said = Recipe(
        params["model_id"], canonical(modules, backbone.layout), schedule, weights=params["dtype"], data=False
    )
    assert (
        sum(cost(one, backbone.layout) for one in said.modules)
        == result["train_info"]["num_trainable_params"]
    )
    content = FORMATS["peft-comparison"].write(said, backbone)
    for key, value in content["training_params.json"].items():
        meant = {"weight_decay": 0.01, **params[key]} if key == "optimizer_kwargs" else params[key]
        assert value == meant, key
    found = content["adapter_config.json"]
    for key, value in theirs.items():
        if key in ("target_modules", "feedforward_modules"):  # theirs by their ends, ours by their paths
            ends = {path.rpartition(".")[2] for path in found[key]}
            assert (ends, len(found[key])) == (set(value), 28 * len(value))
        elif key not in ("task_type", "peft_version", "random_seed"):
            assert found[key] == value, key


def test_every_format_has_a_name_and_a_column() -> None:
    assert list(EXPORTERS) == list(KEEPS)


# Trials ----------------------------------------------------------------------------------------------------------------

LORA = module("lora", 2, ("q", "v"))


def rows(file: Path) -> list[dict[str, list[int]]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("fixture", ["lines", "chats"])
@pytest.mark.parametrize("name", ["trl", "axolotl"])
def test_data_are_the_studys_own_tokens(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, name: str
) -> None:
    lab: Lab = request.getfixturevalue(fixture)
    layers = "qkv" if fixture == "chats" else "q"
    trial = lab.train(Configuration.of([module("lora", 2, (layers,))], 2e-2))
    export_recipe(name, lab.study, trial, tmp_path / "out", lossy=True)
    for split in ("train", "validation"):
        meant = lab.bench.data[split]
        found = rows(tmp_path / "out" / "data" / f"{split}.jsonl")
        assert [row["input_ids"] for row in found] == [list(ids) for ids in meant.inputs]  # type: ignore[union-attr]
        for row, targets in zip(found, meant.targets, strict=True):  # type: ignore[union-attr]
            assert row["labels"][1:] == list(targets)[:-1]  # what is predicted stands one before
            assert all(y in (-100, x) for x, y in zip(row["input_ids"], row["labels"], strict=True))
        assert any(label != -100 for row in found for label in row["labels"])


def test_the_first_words_say_what_it_is_and_what_was_lost(lines: Lab, tmp_path: Path) -> None:
    ranks = [module("lora", 2, ("q", "v"), (0,), alpha=4.0), module("lora", 5, ("q",), (1,), alpha=20.0)]
    trial = lines.train(Configuration.of(ranks, 2e-2))
    with pytest.raises(InputError) as raised:
        export_recipe("trl", lines.study, trial, tmp_path / "no")
    assert str(raised.value) == (
        "trl would lose of this trial:\n"
        "  - ranks or alphas that differ from place to place (lora 2, lora 5); kept by peft, script, autopeft, axolotl, peft-comparison\n"
        "All of it is kept by --to peft, --to script, --to autopeft, --to axolotl, --to peft-comparison. "
        "With --lossy the nearest is written, and what was lost is said in it."
    )
    assert not (tmp_path / "no").exists()
    export_recipe("trl", lines.study, trial, tmp_path / "out", lossy=True)
    text = (tmp_path / "out" / "sft.yml").read_text()
    assert text.startswith(
        "# lora 5 on q (alpha 20) in layer 1; lora 2 on q,v in layer 0, lr 0.02\n#\n# Trial 7"
    )
    assert "# - ranks or alphas that differ from place to place (lora 2, lora 5): rank 3 and alpha " in text
    assert yaml.safe_load(text)["lora_r"] == 3


def test_a_name_cannot_leave_the_comments(lines: Lab, tmp_path: Path) -> None:
    trial = lines.train(Configuration.of([LORA], 2e-2))
    study = dataclasses.replace(lines.study, name="x\noutput_dir: elsewhere\u2028y")
    export_recipe("trl", study, trial, tmp_path / "out")
    assert yaml.safe_load((tmp_path / "out" / "sft.yml").read_text())["output_dir"] == "adapter"


def test_a_study_says_all_of_it(pairs: Lab, texts: Lab) -> None:
    trial = texts.train(Configuration.of([LORA], 2e-2, {"batch_size": 4, "warmup_fraction": 0.5}))
    task = load_task(texts.bench.task)
    said = recipe_of(texts.study, trial, task, texts.bench.backbone)
    assert said.schedule == Schedule(2e-2, 2, 4, 20, 10, 0.01, 1.0, 3, 32)
    assert said.overrides == (("num_hidden_layers", 2),)
    assert said.dropout == ("attention_probs_dropout_prob", "hidden_dropout_prob")
    assert (said.problem, said.architecture, said.trained_epochs) == ("classification", "bert", None)
    backbone = {
        **texts.study.settings["backbone"],
        "overrides": {"hidden_act": "gelu", "hidden_dropout_prob": 0.0},
    }
    study = dataclasses.replace(texts.study, settings={**texts.study.settings, "backbone": backbone})
    assert (
        recipe_of(study, trial, task, texts.bench.backbone).overrides == ()
    )  # as the model has it, or no dropout
    stopped = dataclasses.replace(trial, scores={1: trial.score or 0.0}, kind=TrialKind.SEARCH)
    assert recipe_of(texts.study, stopped, task, texts.bench.backbone).trained_epochs == 1


@pytest.mark.parametrize(("fixture", "name"), [("texts", "trl"), ("texts", "axolotl"), ("tags", "llamafactory"), ("pictures", "trl"), ("translations", "axolotl"), ("texts", "peft-comparison")])  # fmt: skip
def test_a_task_that_is_not_known_is_refused_whatever_is_said(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, name: str
) -> None:
    lab: Lab = request.getfixturevalue(fixture)
    trial = lab.train(Configuration.of([module("lora", 2, ("q",), (0,))], 2e-2))
    for lossy in (False, True):
        with pytest.raises(InputError, match="so --lossy does not help"):
            export_recipe(name, lab.study, trial, tmp_path / "out", lossy=lossy)
    assert not (tmp_path / "out").exists()
