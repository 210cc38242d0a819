"""What other trainers make of the recipes: parsed, and the adapter built by them, each in its own environment."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import get_peft_model

from autopeft.adapters import attach
from autopeft.adapters.peft_methods import peft_configs
from autopeft.export.known import known
from autopeft.export.trainers import export_recipe
from autopeft.nouns import Configuration, Module

from . import built, environments
from .conftest import Lab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


def module(
    kind: str, size: float, sites: tuple[str, ...], layers: tuple[int, ...] = (0, 1), **options: Any
) -> Module:
    return Module(kind, size, layers, tuple(sorted({**options, "sites": sites}.items())))


UNIFORM = (module("lora", 2, ("q", "v"), alpha=6),)
SUBSET = (
    module("lora", 3, ("q", "down"), (1,), alpha=8, dora=True),
    module("lora", 3, ("o",), (0,), alpha=8, dora=True),
)
ONE = (module("lora", 4, ("v",), (1,), alpha=8, rslora=True),)
PISSA = (module("lora", 2, ("q", "k"), init="pissa"),)
RANKS = (
    module("lora", 2, ("q", "v"), (0,), alpha=4, init="pissa", dora=True),
    module("lora", 5, ("q", "down"), (1,), alpha=20, init="pissa", dora=True),
)
TAKEN = {
    "trl": [UNIFORM, SUBSET, ONE],
    "axolotl": [UNIFORM, SUBSET, ONE, PISSA, RANKS],
    "llamafactory": [UNIFORM, SUBSET, ONE, PISSA],
}
FILES = {"trl": "sft.yml", "axolotl": "axolotl.yml", "llamafactory": "llamafactory.yml"}

_START = """
import json, sys, yaml
sys.path.insert(0, BUILT)
import built, known_keys
from transformers import AutoModelForCausalLM
found = []
for file in sys.argv[1:]:
    keys = yaml.safe_load(open(file))
    model = AutoModelForCausalLM.from_pretrained(keys.get("base_model") or keys["model_name_or_path"])
    model.requires_grad_(False)
    PARSE
    found.append({"parsed": parsed, "modules": built.described(model), "trainable": built.trainable(model)})
print(json.dumps({"keys": known_keys.known(TRAINER), "found": found}))
"""
SCRIPTS = {
    "trl": """
    from trl import ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig, TrlParser, get_peft_config
    from peft import get_peft_model
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    parts = parser.parse_args_and_config(["--config", file, "--use_cpu", "true"])
    parsed = {k: v for part in parts for k, v in vars(part).items() if k in keys}
    parsed["lora_target_modules"] = keys["lora_target_modules"]  # a list of one has become a string
    model = get_peft_model(model, get_peft_config(parts[2]))
""",
    "axolotl": """
    from axolotl.loaders.adapter import _build_peft_lora_config
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from peft import get_peft_model
    config = validate_config(DictDefault(keys))
    parsed = {k: config.to_dict().get(k) for k in keys}
    model = get_peft_model(model, _build_peft_lora_config(model, config))
""",
    "llamafactory": """
    from llamafactory.hparams.parser import get_train_args
    from llamafactory.model.adapter import init_adapter
    parts = get_train_args({**keys, "use_cpu": True})
    parsed = {k: v for part in parts for k, v in vars(part).items() if k in keys}
    parsed["lora_target"] = ",".join(parsed["lora_target"])
    model = init_adapter(model.config, model, parts[0], parts[3], True)
""",
}


def script(trainer: str) -> str:
    text = _START.replace("    PARSE\n", SCRIPTS[trainer].strip("\n") + "\n")
    folder = Path(built.__file__).parent
    return text.replace("BUILT", repr(str(folder))).replace("TRAINER", repr(trainer))


def exported(lab: Lab, trainer: str, modules: tuple[Module, ...], folder: Path) -> Path:
    trial = lab.train(Configuration.of(modules, 2e-2))
    export_recipe(trainer, lab.study, trial, folder)
    return folder / FILES[trainer]


@pytest.mark.parametrize("trainer", TAKEN)
def test_the_adapter_is_the_one_that_was_meant(lines: Lab, tmp_path: Path, trainer: str) -> None:
    if trainer == "trl":
        pytest.importorskip("trl", reason="trl is not installed: install autopeft[test]")
        environments_run = environments.run_here
    else:
        environments.place(trainer)
        environments_run = environments.run
    files = [exported(lines, trainer, modules, tmp_path / str(i)) for i, modules in enumerate(TAKEN[trainer])]
    said = environments_run(trainer, "-c", script(trainer), *map(str, files), cwd=tmp_path)
    answer = json.loads(said.strip().splitlines()[-1])
    check_keys(answer["keys"])
    for file, modules, found in zip(files, TAKEN[trainer], answer["found"], strict=True):
        keys = yaml.safe_load(file.read_text())
        for key, value in found["parsed"].items():
            if key in ("datasets", "test_datasets"):  # further keys are filled in
                assert [value[0][k] for k in keys[key][0]] == list(keys[key][0].values())
            elif key not in ("output_dir", "report_to", "dataset", "optim", "lr_scheduler_type"):
                assert value == keys[key], key
        backbone = lines.bench.backbone
        (planned,) = peft_configs(
            backbone.model, backbone.layout, Configuration.of(modules, 1).modules, (), "CAUSAL_LM"
        )
        meant = get_peft_model(copy.deepcopy(backbone.model), planned.config)
        assert found["modules"] == built.described(meant)
        assert found["trainable"] == built.trainable(meant) > 0


def check_keys(asked: dict[str, Any]) -> None:
    """That the list of known keys is the release's."""
    meant = known(asked["trainer"])
    if asked["trainer"] == "llamafactory":  # those of transformers hang on the transformers beside it
        assert {key: asked["keys"][key] for key in yaml_keys()} == {
            key: meant["keys"][key] for key in yaml_keys()
        }
        assert asked["version"] == meant["version"]
    else:
        assert asked == meant


def yaml_keys() -> list[str]:
    """Those that are written for LLaMA-Factory."""
    from autopeft.export import llamafactory

    text = Path(llamafactory.__file__).read_text()
    return [key for key in known("llamafactory")["keys"] if f'"{key}":' in text]


# AdapterHub ------------------------------------------------------------------------------------------------------------

BOTH_SITES = (
    module("bottleneck", 5, ("attention",), (0,), position="serial", activation="gelu", scaling=2.0),
    module("bottleneck", 3, ("ffn",), (0,), position="serial"),
    module("bottleneck", 7, ("ffn",), (1,), position="serial"),
)
PARALLEL = (
    module("bottleneck", 4, ("ffn",), position="parallel", activation="leaky_relu", scaling=4.0),
    module("bottleneck", 3, ("attention",), (1,), position="parallel"),
)
MIXED = (
    module("bottleneck", 4, ("attention",), position="parallel", activation="tanh"),
    module("bottleneck", 3, ("ffn",), (1,), position="serial", activation="silu"),
)


ON = {
    "llama serial": ("lines", BOTH_SITES),
    "gpt2 serial": ("chats", BOTH_SITES),
    "roberta serial": ("tags", BOTH_SITES),
    "roberta parallel": ("tags", PARALLEL),
    "roberta mixed": ("tags", MIXED),
    "bert mixed": ("texts", MIXED),
}


def probe(lab: Lab, modules: tuple[Module, ...], folder: Path) -> tuple[int, set[str], torch.Tensor]:
    """Export, and say what ours make of random weights: how many there are, where, and the last hidden states."""
    configuration = Configuration.of(modules, 2e-2)
    export_recipe("adapters", lab.study, lab.train(configuration), folder)
    backbone = lab.bench.backbone
    ids = torch.randint(5, 60, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        frozen = backbone.model.base_model(input_ids=ids)[0]
        attached = attach(backbone.model, backbone.layout, (), configuration, task_type=backbone.task_type)
        weights = {}
        for name, own in attached.own.items():
            layer, site, rest = name.removeprefix("layer").split("_", 2)
            position = "parallel" if "parallel" in rest else "serial"
            for key, tensor in own.named_parameters():
                weights[f"{layer} {site} {position} {key}"] = tensor.normal_(std=0.5).tolist()
        hidden = backbone.model.base_model(input_ids=ids)[0]
        count = sum(p.numel() for p in attached.own.parameters())
        attached.detach()
    assert (hidden - frozen).abs().max() > 0.1
    (folder / "probe.json").write_text(json.dumps({"weights": weights, "input_ids": ids.tolist()}))
    return count, {key.rpartition(" ")[0] for key in weights}, hidden


def test_bottlenecks_say_what_ours_say(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    environments.place("adapters")
    folders = {name: tmp_path / name.replace(" ", "-") for name in ON}
    ours = {
        name: probe(request.getfixturevalue(lab), modules, folders[name])
        for name, (lab, modules) in ON.items()
    }
    script = str(Path(__file__).parent / "adapters_probe.py")
    said = environments.run("adapters", script, *map(str, folders.values()))
    answer = json.loads(said.strip().splitlines()[-1])
    for asked in answer["keys"]:
        check_keys(asked)
    for (count, places, hidden), found in zip(ours.values(), answer["found"], strict=True):
        assert found["trainable"] == count
        assert sorted(found["places"]) == sorted(places)
        torch.testing.assert_close(torch.tensor(found["hidden"]), hidden, atol=2e-5, rtol=1e-4)


def test_a_parallel_one_behind_a_norm_is_not_the_same(lines: Lab, tmp_path: Path) -> None:
    """Why it is lost on Llama."""
    from autopeft.errors import InputError

    trial = lines.train(Configuration.of(PARALLEL, 2e-2))
    with pytest.raises(InputError, match="parallel bottlenecks that read what a norm has made"):
        export_recipe("adapters", lines.study, trial, tmp_path / "out")


@pytest.mark.parametrize("fixture", ["lines", "texts"])
def test_adapters_trains_what_was_exported(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str
) -> None:
    environments.place("adapters")
    lab: Lab = request.getfixturevalue(fixture)
    trial = lab.train(Configuration.of(BOTH_SITES, 2e-2))
    out = tmp_path / "out"
    export_recipe("adapters", lab.study, trial, out)
    arguments = json.loads((out / "training_args.json").read_text())
    (out / "training_args.json").write_text(json.dumps({**arguments, "use_cpu": True, "logging_steps": 1}))
    said = environments.run("adapters", "train.py", cwd=out)
    losses = [float(loss) for loss in re.findall(r"'loss': '?([\d.]+)", said)]
    assert len(losses) == 2 * -(-len(lab.bench.data["train"]) // 8)
    assert losses[-1] < losses[0] or fixture == "texts"
    config = json.loads((out / "adapter" / "adapter_config.json").read_text())["config"]
    assert [one["leave_out"] for one in config["configs"]] == [[1], []]
