"""Ranks that grow while a trial is trained: what is there in training is what is handed out in the end."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autopeft import load_adapter
from autopeft.allocate.units import Unit
from autopeft.backbones import load_backbone, model_path
from autopeft.dsl import trainable_parameters
from autopeft.errors import TrialError
from autopeft.nouns import Configuration, Module
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.allocating.dealing import allocate
from autopeft.train.running import Request, Running
from autopeft.train.steering.growing import Growing

torch.set_num_threads(1)
LORA = Module("lora", 2, (2, 3), (("alpha", 4), ("sites", ("up", "down"))))
KINDS = ("increlora", "triadaptlora")


@pytest.fixture(scope="module")
def bench() -> Workbench:
    whole = Workbench.prepare("starter", {}, resolve_task("starter").settings, Training(epochs=1))
    data = {
        split: type(data)(data.pixel_values[:256], data.labels[:256])  # type: ignore[call-arg,union-attr]
        for split, data in whole.data.items()
    }
    return Workbench(whole.backbone, whole.task, data, replace(whole.training, epochs=3))


BESIDE = (
    Module("bottleneck", 2, (1,), (("position", "serial"), ("sites", ("ffn",)))),
    Module("vera", 2, (0, 1), (("sites", ("q",)),)),  # with fixed matrices that are drawn
)


def configuration(kind: str, lora: Module = LORA, *beside: Module) -> Configuration:
    return Configuration.of([lora, *beside], 5e-3, None, {"type": kind})


def running(bench: Workbench, kind: str, lora: Module = LORA, *beside: Module) -> Running:
    chosen = configuration(kind, lora, *beside)
    return Running(bench, Request(chosen, 0, None, allocated=allocate(bench, chosen, 0)))


def logits(bench: Workbench, trial: Running) -> torch.Tensor:
    (batch,) = bench.batches("validation", torch.arange(16), 16)
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    with torch.inference_mode():
        found: torch.Tensor = trial.attached.runner.eval()(**inputs).logits
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rslora", [False, True])
def test_what_is_handed_out_is_what_was_trained(kind: str, rslora: bool, bench: Workbench) -> None:
    options = (("alpha", 4), ("rslora", rslora), ("sites", ("up", "down")))
    trial = running(bench, kind, replace(LORA, options=options), *BESIDE)
    try:
        for _ in range(2):
            trial.train_epoch()
        before, steering = logits(bench, trial), trial._steering
        assert isinstance(steering, Growing)
        ranks = {unit: core.ranks for unit, core in steering.cores.items()}
        trial._settle()
        assert torch.allclose(logits(bench, trial), before, atol=1e-5)
        assert dict(trial.configuration.allocation) == {
            "type": kind
        }  # no plain LoRA: it was not trained like one
        modules = [m for m in trial.configuration.modules if m.type == "lora"]
        assert {Unit(layer, s): m.size for m in modules for layer in m.layers for s in m.sites} == ranks
        shape = bench.backbone.layout.shape
        allowed = trainable_parameters(configuration(kind, LORA, *BESIDE), shape)
        found = trainable_parameters(trial.configuration, shape)
        assert found == sum(p.numel() for p in trial.attached.module_parameters()) <= allowed
        assert max(ranks.values()) > 1
    finally:
        trial.attached.detach()


@pytest.mark.parametrize("kind", KINDS)
def test_begins_as_the_frozen_backbone_and_trains_only_ranks_that_are_there(
    kind: str, bench: Workbench
) -> None:
    frozen = Running(bench, Request(Configuration.of([], 5e-3), 0, None))
    wanted = logits(bench, frozen)
    frozen.attached.detach()
    trial = running(bench, kind)
    try:
        assert torch.allclose(logits(bench, trial), wanted, atol=1e-5)
        steering = trial._steering
        assert isinstance(steering, Growing)
        (batch,) = bench.batches("train", torch.arange(32), 32)
        trial._gradients(trial.attached.runner, batch)
        for unit, core in steering.cores.items():
            layer, reserve = steering.layers[unit], core.ranks + (kind == "increlora")
            a, b = layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad
            assert not a[reserve:].any()
            assert not b[:, reserve:].any()
            assert core.values.grad is not None
            assert core.values.grad[:1].any()
            assert not core.values.grad[1:].any()
    finally:
        trial.attached.detach()


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_grow_where_they_matter(kind: str, bench: Workbench) -> None:
    """Planted: what three of the four modules say is thrown away, so that the fourth alone can lower the loss."""
    useful, trial = Unit(3, "up"), running(bench, kind)
    try:
        steering = trial._steering
        assert isinstance(steering, Growing)
        for unit, layer in steering.layers.items():
            if unit != useful:
                layer.lora_B["default"].register_forward_hook(lambda m, a, output: output * 0)
        for _ in range(3):
            trial.train_epoch()
        ranks = {unit: core.ranks for unit, core in steering.cores.items()}
        assert max(ranks, key=ranks.__getitem__) == useful
        assert ranks[useful] > 2  # more than an even share
    finally:
        trial.attached.detach()


@pytest.mark.parametrize("kind", [*KINDS, "dylora"])
@pytest.mark.parametrize(("options", "said"), [({"dora": True}, "dora"), ({"init": "pissa"}, "init pissa")])
def test_factors_of_another_kind_are_refused_by_name(
    kind: str, options: dict[str, object], said: str, bench: Workbench
) -> None:
    lora = replace(LORA, options=tuple(sorted({**dict(LORA.options), **options}.items())))
    with pytest.raises(TrialError, match=f"{kind} trains factors of its own and cannot have {said}"):
        running(bench, kind, lora)
    assert not any(p.requires_grad for p in bench.backbone.model.parameters())


@pytest.mark.parametrize("kind", [*KINDS, "dylora"])
def test_the_saved_folder_is_what_was_scored(kind: str, bench: Workbench, tmp_path: Path) -> None:
    *_, last = bench.trial(configuration(kind, LORA, BESIDE[0]), 0, tmp_path)
    fresh = load_backbone(
        model_path("starter"), modality="image", problem="classification", num_labels=bench.task.num_labels
    )
    loaded = load_adapter(fresh.model, tmp_path)
    assert bench.score(loaded, "validation") == last.values["score"]
    for part in last.details.get("parts", []):
        fresh = load_backbone(
            model_path("starter"),
            modality="image",
            problem="classification",
            num_labels=bench.task.num_labels,
        )
        assert bench.score(load_adapter(fresh.model, part["folder"]), "validation") == part["values"]["score"]
