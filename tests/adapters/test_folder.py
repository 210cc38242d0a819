"""Saved adapters come back whole, and peft reads what is peft's."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from backbones.architectures import Architecture, find, inputs, save
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file, save_file

from autopeft import load_adapter
from autopeft.adapters import attach, save_adapter
from autopeft.adapters.own import Scores
from autopeft.backbones import load_backbone
from autopeft.errors import BackboneError, InputError
from autopeft.nouns import Configuration, Module

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings(
    # peft 0.21 asks transformers 5 by the old name
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)
LAYERS = (0, 1)
SERIAL = Module("bottleneck", 4, LAYERS, (("position", "serial"), ("sites", ("ffn",))))
PARALLEL = Module("bottleneck", 3, (1,), (("position", "parallel"), ("sites", ("ffn",))))
PREFIX = Module("prefix", 2, LAYERS, (("sites", ("attention",)),))
PROMPT = Module("prompt_tuning", 3, (0,), (("sites", ("input",)),))


def lora(*sites: str) -> Module:
    return Module("lora", 2, LAYERS, (("alpha", 4), ("sites", sites)))


def at(kind: str, *sites: str, size: float = 2) -> Module:
    return Module(kind, size, LAYERS, (("sites", sites),))


def auto(architecture: Architecture) -> type:
    found: type = (
        transformers.AutoModelForSequenceClassification
        if architecture.modality == "text"
        else transformers.AutoModelForImageClassification
    )
    return found


def fresh(architecture: Architecture, path: str, num_labels: int = 3) -> transformers.PreTrainedModel:
    """What a person loads who has never heard of autopeft."""
    torch.manual_seed(99)
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    model = auto(architecture).from_pretrained(path, num_labels=num_labels, ignore_mismatched_sizes=True)  # type: ignore[attr-defined]
    transformers.utils.logging.set_verbosity(level)
    found: transformers.PreTrainedModel = model.eval()
    return found


def trained(
    architecture: Architecture, path: str, folder: Path, *modules: Module, scores: Scores | None = None
) -> tuple[torch.Tensor, Configuration]:
    """Save an adapter with random weights in modules and head; returns the model's logits with it."""
    task_type = "SEQ_CLS" if architecture.modality == "text" else None
    backbone = load_backbone(path, modality=architecture.modality, num_labels=3, problem="classification")
    configuration = Configuration.of(modules, 1e-2)
    attached = attach(
        backbone.model, backbone.layout, backbone.head, configuration, task_type=task_type, scores=scores
    )
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in attached.trainable():
            parameter.normal_(std=0.5)
        logits = attached.runner.eval()(**inputs(architecture)).logits
    save_adapter(attached, configuration, folder, task_type=task_type, record={"backbone": "tiny"})
    attached.detach()
    return logits, configuration


@pytest.mark.parametrize(
    "name", ["BERT", "RoBERTa", "DistilBERT", "DeBERTa-v2", "GPT-2", "Llama", "ViT", "ModernBERT"]
)
@pytest.mark.parametrize("kind", ["serial", "parallel", "prefix", "lora", "all", "head only"])
def test_comes_back_whole(name: str, kind: str, tmp_path: Path) -> None:
    architecture = find(name)
    if kind == "prefix" and not architecture.prefix:
        return
    low_rank = lora("qkv", "down") if "qkv" in architecture.sites else lora("q", "v", "down")
    both = [low_rank, SERIAL, PARALLEL, *([PREFIX] if architecture.prefix else [])]
    modules = {
        "serial": [SERIAL],
        "parallel": [PARALLEL],
        "prefix": [PREFIX],
        "lora": [low_rank],
        "all": both,
        "head only": [],
    }
    path = save(architecture, tmp_path / "model")
    logits, _ = trained(architecture, path, tmp_path / "adapter", *modules[kind])
    model = fresh(architecture, path)
    batch = inputs(architecture)
    with torch.no_grad():
        assert (model(**batch).logits - logits).abs().max() > 1e-3
        assert load_adapter(model, tmp_path / "adapter") is model
        assert not model.training
        torch.testing.assert_close(model(**batch).logits, logits, atol=1e-6, rtol=0)


def test_a_mask_that_needed_scores_comes_back_without_them(tmp_path: Path) -> None:
    architecture = find("BERT")
    path = save(architecture, tmp_path / "model")
    sparse = Module("sparse", 0.05, LAYERS, (("mask", "sensitivity"), ("sites", ("q", "down"))))
    generator = torch.Generator().manual_seed(3)
    weights = load_backbone(path, modality="text", num_labels=3, problem="classification").model

    def scores(where: str) -> torch.Tensor:
        shape = weights.get_parameter(f"{where}.weight").shape
        return torch.rand(shape, generator=generator)

    logits, _ = trained(architecture, path, tmp_path / "adapter", sparse, scores=scores)
    model = load_adapter(fresh(architecture, path), tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs(architecture)).logits, logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "DistilBERT", "GPT-2", "Llama", "ViT"])
def test_plain_peft_reads_a_lora_folder(name: str, tmp_path: Path) -> None:
    architecture = find(name)
    path = save(architecture, tmp_path / "model")
    low_rank = lora("qkv") if "qkv" in architecture.sites else lora("q", "v")
    logits, _ = trained(architecture, path, tmp_path / "adapter", low_rank)
    model = PeftModel.from_pretrained(fresh(architecture, path), str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs(architecture)).logits, logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "GPT-2", "ViT"])
def test_peft_would_write_the_same_bytes(name: str, tmp_path: Path) -> None:
    architecture = find(name)
    path = save(architecture, tmp_path / "model")
    fused = "qkv" in architecture.sites
    low_rank = lora("qkv") if fused else lora("q", "v")
    trained(architecture, path, tmp_path / "ours", low_rank)
    layout = load_backbone(
        path, modality=architecture.modality, num_labels=3, problem="classification"
    ).layout
    config = LoraConfig(
        r=2,
        lora_alpha=4,
        target_modules=[layout.layers[i].sites[s] for i in LAYERS for s in low_rank.sites],
        modules_to_save=sorted({path.split(".")[0] for path in architecture.head}),
        fan_in_fan_out=name == "GPT-2",
        task_type=TaskType.SEQ_CLS if architecture.modality == "text" else None,
    )
    theirs = get_peft_model(fresh(architecture, path), config)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.5)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        ours = (tmp_path / "ours" / file).read_bytes()
        assert ours == (tmp_path / "theirs" / file).read_bytes()


def test_several_adapters_are_a_folder_each(tmp_path: Path) -> None:
    architecture = find("BERT")
    path = save(architecture, tmp_path / "model")
    ia3, oft = at("ia3", "q", "v", size=1), at("oft", "q", "up", size=4)
    logits, _ = trained(architecture, path, tmp_path / "adapter", lora("q", "v"), ia3, oft, SERIAL)
    folders = {p.name for p in (tmp_path / "adapter").iterdir() if p.is_dir()}
    assert folders == {"peft-0-lora", "peft-1-oft", "peft-2-ia3"}
    assert not (tmp_path / "adapter" / "adapter_config.json").exists()
    for name in folders:
        one = tmp_path / "adapter" / name
        assert json.loads((one / "adapter_config.json").read_text())["modules_to_save"]
        keys = load_file(one / "adapter_model.safetensors")
        assert not any("base_layer" in key for key in keys)
        assert any(key.endswith("classifier.weight") for key in keys)
        assert isinstance(PeftModel.from_pretrained(fresh(architecture, path), str(one)), PeftModel)
    model = fresh(architecture, path)
    with torch.no_grad():
        assert load_adapter(model, tmp_path / "adapter") is model
        torch.testing.assert_close(model(**inputs(architecture)).logits, logits, atol=1e-6, rtol=0)
    assert not any(p.requires_grad for name, p in model.named_parameters() if "base_layer" in name)


def test_tokens_before_the_input_need_the_wrapper(tmp_path: Path) -> None:
    architecture = find("BERT")
    path = save(architecture, tmp_path / "model")
    logits, _ = trained(architecture, path, tmp_path / "adapter", PROMPT, lora("q"), SERIAL)
    model = fresh(architecture, path)
    loaded = load_adapter(model, tmp_path / "adapter")
    assert loaded is not model
    assert not loaded.training
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs(architecture)).logits, logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_what_was_taken_from_the_weights_is_in_the_folder(init: str, tmp_path: Path) -> None:
    """A LoRA of twice the rank, for the backbone as anyone has it, initialised like any other."""
    architecture = find("BERT")
    path = save(architecture, tmp_path / "model")
    module = Module("lora", 2, LAYERS, (("alpha", 3), ("init", init), ("sites", ("q", "down"))))
    logits, _ = trained(architecture, path, tmp_path / "adapter", module)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["init_lora_weights"]) == (4, 6, True)
    theirs = PeftModel.from_pretrained(fresh(architecture, path), str(tmp_path / "adapter")).eval()
    ours = load_adapter(fresh(architecture, path), tmp_path / "adapter")
    with torch.no_grad():
        for model in (theirs, ours):
            torch.testing.assert_close(model(**inputs(architecture)).logits, logits, atol=1e-5, rtol=0)


def test_a_folder_of_the_first_version_can_be_read(tmp_path: Path) -> None:
    """It named neither peft's folders nor the sites of types that had one only, and our modules by layer alone."""
    architecture = find("BERT")
    path = save(architecture, tmp_path / "model")
    logits, _ = trained(architecture, path, tmp_path / "adapter", lora("q"), SERIAL, PREFIX)
    file = tmp_path / "adapter" / "autopeft_config.json"
    content = json.loads(file.read_text())
    del content["peft"]
    for module in content["configuration"]["modules"]:
        if module["type"] != "lora":
            del module["sites"]
    file.write_text(json.dumps(content))
    weights = tmp_path / "adapter" / "autopeft_model.safetensors"
    names = {"ffn_bottleneck_4_relu_serial_1p0": "serial", "attention_prefix_2": "prefix"}
    tensors = {}
    for name, tensor in load_file(weights).items():
        for today, then in names.items():
            name = name.replace(today, then)
        tensors[name] = tensor
    assert {"modules.layer0_serial.up.bias", "modules.layer1_prefix.keys"} <= tensors.keys()
    save_file(tensors, weights)
    model = load_adapter(fresh(architecture, path), tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs(architecture)).logits, logits, atol=1e-6, rtol=0)


def test_the_record_is_in_the_folder(tmp_path: Path) -> None:
    architecture = find("BERT")
    path = save(architecture, tmp_path / "model")
    _, configuration = trained(architecture, path, tmp_path / "adapter", SERIAL, lora("q"))
    content = json.loads((tmp_path / "adapter" / "autopeft_config.json").read_text())
    assert Configuration.from_json(content["configuration"]) == configuration
    assert content["backbone"] == "tiny"
    assert content["autopeft_version"]


def refusal(kind: type[Exception], model: transformers.PreTrainedModel, folder: Path) -> str:
    with pytest.raises(kind) as raised:
        load_adapter(model, folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_folder_without_an_adapter(tmp_path: Path) -> None:
    architecture = find("BERT")
    model = fresh(architecture, save(architecture, tmp_path / "model"))
    (tmp_path / "empty").mkdir()
    assert refusal(InputError, model, tmp_path / "empty") == (
        f"'{tmp_path / 'empty'}' holds no adapter of autopeft: there is no autopeft_config.json."
    )


@pytest.mark.parametrize("kind", ["serial", "lora"])
def test_a_head_of_another_width(kind: str, tmp_path: Path) -> None:
    architecture = find("BERT")
    path = save(architecture, tmp_path / "model")
    trained(architecture, path, tmp_path / "adapter", SERIAL if kind == "serial" else lora("q"))
    message = refusal(BackboneError, fresh(architecture, path, num_labels=4), tmp_path / "adapter")
    assert message == (
        "the adapter's head 'classifier.bias' has the shape (3,), the model's (4,): "
        "load the model with the num_labels that the adapter was trained for."
    )


@pytest.mark.parametrize(
    "change", [{"num_hidden_layers": 1}, {"hidden_size": 32}, {"intermediate_size": 32}], ids=str
)
@pytest.mark.parametrize(
    "module", [SERIAL, PREFIX, lora("q", "up"), at("ia3", "up", size=1)], ids=lambda m: m.type
)
def test_another_backbone(change: dict[str, int], module: Module, tmp_path: Path) -> None:
    architecture = find("BERT")
    path = save(architecture, tmp_path / "model")
    trained(architecture, path, tmp_path / "adapter", module)
    if change == {"intermediate_size": 32} and module.type in ("bottleneck", "prefix"):
        return  # such an adapter does not depend on it
    config = {**architecture.config.to_dict(), **change}
    other = Architecture("other", "text", type(architecture.config).from_dict(config), "", 0)
    model = fresh(other, save(other, tmp_path / "other"))
    names = [name for name, _ in model.named_modules()]
    message = refusal(BackboneError, model, tmp_path / "adapter")
    assert "tiny" in message or "num_labels" in message
    assert [name for name, _ in model.named_modules()] == names


def test_a_site_that_is_not_there(tmp_path: Path) -> None:
    """peft would load what fits and say nothing of the rest."""
    architecture = find("BERT")
    trained(architecture, save(architecture, tmp_path / "model"), tmp_path / "adapter", lora("q", "up"))
    content = json.loads((tmp_path / "adapter" / "autopeft_config.json").read_text())
    content["configuration"]["modules"][0]["sites"] = ["q"]
    (tmp_path / "adapter" / "autopeft_config.json").write_text(json.dumps(content))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    config["target_modules"] = [path for path in config["target_modules"] if "query" in path]
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    message = refusal(BackboneError, fresh(architecture, str(tmp_path / "model")), tmp_path / "adapter")
    assert (
        "it has no place for 'base_model.model.bert.encoder.layer.0.intermediate.dense.lora_A.weight'"
        in message
    )


def test_a_model_of_another_architecture(tmp_path: Path) -> None:
    architecture, other = find("BERT"), find("GPT-2")
    trained(architecture, save(architecture, tmp_path / "model"), tmp_path / "adapter", SERIAL)
    model = fresh(other, save(other, tmp_path / "other"))
    assert "the adapter's head 'classifier.bias'" in refusal(BackboneError, model, tmp_path / "adapter")
