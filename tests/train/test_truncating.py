"""DyLoRA: every first part of its ranks is a LoRA of its own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autopeft.allocate.units import Unit
from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Module
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.running import Request, Running
from autopeft.train.steering.truncating import Truncating

torch.set_num_threads(1)
LORA = Module("lora", 4, (2, 3), (("alpha", 8), ("sites", ("q", "down"))))


@pytest.fixture(scope="module")
def bench() -> Workbench:
    whole = Workbench.prepare("starter", {}, resolve_task("starter").settings, Training(epochs=1))
    data = {
        split: type(data)(data.pixel_values[:192], data.labels[:192])  # type: ignore[call-arg,union-attr]
        for split, data in whole.data.items()
    }
    return Workbench(whole.backbone, whole.task, data, whole.training)


def configuration(*modules: Module, **fields: object) -> Configuration:
    return Configuration.of(modules or [LORA], 5e-3, None, {"type": "dylora", **fields})


def logits(bench: Workbench, trial: Running) -> torch.Tensor:
    (batch,) = bench.batches("validation", torch.arange(16), 16)
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    with torch.inference_mode():
        found: torch.Tensor = trial.attached.runner.eval()(**inputs).logits
    return found


@pytest.mark.parametrize("rslora", [False, True])
def test_a_part_is_the_training_model_at_that_rank(rslora: bool, bench: Workbench) -> None:
    small = Module("lora", 2, (0,), (("alpha", 4), ("rslora", rslora), ("sites", ("v",))))
    large = replace(LORA, options=(("alpha", 8), ("rslora", rslora), ("sites", ("q", "down"))))
    trial = Running(bench, Request(configuration(large, small), 0, None))
    try:
        trial.train_epoch()
        steering = trial._steering
        assert isinstance(steering, Truncating)
        wanted = {}
        for rank in (1, 2, 3):
            steering.rank = rank  # as in a step
            wanted[rank] = logits(bench, trial)
        steering.rank = 0
        whole = logits(bench, trial)
        parts = list(steering.parts())
        settled = steering.finish()
        assert len(parts) == 3
        for rank, part in zip((1, 2, 3), parts, strict=True):
            trial._put_on(part)
            assert torch.allclose(logits(bench, trial), wanted[rank], atol=1e-5)
            assert dict(part.plan.allocation)["keep"] == rank / 4
            ranks = {Unit(layer, s): m.size for m in part.plan.modules for layer in m.layers for s in m.sites}
            assert ranks[Unit(2, "q")] == rank
            assert ranks[Unit(0, "v")] == -(-rank // 2)
        trial._put_on(settled)
        assert torch.allclose(logits(bench, trial), whole, atol=1e-5)
        assert not torch.allclose(wanted[1], whole, atol=1e-3)
    finally:
        trial.attached.detach()


def test_a_step_trains_its_first_ranks_alone(bench: Workbench) -> None:
    trial = Running(bench, Request(configuration(), 0, None))
    try:
        steering = trial._steering
        assert isinstance(steering, Truncating)
        trial.train_epoch()  # or B is 0 and A has no gradients
        (batch,) = bench.batches("train", torch.arange(32), 32)
        seen = set()
        for _ in range(12):
            trial.optimizer.zero_grad()
            state = steering.rng.getstate()
            rank = steering.rng.randint(1, 4)
            steering.rng.setstate(state)
            trial._gradients(trial.attached.runner, batch)
            seen.add(rank)
            for layer in steering.layers.values():
                a, b = layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad
                assert a[:rank].any(dim=1).all()
                assert not a[rank:].any()
                assert b[:, :rank].any(dim=0).all()
                assert not b[:, rank:].any()
            assert steering.rank == 0  # whoever looks between steps sees all
        assert seen == {1, 2, 3, 4}
    finally:
        trial.attached.detach()


def test_parts_are_rows_of_their_own(bench: Workbench, tmp_path: Path) -> None:
    *_, last = bench.trial(configuration(), 0, tmp_path)
    shape, parts = bench.backbone.layout.shape, last.details["parts"]
    assert [Configuration.from_json(p["configuration"]).allocation for p in parts] == [
        (("type", "dylora"), ("keep", keep)) for keep in (0.25, 0.5, 0.75)
    ]
    costs = [part["allocation"]["trainable"] for part in parts]
    assert costs == sorted(costs)
    assert costs[-1] < last.details["allocation"]["trainable"] == trainable_parameters(configuration(), shape)
    for part in parts:
        assert Configuration.from_json(part["configuration"]).modules == configuration().modules
        assert 0 <= part["values"]["score"] <= 1
        saved = json.loads((Path(part["folder"]) / "autopeft_config.json").read_text())
        assert saved["score"] == part["values"]["score"]
        rank = Configuration.from_json(part["allocation"]["plan"]).modules[0].size
        tensors = load_file(Path(part["folder"]) / "adapter_model.safetensors")
        assert {t.shape[0] for name, t in tensors.items() if "lora_A" in name} == {rank}


def test_a_configuration_that_keeps_some_hands_out_the_same_part(bench: Workbench) -> None:
    *_, whole = bench.trial(configuration(), 3, None)
    *_, half = bench.trial(configuration(keep=0.5), 3, None)
    (part,) = [p for p in whole.details["parts"] if p["configuration"]["allocation"]["keep"] == 0.5]
    assert half.values["score"] == part["values"]["score"]
    assert half.details["allocation"]["plan"] == part["allocation"]["plan"]
    assert "parts" not in half.details


def test_a_confirming_trial_looks_at_no_parts(bench: Workbench) -> None:
    *_, last = bench.trial(configuration(), 0, None, confirm=True)
    assert "parts" not in last.details
