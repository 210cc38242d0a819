"""Sensitivity-aware plans on real models: what is planted is found, and every mixture of modules trains, is saved and comes back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny import save_model
from torch.nn import functional

from autopeft import load_adapter
from autopeft.allocate.units import Unit
from autopeft.dsl import trainable_parameters
from autopeft.dsl.describe import describe
from autopeft.nouns import Configuration, Module
from autopeft.tasks.batches import evaluation_order
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.allocated import Allocated
from autopeft.train.allocating import signals
from autopeft.train.allocating.dealing import allocate
from autopeft.train.running import Request, Running

torch.set_num_threads(1)
SERIAL = Module("bottleneck", 2, (0, 1, 2, 3), (("position", "serial"), ("sites", ("ffn",))))
BESIDE = Module("bottleneck", 1, (0, 1), (("position", "parallel"), ("sites", ("attention",))))
LORA = Module("lora", 2, (0, 1, 2, 3), (("alpha", 4), ("sites", ("q", "v"))))


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """The starter with some of its images."""
    whole = Workbench.prepare("starter", {}, resolve_task("starter").settings, Training(epochs=1))
    data = {split: type(d)(d.pixel_values[:64], d.labels[:64]) for split, d in whole.data.items()}  # type: ignore[call-arg,union-attr]
    return Workbench(whole.backbone, whole.task, data, whole.training)


def spt(*modules: Module, **fields: float) -> Configuration:
    return Configuration.of(modules, 5e-3, None, {"type": "spt", "examples": 32, **fields})


def at(found: Allocated, kind: str) -> set[Unit]:
    return {Unit(i, s) for m in found.plan.modules if m.type == kind for i in m.layers for s in m.sites}


def linear(bench: Workbench, unit: Unit) -> torch.nn.Linear:
    found = bench.backbone.model.get_submodule(bench.backbone.layout.layers[unit.layer].sites[unit.site])
    assert isinstance(found, torch.nn.Linear)
    return found


@contextmanager
def planted(
    bench: Workbench, unit: Unit, part: Callable[[torch.nn.Linear, torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """Inside, a part of a map's output counts a thousand times as much for the gradients of what it is made of, and for no others."""

    def more(module: torch.nn.Linear, args: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
        found = part(module, args[0].detach())
        return y + 1e3 * (found - found.detach())

    handle = linear(bench, unit).register_forward_hook(more)
    try:
        yield
    finally:
        handle.remove()


def test_a_block_that_matters_gets_its_bottleneck(bench: Workbench) -> None:
    def weight(module: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, module.weight)

    with planted(bench, Unit(2, "up"), weight), planted(bench, Unit(2, "down"), weight):
        found = allocate(bench, spt(SERIAL, times=3), 0)  # there is room for one
    assert at(found, "bottleneck") == {Unit(2, "ffn")}
    assert next(m.size for m in found.plan.modules if m.type == "bottleneck") == 6
    assert not at(found, "sparse") & {Unit(2, "up"), Unit(2, "down")}


def test_a_bias_that_matters_is_trained(bench: Workbench) -> None:
    def bias(module: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        return module.bias

    with planted(bench, Unit(1, "v"), bias):
        found = allocate(bench, spt(LORA, threshold=1e-3, vectors=1), 0)
        never = allocate(bench, spt(LORA, threshold=1e-3, vectors=0), 0)
    assert at(found, "bias") == {Unit(1, "v")}
    assert at(never, "bias") == set()


def test_weights_that_matter_are_the_ones_that_are_trained(bench: Workbench) -> None:
    unit = Unit(2, "down")
    mask = torch.zeros_like(linear(bench, unit).weight)
    mask.view(-1)[torch.arange(7, 400, 13)] = 1

    def some(module: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, module.weight * mask)

    with planted(bench, unit, some):
        chosen = spt(SERIAL, threshold=1e-3, vectors=0)
        found = allocate(bench, chosen, 0)
    running = Running(bench, Request(chosen, 0, None, allocated=found))
    try:
        (name,) = (name for name in running.attached.own if name.startswith("layer2_down_sparse"))
        trained = set(running.attached.own[name].indices.tolist())
    finally:
        running.attached.detach()
    wanted = set(mask.view(-1).nonzero().squeeze(1).tolist())
    assert len(wanted - trained) <= 1  # one hidden unit hardly ever says anything


def test_one_seed_has_one_plan_of_the_whole_budget(bench: Workbench) -> None:
    chosen, shape = spt(LORA, SERIAL, BESIDE, times=2), bench.backbone.layout.shape
    first, again = (allocate(bench, chosen, 3) for _ in range(2))
    assert (first.plan, first.ledger) == (again.plan, again.ledger)
    most = trainable_parameters(chosen, shape)
    assert 0.99 * most <= trainable_parameters(first.plan, shape) <= most
    assert {unit.site for unit in first.ledger} == {"q", "k", "v", "o", "up", "down"}


def test_what_is_no_number_counts_as_nothing(bench: Workbench) -> None:
    maps = signals.maps_of(bench, [Unit(1, "q"), Unit(3, "up")])
    tensors = {unit: signals.weight_of(one) for unit, one in maps.items()}
    (batch,) = bench.batches("train", torch.arange(8), 8)
    handle = maps[Unit(3, "up")].register_forward_hook(lambda module, args, y: y * float("inf"))
    try:
        found = dict(signals.squares_of(bench, tensors, [batch]))
    finally:
        handle.remove()
    assert all(one.count_nonzero() == 0 for one in found.values())


def prepare(kind: str, folder: Path) -> Workbench:
    words = ("good", "bad")
    lines = [f"this film is {words[i % 2]}, says critic {i}" for i in range(32)]
    model = save_model(kind, folder / kind, lines)
    if kind == "gpt2":
        data = folder / "lines.txt"
        data.write_text("\n".join(lines))
    else:
        data = folder / "train.tsv"
        rows = [f"{line}\t{words[i % 2]}" for i, line in enumerate(lines)]
        data.write_text("\n".join(["text\tlabel", *rows]) + "\n")
    task = resolve_task(str(data), max_length=24)
    return Workbench.prepare(str(model), {}, task.settings, Training(epochs=1, batch_size=8))


@pytest.mark.parametrize("kind", ["roberta", "gpt2"])
def test_every_kind_of_module_together_trains_and_comes_back(kind: str, tmp_path: Path) -> None:
    """On text, with biases everywhere; in GPT-2 queries, keys and values are one map and weights are transposed."""
    bench = prepare(kind, tmp_path)
    lora = replace(LORA, layers=(0, 1), options=(("alpha", 4), ("sites", ("qkv", "q", "v", "down"))))
    modules = (lora, replace(SERIAL, layers=(0, 1)), BESIDE)
    chosen = spt(*modules, times=2, threshold=3, vectors=4)
    found = allocate(bench, chosen, 0)
    shape = bench.backbone.layout.shape
    most = trainable_parameters(chosen, shape)
    assert {m.type for m in found.plan.modules} == {"lora", "bottleneck", "sparse", "bias"}
    assert 0.99 * most <= trainable_parameters(found.plan, shape) <= most
    running = Running(bench, Request(chosen, 0, tmp_path / "adapter", allocated=found))
    try:
        before = [p.detach().clone() for p in running.attached.module_parameters()]
        loss = running.train_epoch()
        for one, parameter in zip(before, running.attached.module_parameters(), strict=True):
            assert not torch.equal(one, parameter)
        running.report(loss)
        wanted = logits(bench, running.attached.runner)
    finally:
        running.attached.detach()
    model = load_adapter(fresh(kind, tmp_path / kind), tmp_path / "adapter")
    assert torch.allclose(logits(bench, model), wanted, atol=1e-5)
    told = describe(found.plan, len(shape.layers))
    assert all(word in told for word in ("lora 4 on", "sparse (sensitivity):", "bias on"))
    assert "serial 4" in told or "parallel 2 on attention" in told


def fresh(kind: str, folder: Path) -> Any:
    auto = (
        transformers.AutoModelForCausalLM
        if kind == "gpt2"
        else transformers.AutoModelForSequenceClassification
    )
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    model = auto.from_pretrained(folder)
    transformers.utils.logging.set_verbosity(level)
    return model.eval()


@torch.inference_mode()
def logits(bench: Workbench, model: torch.nn.Module) -> torch.Tensor:
    model.eval()
    order = evaluation_order(bench.data["validation"])
    (batch,) = bench.batches("validation", order, len(order))
    return model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits
