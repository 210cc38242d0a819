"""Each cell of the table of what a recipe keeps: a configuration that says the thing is really written, and read back."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autopeft.errors import InputError
from autopeft.export import EXPORTERS
from autopeft.export.capabilities import CAPABILITIES, KEEPS, cell, fit, table
from autopeft.export.recipe import Recipe, canonical
from autopeft.export.trainers import FORMATS, check_files, read_files, write_files
from autopeft.nouns import Configuration, Module
from autopeft.recipe import read_recipe

from .conftest import Lab
from .test_trainers import SCHEDULE, made, module

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


def lora(
    size: int = 2, sites: tuple[str, ...] = ("q", "v"), layers: tuple[int, ...] = (0, 1), **options: Any
) -> Module:
    return module("lora", size, sites, layers, **options)


def bottleneck(position: str, size: int = 3, layers: tuple[int, ...] = (0, 1)) -> Module:
    return module("bottleneck", size, ("ffn",), layers, position=position)


# What says each capability: modules, and what else is changed.
Example = tuple[tuple[Module, ...], dict[str, Any]]
EXAMPLES: Mapping[str, Example] = {
    "lora": ((lora(),), {}),
    "adalora": ((module("adalora", 4, ("q",), target_rank=2),), {}),
    "others": ((module("ia3", 1, ("k", "v")),), {}),
    "prompts": ((module("prompt_tuning", 3, ("input",), (0,)),), {}),
    "serial": ((bottleneck("serial"),), {}),
    "parallel": ((bottleneck("parallel"),), {"architecture": "bert"}),
    "behind_norm": ((bottleneck("parallel"),), {}),
    "both": ((bottleneck("serial"), bottleneck("parallel", 5)), {"architecture": "bert"}),
    "prefix": ((module("prefix", 2, ("attention",)),), {}),
    "masks": ((module("sparse", 0.01, ("q",)),), {}),
    "scored": ((module("sparse", 0.01, ("q",), mask="sensitivity"),), {}),
    "bias": ((module("bias", 1, ("q",)),), {}),
    "pissa": ((lora(init="pissa"),), {}),
    "inits": ((lora(init="olora"),), {}),
    "data_inits": ((lora(init="eva"),), {}),
    "loftq": ((lora(init="loftq"),), {}),
    "dora": ((lora(dora=True),), {}),
    "rslora": ((lora(rslora=True),), {}),
    "together": ((lora(layers=(0,)), lora(3, ("o",), dora=True)), {}),
    "ranks": ((lora(layers=(0,)), lora(6, layers=(1,))), {}),
    "alpha": ((lora(alpha=3.5),), {}),
    "allocator": ((lora(),), {"allocator": (("type", "ist"),)}),
    "none": ((), {}),
    "causal_lm": ((lora(),), {}),
    "new_head": ((lora(),), {"problem": "classification"}),
    "images": ((lora(),), {"problem": "classification", "modality": "image"}),
    "seq2seq": ((lora(),), {"problem": "seq2seq"}),
    "architecture": ((lora(),), {"architecture": "qwen2"}),
    "overrides": ((lora(),), {"overrides": (("num_hidden_layers", 2),)}),
    "dropout": ((lora(),), {"dropout": ("attention_dropout",)}),
    "quantize": ((lora(),), {"quantize": "4bit"}),
    "bfloat16": ((lora(),), {"weights": "bfloat16", "schedule": dataclasses.replace(SCHEDULE, bfloat16=True)}),
    "autocast": ((lora(),), {"schedule": dataclasses.replace(SCHEDULE, bfloat16=True)}),
    "stopped": ((lora(),), {"trained_epochs": 1}),
    "linear": ((lora(),), {}),
    "data": ((lora(),), {}),
}  # fmt: skip
# Nothing that is written says it; the format itself is what it says.
SAID_BY_THE_FORMAT = ("causal_lm", "linear", "data", "behind_norm", "architecture")


def example(name: str, target: str) -> Recipe:
    """A recipe that says the thing, with more than what is left out."""
    modules, changes = EXAMPLES[name]
    serial = bottleneck("serial", 4, (3,))
    says = cell(target, name)
    if target == "adapters" and name == "together":
        modules, changes = (serial, bottleneck("parallel")), {"architecture": "bert"}
    elif says == "left out":
        modules = (*modules, serial if target == "adapters" else lora(2, ("down",), (3,)))
    elif target == "adapters" and modules and modules[0].type == "lora":
        modules = (serial,)
    return _recipe(modules, changes)


def _recipe(modules: tuple[Module, ...], changes: dict[str, Any]) -> Recipe:
    layout = made().layout
    return dataclasses.replace(
        Recipe("a/model", canonical(modules, layout), SCHEDULE, architecture="llama"), **changes
    )


def read_back(target: str, said: Recipe, folder: Path) -> Recipe:
    """What the files say that a recipe is written to."""
    wanted, backbone = FORMATS[target], made()
    content = wanted.write(said, backbone)
    write_files(wanted, content, "First words\n", folder)
    check_files(wanted, said, backbone, folder)
    return wanted.read(read_files(wanted, folder, content), backbone, said.schedule.steps)


@pytest.mark.parametrize("name", CAPABILITIES)
@pytest.mark.parametrize("target", FORMATS)
def test_a_cell_says_what_is_written(target: str, name: str, tmp_path: Path) -> None:
    full, layout = example(name, target), made().layout
    one, says = CAPABILITIES[name], cell(target, name)
    assert one.uses(full)
    if says == "yes":
        said, losses = fit(target, full, layout, lossy=True)
        assert name not in [loss.name for loss in losses]
        found = read_back(target, said, tmp_path)
        assert one.uses(found) or name in SAID_BY_THE_FORMAT
        return
    with pytest.raises(InputError) as raised:
        fit(target, full, layout, lossy=False)
    parts = [CAPABILITIES[part] for part in {name, *one.of} - KEEPS[target]]
    assert any(f"  - {part.about} ({part.uses(full)}); kept by " in str(raised.value) for part in parts)
    if says == "no":
        with pytest.raises(InputError, match="so --lossy does not help"):
            fit(target, full, layout, lossy=True)
        return
    assert says in ("nearest", "left out")
    said, losses = fit(target, full, layout, lossy=True)
    told = [loss.name for loss in losses]
    found = read_back(target, said, tmp_path)
    assert not one.uses(found) or name in SAID_BY_THE_FORMAT
    assert {name, *one.of}.intersection(told)
    if says == "left out":
        assert len(found.modules) < len(full.modules)


# The adapter itself and the script go by the trial and its backbone: here they are really written.
REAL: Mapping[str, tuple[str, tuple[Module, ...], dict[str, Any]]] = {
    **{
        name: ("texts", EXAMPLES[name][0], {})
        for name in list(CAPABILITIES)[: list(CAPABILITIES).index("none")]
    },
    "together": ("texts", (*EXAMPLES["together"][0], bottleneck("serial")), {}),
    "behind_norm": ("lines", EXAMPLES["behind_norm"][0], {}),
    "scored": ("texts", (lora(1, ("q", "v", "up")),), {"type": "spt", "threshold": 50.0, "times": 2.0}),
    "allocator": ("texts", (lora(),), {"type": "ist"}),
    "none": ("texts", (), {}),
    "causal_lm": ("lines", (lora(),), {}),
    "new_head": ("tags", (lora(),), {}),
    "images": ("pictures", (lora(),), {}),
    "seq2seq": ("translations", (lora(),), {}),
    "architecture": ("translations", (lora(),), {}),
    "overrides": ("texts", (lora(),), {}),
    "dropout": ("texts", (lora(),), {}),
    "linear": ("texts", (lora(),), {}),
    "data": ("texts", (lora(),), {}),
}
SAYS = {
    "quantize": ({"quantize": "8bit"}, "\nQUANTIZATION = {"),
    "bfloat16": ({"weights": "bfloat16"}, "dtype=torch.bfloat16"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_adapter_and_the_script_keep_the_rest(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    fixture, modules, allocation = REAL[name]
    lab: Lab = request.getfixturevalue(fixture)
    configuration = Configuration.of(modules, 2e-2, None, allocation)
    if name == "loftq":  # it cannot be trained without a GPU: what is written goes by the configuration
        trial = lab.train(Configuration.of([lora()], 2e-2), tmp_path / "trained")
        trial = dataclasses.replace(trial, configuration=configuration)
    else:
        trial = lab.train(configuration, tmp_path / "trained")
    assert cell("peft", name) == "yes"
    EXPORTERS["peft"](lab.study, trial, tmp_path / "peft")
    assert (tmp_path / "peft" / "README.md").is_file()
    assert cell("autopeft", name) == "yes"
    EXPORTERS["autopeft"](lab.study, trial, tmp_path / "recipe.json")
    assert read_recipe(tmp_path / "recipe.json").configuration == trial.configuration
    if cell("script", name) == "yes":
        EXPORTERS["script"](lab.study, trial, tmp_path / "script")
        compile((tmp_path / "script" / "train.py").read_text(), "train.py", "exec")
    else:
        with pytest.raises(InputError, match="a script"):
            EXPORTERS["script"](lab.study, trial, tmp_path / "script")


@pytest.mark.parametrize("name", [*SAYS, "stopped", "autocast"])
def test_a_script_says_how_weights_are_kept_and_when_it_ends(lines: Lab, tmp_path: Path, name: str) -> None:
    trial = lines.train(Configuration.of([lora()], 2e-2), tmp_path / "trained")
    study, meant = lines.study, "def autocast("  # in bfloat16 where the device has it, as the trial was
    if name in SAYS:
        storage, meant = SAYS[name]
        backbone = {**study.settings["backbone"], "storage": storage}
        study = dataclasses.replace(study, settings={**study.settings, "backbone": backbone})
    if name == "stopped":
        trial, meant = dataclasses.replace(trial, scores={1: trial.score or 0.0}), "\nTRAINED_EPOCHS = 1\n"
    assert cell("script", name) == cell("peft", name) == "yes"
    EXPORTERS["script"](study, trial, tmp_path / "script")
    assert meant in (tmp_path / "script" / "train.py").read_text()
    EXPORTERS["peft"](study, trial, tmp_path / "peft")


def test_every_capability_has_its_examples() -> None:
    assert set(EXAMPLES) == set(CAPABILITIES)
    assert {*REAL, *SAYS, "stopped", "autocast"} == set(CAPABILITIES)
    assert set(KEEPS) == set(EXPORTERS) == {"peft", "script", "autopeft", *FORMATS}


def test_the_document_has_the_table() -> None:
    document = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
    assert table() in document.read_text(encoding="utf-8"), f"put this into docs/recipes.md:\n\n{table()}"
