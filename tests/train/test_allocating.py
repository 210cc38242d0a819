"""Allocators on real models: what they look at is right, what is planted is found, and what they touch is put back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl import ALLOCATORS, trainable_parameters
from autopeft.errors import TrialError
from autopeft.nouns import Configuration, Module
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.allocating import gates, signals
from autopeft.train.allocating.dealing import allocate
from autopeft.train.running import Request, Running
from autopeft.train.steering import Steered
from autopeft.train.steering.layers import Layers, find_layers

torch.set_num_threads(1)
LORA = Module("lora", 2, (0, 1, 2, 3), (("alpha", 4), ("sites", ("q", "v", "up", "down"))))
OF_TYPE = {
    "lora": LORA,
    "bottleneck": Module("bottleneck", 2, (0, 1, 2), (("position", "serial"), ("sites", ("ffn",)))),
    "sparse": Module(
        "sparse", 0.05, (0, 1, 2, 3), (("mask", "magnitude"), ("sites", ("q", "v", "up", "down")))
    ),
}
FEW = 128  # examples


@pytest.fixture(scope="module")
def whole() -> Workbench:
    """The starter with all of its images."""
    return Workbench.prepare("starter", {}, resolve_task("starter").settings, Training(epochs=1))


@pytest.fixture(scope="module")
def bench(whole: Workbench) -> Workbench:
    """The starter with some of its images."""
    return part(whole, FEW)


def part(whole: Workbench, examples: int) -> Workbench:
    data = {
        split: type(data)(data.pixel_values[:examples], data.labels[:examples])  # type: ignore[call-arg,union-attr]
        for split, data in whole.data.items()
    }
    return Workbench(whole.backbone, whole.task, data, whole.training)


def configuration(kind: str, *modules: Module, **fields: object) -> Configuration:
    return Configuration.of(modules or (LORA,), 5e-3, None, {"type": kind, **fields})


def state(bench: Workbench) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in bench.backbone.model.state_dict().items()}


def is_untouched(bench: Workbench, before: dict[str, torch.Tensor]) -> bool:
    after = bench.backbone.model.state_dict()
    heads = tuple(f"{path}." for path in bench.backbone.head)
    before = {
        name: tensor for name, tensor in before.items() if not name.startswith(heads)
    }  # each trial's own
    after = {name: tensor for name, tensor in after.items() if not name.startswith(heads)}
    same = all(torch.equal(before[name], after[name]) for name in before) and before.keys() == after.keys()
    return same and not any(p.requires_grad for p in bench.backbone.model.parameters())


@pytest.mark.parametrize("kind", [name for name in ALLOCATORS if name != "uniform"])
def test_every_allocator_trains_a_plan_of_the_budget_and_leaves_nothing_behind(
    kind: str, bench: Workbench, tmp_path: Path
) -> None:
    before, chosen = state(bench), configuration(kind, *(OF_TYPE[name] for name in ALLOCATORS[kind].types))
    shape = bench.backbone.layout.shape
    *_, last = bench.trial(chosen, 0, tmp_path)
    record = last.details["allocation"]
    plan = Configuration.from_json(record["plan"])
    assert record["trainable"] == trainable_parameters(plan, shape) <= trainable_parameters(chosen, shape)
    assert last.values["seconds"] > record["seconds"] >= 0
    assert 0 <= last.values["score"] <= 1
    assert is_untouched(bench, before)
    assert any(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [name for name in ALLOCATORS if name != "uniform"])
def test_every_allocator_does_without_the_frozen_layers(kind: str, bench: Workbench, tmp_path: Path) -> None:
    cached = Workbench(bench.backbone, bench.task, bench.data, bench.training, cache=tmp_path)
    modules = [replace(OF_TYPE[name], layers=(4, 5)) for name in ALLOCATORS[kind].types]
    *_, wanted = bench.trial(configuration(kind, *modules), 0, None)
    *_, found = cached.trial(configuration(kind, *modules), 0, None)
    assert found.details["layers_left_out"] >= 4 > wanted.details["layers_left_out"]
    assert found.details["allocation"]["plan"] == wanted.details["allocation"]["plan"]
    assert found.values["train_loss"] == pytest.approx(wanted.values["train_loss"], abs=1e-4)


@pytest.mark.parametrize("kind", ["spt", "knapsack", "diffora", "random", "eva"])
def test_one_seed_has_one_plan(kind: str, bench: Workbench) -> None:
    first, again = (allocate(bench, configuration(kind), 3) for _ in range(2))
    assert first.plan == again.plan
    assert first.ledger == again.ledger


def test_sensitive_tuning_spends_its_budget(bench: Workbench) -> None:
    chosen, shape = configuration("spt"), bench.backbone.layout.shape
    found = allocate(bench, chosen, 0)
    most = trainable_parameters(chosen, shape)
    assert 0.99 * most <= trainable_parameters(found.plan, shape) <= most
    assert {m.type for m in found.plan.modules} <= {"lora", "sparse", "bias"}


def test_entries_that_are_trained_are_the_most_sensitive_of_their_matrix(bench: Workbench) -> None:
    found = allocate(bench, configuration("spt", threshold=1e-3, vectors=0), 0)  # never a module
    assert {m.type for m in found.plan.modules} == {"sparse"}
    running = Running(bench, Request(configuration("spt"), 0, None, allocated=found))
    try:
        for name, delta in running.attached.own.items():
            layer, site = name.removeprefix("layer").split("_")[:2]
            scores = found.scores(bench.backbone.layout.layers[int(layer)].sites[site]).reshape(-1)  # type: ignore[misc]
            chosen = scores[delta.indices.long()]
            assert chosen.min() >= scores.topk(len(chosen)).values[-1]
    finally:
        running.attached.detach()


def test_squared_gradients_are_those_of_each_batch_squared_and_added(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [Unit(0, "q"), Unit(2, "up"), Unit(5, "down")]
    maps = signals.maps_of(bench, units)
    batches = list(bench.batches("train", torch.arange(48), 16))
    wanted = {unit: torch.zeros_like(maps[unit].weight) for unit in units}  # type: ignore[arg-type]
    for unit in units:
        maps[unit].weight.requires_grad_(True)  # type: ignore[union-attr]
    for batch in batches:
        inputs = {name: t for name, t in batch.items() if name != "labels"}
        loss = torch.nn.functional.cross_entropy(bench.backbone.model(**inputs).logits, batch["labels"])
        for unit, gradient in zip(
            units, torch.autograd.grad(loss, [maps[u].weight for u in units]), strict=True
        ):
            wanted[unit] += gradient**2
    bench.backbone.model.requires_grad_(False)
    whole = dict(signals.squared_gradients(bench, maps, batches))
    monkeypatch.setattr(signals, "MOST_BYTES", 1)  # one matrix at a time
    parts = dict(signals.squared_gradients(bench, maps, batches))
    for unit in units:
        assert torch.allclose(whole[unit], wanted[unit], rtol=1e-4, atol=1e-12)
        assert torch.allclose(parts[unit], whole[unit], rtol=1e-4, atol=1e-12)
    assert not any(p.requires_grad for p in bench.backbone.model.parameters())


def test_spectra_are_shares_of_the_inputs_variance(bench: Workbench) -> None:
    unit = Unit(1, "q")
    maps, seen = signals.maps_of(bench, [unit]), []
    batches = list(bench.batches("train", torch.arange(32), 16))
    handle = maps[unit].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    found = signals.input_spectra(bench, maps, batches, 5)[unit]
    handle.remove()
    singular = torch.linalg.svdvals(torch.cat([x.reshape(-1, x.shape[-1]) for x in seen]).double()).square()
    assert found == pytest.approx((singular / singular.sum())[:5].tolist(), rel=1e-6)


def test_gates_find_the_modules_that_matter(whole: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what three of the four modules say is thrown away, so that the fourth alone can lower the loss."""
    lora = Module("lora", 2, (2, 3), (("alpha", 4), ("sites", ("up", "down"))))
    bench = part(whole, 800)
    dealt = Dealt.of(configuration("diffora", lora), bench.backbone.layout.shape)
    useful = Unit(3, "up")
    put_on = gates._put_on

    def put_on_some(bench: Workbench, running: Running, dealt: Dealt, logits: torch.Tensor) -> list[object]:
        handles = put_on(bench, running, dealt, logits)
        for unit in dealt.units:
            path = bench.backbone.layout.layers[unit.layer].sites[unit.site]
            layer = next(a.layers[path] for a in running.attached.stack.adapters if path in a.layers)
            if unit != useful:
                handles.append(layer.lora_B["default"].register_forward_hook(lambda m, a, output: output * 0))
        return handles

    monkeypatch.setattr(gates, "_put_on", put_on_some)
    found = gates.open_gates(bench, dealt, 0, keep=0.25, epochs=3.0, held=0.3)
    assert max(found.widths, key=found.widths.__getitem__) == useful
    (module,) = found.plan.modules
    assert (module.layers, module.sites) == ((3,), ("up",))
    assert all(found.widths[unit] == pytest.approx(1.0, abs=1e-6) for unit in dealt.units if unit != useful)


def running(bench: Workbench, kind: str, *modules: Module, **fields: object) -> Running:
    return Running(bench, Request(configuration(kind, *modules, **fields), 0, None))


def steered(bench: Workbench, trial: Running) -> Steered:
    wanted = trial.request.configuration
    return Steered(wanted, trial.attached, trial.optimizer, bench.backbone.layout, 10, 0, lambda rng: 1.0)


def test_a_step_trains_the_layers_that_were_drawn_and_no_others(bench: Workbench) -> None:
    trial = running(bench, "rst", active=0.5)
    try:
        layers = trial._steering
        assert isinstance(layers, Layers)
        (batch,) = bench.batches("train", torch.arange(16), 16)
        for number in range(4):
            before = {
                layer: [p.detach().clone() for p in parameters]
                for layer, parameters in layers.parameters.items()
            }
            trial._gradients(trial.attached.runner, batch)
            active = {layer for layer, ps in layers.parameters.items() if ps[0].requires_grad}
            assert len(active) == 2
            for layer, parameters in layers.parameters.items():
                assert all((p.grad is None) == (layer not in active) for p in parameters)
            trial.optimizer.step()
            trial.optimizer.zero_grad()
            for layer, parameters in layers.parameters.items():
                same = [torch.equal(a, b) for a, b in zip(before[layer], parameters, strict=True)]
                assert all(same) if layer not in active else not all(same), number
    finally:
        trial.attached.detach()


def test_frozen_layers_save_memory(bench: Workbench) -> None:
    """Bytes that are kept for the backward pass, with all layers and with a part of them."""

    def kept(kind: str, **fields: object) -> int:
        trial, total = running(bench, kind, **fields), 0

        def note(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        try:
            (batch,) = bench.batches("train", torch.arange(16), 16)
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                trial._gradients(trial.attached.runner, batch)
        finally:
            trial.attached.detach()
        return total

    assert kept("rst", active=0.25) < kept("random")


@pytest.mark.parametrize(
    "module",
    [
        LORA,
        Module("bottleneck", 3, (0, 1, 2), (("position", "parallel"), ("scaling", 4), ("sites", ("ffn",)))),
    ],
    ids=["lora", "bottleneck"],
)
def test_a_look_puts_every_scaling_back_even_if_it_fails(module: Module, bench: Workbench) -> None:
    different = replace(module, layers=(module.layers[-1],), size=1)
    whole = (replace(module, layers=module.layers[:-1]), different)
    trial = running(bench, "ist", *whole)
    try:
        layers = trial._steering
        assert isinstance(layers, Layers)
        before = {layer: [factor for _, factor in found] for layer, found in layers.scalings.items()}
        assert all(before.values())

        def fails() -> float:
            raise RuntimeError("no loss")

        with pytest.raises(RuntimeError, match="no loss"):
            layers.look(fails)
        layers.look(iter([1.0, 2.0, 3.0]).__next__)
        again = find_layers(steered(bench, trial), {"active": 0.5})
        assert again is not None
        assert {layer: [factor for _, factor in found] for layer, found in again.scalings.items()} == before
    finally:
        trial.attached.detach()


def test_looks_order_layers_by_what_damping_them_costs(bench: Workbench) -> None:
    """Planted: the loss rises by what each damped layer is worth; after rounds enough the order is found."""
    trial = running(bench, "ist")
    worth = {0: 0.05, 1: 0.4, 2: 0.1, 3: 0.0}
    try:
        layers = trial._steering
        assert isinstance(layers, Layers)
        damped: list[int] = []
        for layer, found in layers.scalings.items():
            layers.scalings[layer] = [
                (lambda value, layer=layer, factor=factor: note(layer, value < factor), factor)
                for _, factor in found[:1]
            ]

        def note(layer: int, less: bool) -> None:
            damped.append(layer) if less else damped.remove(layer)

        for _ in range(300):
            layers.look(lambda: 1.0 + sum(worth[layer] for layer in damped))
        importance = layers.importance()
        assert sorted(importance, key=importance.__getitem__) == sorted(worth, key=worth.__getitem__)
    finally:
        trial.attached.detach()


def test_modules_in_one_layer_leave_nothing_to_choose(bench: Workbench) -> None:
    trial = running(bench, "ist", replace(LORA, layers=(2,)))
    try:
        assert trial._steering is None
    finally:
        trial.attached.detach()


def test_quantised_weights_have_no_gradients_to_look_at(bench: Workbench) -> None:
    linear = torch.nn.Linear(4, 4)
    linear.weight = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(TrialError, match="--quantize none"):
        list(signals.squared_gradients(bench, {Unit(0, "q"): linear}, []))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000))
def test_a_plan_survives_json(seed: int) -> None:
    plan = Configuration.of(
        [replace(LORA, size=1 + seed % 7)], 1e-3, None, {"type": "spt", "threshold": seed + 1}
    )
    assert Configuration.from_json(plan.to_json()) == plan
