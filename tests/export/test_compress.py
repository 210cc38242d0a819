"""Smaller adapters: the papers' equations on small numbers, and folders that load and score what is said of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import autopeft
from autopeft.adapters.packed import PACKED, from_8_bits, in_8_bits, read_tensors, unpacked
from autopeft.backbones import load_backbone
from autopeft.errors import InputError
from autopeft.export.compress import (
    FACTORS,
    Compressed,
    compress,
    kept_rank,
    parse_compression,
    ternary,
)
from autopeft.export.peft import export_peft
from autopeft.nouns import Configuration, Module, Trial

from .conftest import Lab

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
LORA = Module("lora", 4, (0, 1), (("sites", ("q", "v")),))
RSLORA = Module("lora", 3, (0, 1), (("rslora", True), ("sites", ("q",))))
IA3 = Module("ia3", 1, (1,), (("sites", ("k",)),))
SERIAL = Module("bottleneck", 2, (0,), (("position", "serial"), ("sites", ("ffn",))))
SPARSE = Module("sparse", 0.001, (0, 1), (("mask", "random"), ("sites", ("v",))))


# -- the equations -----------------------------------------------------------------------------------------------------


def test_ternary_is_compefts_first_algorithm() -> None:
    """Keep the signs of the top k by magnitude, put the rest to zero, and scale by the deviation of the whole vector."""
    tau = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    signs, deviation = ternary(tau, 0.2)
    by_size = sorted(range(1000), key=lambda i: -abs(float(tau[i])))
    assert [float(s) for s in signs] == [
        (1.0 if tau[i] > 0 else -1.0) if i in by_size[:200] else 0.0 for i in range(1000)
    ]
    mean = sum(map(float, tau)) / 1000
    assert deviation == pytest.approx((sum((float(x) - mean) ** 2 for x in tau) / 999) ** 0.5, rel=1e-5)


def test_8_bits_are_half_a_step_off_at_most() -> None:
    sizes = torch.tensor([1e-6, 1.0, 10.0, 0.0, 3.0]).view(5, 1, 1)
    tensor = torch.randn(5, 16, 4, generator=torch.Generator().manual_seed(0)) * sizes  # a block each
    steps, scales = in_8_bits(tensor)
    assert steps.dtype == torch.int8
    assert steps.shape == tensor.shape
    assert torch.equal(scales, tensor.abs().amax(dim=(1, 2)) / 127)
    error = (from_8_bits(steps, scales) - tensor).abs().amax(dim=(1, 2))
    assert bool((error <= scales / 2 * (1 + 1e-5)).all())
    odd = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(from_8_bits(*in_8_bits(odd)), odd, atol=float(odd.abs().max()) / 253, rtol=0)
    vector = torch.tensor([0.5, -0.25])
    assert torch.allclose(from_8_bits(*in_8_bits(vector)), vector, atol=0.5 / 254 + 1e-6)


def test_the_energy_kept_is_the_share_of_the_squared_norm() -> None:
    """By Eckart and Young what a truncation loses is the squares of the singular values that it leaves out."""
    torch.manual_seed(0)
    product = torch.randn(12, 6) @ torch.randn(6, 9)
    u, sigma, v = torch.linalg.svd(product, full_matrices=False)
    for share in (0.3, 0.8, 0.95, 0.999):
        rank = kept_rank(sigma, share)
        lost = [
            float((product - (u[:, :r] * sigma[:r]) @ v[:r]).square().sum() / product.square().sum())
            for r in (rank - 1, rank)
        ]
        assert lost[1] <= 1 - share + 1e-6
        assert lost[0] > 1 - share
    assert kept_rank(sigma, 1.0) == 6
    assert kept_rank(torch.zeros(3), 0.5) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4bit", "cannot compress by '4bit': write 8bit, ternary"),
        ("8bit=2", "cannot compress by '8bit=2'"),
        ("energy=all", "cannot compress by 'energy=all'"),
        ("energy=1.5", "the share 1.5 of 'energy=1.5' is not above 0 and at most 1"),
    ],
)
def test_what_cannot_be_asked_for(text: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_compression(text)
    assert words in str(raised.value)


# -- folders -----------------------------------------------------------------------------------------------------------


def exported(lab: Lab, folder: Path, *modules: Module, allocation: Any = None) -> tuple[Trial, Path]:
    trial = lab.train(Configuration.of(modules, 2e-2, None, allocation), folder / "trained")
    export_peft(lab.study, trial, folder / "exported")
    return trial, folder / "exported"


def scored(lab: Lab, folder: Path) -> float:
    """By the public function on a model of its own."""
    settings = lab.study.settings["backbone"]
    backbone = load_backbone(
        settings["path"],
        modality="text",
        problem=lab.bench.task.problem,
        num_labels=lab.bench.task.num_labels,
        config_overrides=settings["overrides"],
    )
    return lab.bench.score(autopeft.load_adapter(backbone.model, folder), "validation")


def compressed(lab: Lab, folder: Path, how: str, *modules: Module) -> tuple[Compressed, Trial, Path]:
    trial, exported_to = exported(lab, folder, *modules)
    found = compress(lab.study, trial, exported_to, parse_compression(how))
    assert found.score_before == trial.score
    assert found.test_before == trial.measurements["test_score"]
    assert found.score_after == scored(lab, exported_to)  # and what is written is what was measured
    assert found.bytes_after == sum(p.stat().st_size for p in exported_to.rglob("*.safetensors"))
    assert found.bytes_after < found.bytes_before
    noted = json.loads((exported_to / "autopeft_config.json").read_text())["compressed"]
    assert noted == vars(found)
    return found, trial, exported_to


@pytest.mark.parametrize("modules", [(LORA,), (LORA, IA3, SERIAL, SPARSE)], ids=["lora", "several"])
def test_8_bit(texts: Lab, tmp_path: Path, modules: tuple[Module, ...]) -> None:
    found, _, folder = compressed(texts, tmp_path, "8bit", *modules)
    assert [path.name for path in folder.rglob("*.safetensors")] == [PACKED]
    assert abs(found.score_after - found.score_before) <= 0.2
    before = read_tensors(tmp_path / "trained")
    with unpacked(folder) as there:
        after = read_tensors(there)
    assert {f: set(t) for f, t in before.items()} == {f: set(t) for f, t in after.items()}
    for file, tensors in before.items():
        for name, tensor in tensors.items():
            assert after[file][name].dtype == tensor.dtype
            if "classifier" in name or not tensor.is_floating_point():  # the head, and positions of entries
                assert torch.equal(after[file][name], tensor)
            else:
                assert float((after[file][name] - tensor).abs().max()) <= float(tensor.abs().max()) / 253


@pytest.mark.parametrize("modules", [(LORA,), (SERIAL, IA3)], ids=["lora", "several"])
def test_ternary(texts: Lab, tmp_path: Path, modules: tuple[Module, ...]) -> None:
    found, _, folder = compressed(texts, tmp_path, "ternary=0.2", *modules)
    assert found.how.startswith("ternary, 20 % of the entries, by ")
    factor = float(found.how.split(" by ")[1].split()[0])
    assert factor in FACTORS
    # What is in the folder is start + factor * deviation * signs; LoRA's B starts at zero, so nothing of it is rounded.
    trained = read_tensors(tmp_path / "trained")
    with unpacked(folder) as there:
        after = read_tensors(there)
    changed = {
        name: tensor for tensors in after.values() for name, tensor in tensors.items() if "lora_B" in name
    }
    assert bool(changed) == (modules == (LORA,))
    for name, tensor in changed.items():
        values = tensor.unique()
        assert len(values) <= 3
        moved = tensor != 0
        own = next(tensors[name] for tensors in trained.values() if name in tensors)
        assert torch.equal(tensor[moved].sign(), own[moved].sign())
        assert float(own[moved].abs().min()) >= float(own[~moved].abs().max())


def test_all_densities_are_tried_by_themselves(
    texts: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autopeft.export.compress.DENSITIES", (0.1, 0.5))
    monkeypatch.setattr("autopeft.export.compress.FACTORS", (1.0, 2.0))
    found, *_ = compressed(texts, tmp_path, "ternary", LORA)
    assert found.how.split(",")[1].strip() in ("10 % of the entries", "50 % of the entries")


@pytest.mark.parametrize("modules", [(LORA,), (RSLORA, SERIAL, SPARSE)], ids=["lora", "rslora"])
def test_energy(texts: Lab, tmp_path: Path, modules: tuple[Module, ...]) -> None:
    found, trial, folder = compressed(texts, tmp_path, "energy=0.7", *modules)
    assert found.trainable_after < found.trainable_before == trial.trainable
    whole, less = deltas(tmp_path / "trained", texts), deltas(folder, texts)
    assert whole.keys() == less.keys()
    for path, delta in whole.items():
        kept = 1 - float((delta - less[path]).square().sum() / delta.square().sum())
        assert kept >= 0.7 - 1e-5
        sigma = torch.linalg.svdvals(delta)
        rank = kept_rank(sigma, 0.7)
        assert kept == pytest.approx(float(sigma[:rank].square().sum() / sigma.square().sum()), abs=1e-5)


def deltas(folder: Path, lab: Lab) -> dict[str, torch.Tensor]:
    from autopeft.adapters.folder import load_attached

    attached, _, _ = load_attached(lab.bench.backbone.model, folder)
    found = {
        path: layer.get_delta_weight("default").detach().clone()
        for adapter in attached.stack.adapters
        for path, layer in adapter.layers.items()
    }
    attached.detach()
    return found


def test_energy_of_all_changes_nothing(texts: Lab, tmp_path: Path) -> None:
    trial, folder = exported(texts, tmp_path, LORA)
    found = compress(texts.study, trial, folder, parse_compression("energy=1"))
    assert found.score_after == found.score_before
    whole, same = deltas(tmp_path / "trained", texts), deltas(folder, texts)
    for path, delta in whole.items():
        torch.testing.assert_close(same[path], delta, atol=1e-6, rtol=1e-4)


def test_peft_reads_the_truncated_adapter_by_itself(texts: Lab, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    _, _, folder = compressed(texts, tmp_path, "energy=0.8", LORA)
    model = AutoModelForSequenceClassification.from_pretrained(
        texts.study.settings["backbone"]["path"], num_labels=2, num_hidden_layers=2
    )
    shutil.copytree(folder, tmp_path / "for-peft")
    model = PeftModel.from_pretrained(model, str(tmp_path / "for-peft")).eval()
    assert texts.bench.score(model, "validation") == scored(texts, folder)


@pytest.mark.parametrize(
    ("how", "modules", "words"),
    [
        ("energy", (IA3,), "truncates the ranks of LoRA alone, and this adapter has ia3"),
        ("energy", (SERIAL,), "truncates the ranks of LoRA alone, and this adapter has none"),
        ("energy", (Module("lora", 2, (0,), (("dora", True), ("sites", ("q",)))),), "cannot truncate DoRA"),
        ("ternary", (), "nothing in this adapter but the task head"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_compressed(
    texts: Lab, tmp_path: Path, how: str, modules: tuple[Module, ...], words: str
) -> None:
    trial, folder = exported(texts, tmp_path, *modules)
    with pytest.raises(InputError, match=words):
        compress(texts.study, trial, folder, parse_compression(how))


def test_a_packed_file_that_is_not_ours(texts: Lab, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    _, _, folder = compressed(texts, tmp_path, "8bit", LORA)
    outside = json.dumps({"tensors": [["../../x.safetensors", "b", [1]]], "step": None})
    for metadata, words in (
        (None, "is not whole"),
        ({"autopeft": "{"}, "is not whole"),
        ({"autopeft": json.dumps({"tensors": [["a", "b", [2]]], "step": None})}, "is not whole"),
        ({"autopeft": outside}, "leads out of it"),
    ):
        save_file(
            {"0.int8": torch.zeros(1, dtype=torch.int8), "0.scales": torch.ones(1)}, folder / PACKED, metadata
        )
        with pytest.raises(InputError, match=words):
            scored(texts, folder)
