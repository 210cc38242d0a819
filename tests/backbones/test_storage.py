"""Backbones whose frozen weights are quantised, or of another type."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
import transformers

from autopeft import weights
from autopeft.adapters import attach, load_adapter, save_adapter
from autopeft.backbones import Backbone, load_backbone
from autopeft.errors import InputError
from autopeft.nouns import Configuration, Module
from autopeft.train.loop import accumulate
from autopeft.weights import PLAIN, Storage, check_storage, check_types

torch.set_num_threads(1)
LORA = Module("lora", 2, (0, 1), (("alpha", 4.0), ("sites", ("q", "down"))))
PARALLEL = Module("bottleneck", 4, (1,), (("position", "parallel"), ("sites", ("ffn",))))
PREFIX = Module("prefix", 2, (0,), (("sites", ("attention",)),))
SPARSE = Module("sparse", 0.05, (1,), (("mask", "random"), ("sites", ("q",))))
BIAS = Module("bias", 1, (1,), (("sites", ("norm",)),))


@pytest.fixture(scope="module", params=["llama", "bert"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tiny random weights, of a decoder, and of an encoder whose pooler is new."""
    sizes = {"vocab_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp(request.param)
    model: transformers.PreTrainedModel
    if request.param == "llama":
        config = transformers.LlamaConfig(
            **sizes, intermediate_size=64, num_key_value_heads=2, pad_token_id=0
        )
        model = transformers.LlamaModel(config)
    else:
        bert = transformers.BertConfig(**sizes, intermediate_size=64, max_position_embeddings=32)
        model = transformers.BertModel(bert, add_pooling_layer=False)
    model.save_pretrained(path)
    return str(path)


def load(folder: str, how: Storage = PLAIN) -> Backbone:
    return load_backbone(folder, modality="text", problem="classification", num_labels=3, storage=how)


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 40, (6, 9), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(6) % 3}


def train(backbone: Backbone, modules: list[Module], folder: Path, steps: int = 12) -> list[float]:
    """Losses; the adapter is saved, and says the same on the same backbone."""
    configuration = Configuration.of(modules, 1e-2)
    torch.manual_seed(0)
    kind = backbone.task_type
    attached = attach(backbone.model, backbone.layout, backbone.head, configuration, task_type=kind)
    assert all(p.dtype == torch.float32 for p in attached.trainable())
    optimizer = torch.optim.AdamW(attached.trainable(), lr=1e-2)
    losses = []
    for _ in range(steps):
        losses.append(float(accumulate(attached.runner, torch.nn.functional.cross_entropy, batch())))
        optimizer.step()
        optimizer.zero_grad()
    save_adapter(attached, configuration, folder, task_type=kind, record={})
    attached.detach()
    return losses


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantised_weights_are_smaller_and_train(folder: str, quantize: str, tmp_path: Path) -> None:
    plain, small = load(folder), load(folder, Storage(quantize=quantize))  # type: ignore[arg-type]
    assert small.layout.shape == plain.layout.shape  # parameters are counted as they were
    assert small.head == plain.head
    query = small.model.get_submodule(small.layout.layers[0].sites["q"])
    assert not query.weight.is_floating_point()  # type: ignore[union-attr,operator]
    assert all(small.model.get_submodule(path).weight.is_floating_point() for path in small.head)  # type: ignore[union-attr,operator]
    losses = train(small, [LORA, PARALLEL, PREFIX], tmp_path)
    assert losses[-1] < 0.7 * losses[0]
    again = load(folder, Storage(quantize=quantize))  # type: ignore[arg-type]
    loaded = load_adapter(again.model, tmp_path)
    with torch.inference_mode():
        inputs = {name: tensor for name, tensor in batch().items() if name != "labels"}
        found = torch.nn.functional.cross_entropy(loaded(**inputs).logits, batch()["labels"])
    assert float(found) < 0.7 * losses[0]


def test_bfloat16_weights_are_half_as_large_and_train(folder: str, tmp_path: Path) -> None:
    plain, half = load(folder), load(folder, Storage(weights="bfloat16"))
    assert half.layout.shape == plain.layout.shape
    query = half.model.get_submodule(half.layout.layers[0].sites["q"])
    assert query.weight.dtype == torch.bfloat16  # type: ignore[union-attr]
    modules = [LORA, PARALLEL, PREFIX, SPARSE, *([BIAS] if "bert" in folder else [])]
    losses, exact = train(half, modules, tmp_path / "half"), train(plain, modules, tmp_path / "plain")
    assert losses[-1] < 0.7 * losses[0]
    assert losses[0] == pytest.approx(exact[0], abs=0.1)


def test_what_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="allowed are float32, bfloat16"):
        check_storage("float16", None, False)
    with pytest.raises(InputError, match="allowed are 8bit, 4bit"):
        check_storage("float32", "2bit", False)
    assert check_storage("float32", "4bit", False) == Storage(quantize="4bit")
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'autopeft\[large\]'"):
        check_storage("float32", "4bit", False)


def test_modules_that_read_weights_are_not_for_codes() -> None:
    check_types(PLAIN, ["hira", "lora"])
    check_types(Storage(quantize="4bit"), ["lora", "bottleneck"])
    with pytest.raises(InputError, match="modules of type hira work on the weights themselves"):
        check_types(Storage(quantize="4bit"), ["lora", "hira"])


def test_as_a_study_keeps_it() -> None:
    assert PLAIN.to_json() == {}
    for one in (PLAIN, Storage("bfloat16", spread=True), Storage(quantize="8bit")):
        assert Storage.from_json(one.to_json()) == one


assert importlib.util.find_spec("bitsandbytes"), "install autopeft[test]"
warnings.filterwarnings("ignore", "MatMul8bitLt")
