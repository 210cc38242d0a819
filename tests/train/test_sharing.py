"""Places without a gate that share a LoRA: one pair of matrices while it is trained, a copy for each place in the folder."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autopeft.adapters import load_adapter
from autopeft.adapters.lora import lora_layers
from autopeft.allocate.ranks import alike, evenly
from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl import trainable_parameters
from autopeft.dsl.finding import find_space
from autopeft.errors import InputError
from autopeft.export.put_on import check_allocation
from autopeft.nouns import Configuration, Module
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.allocated import Allocated
from autopeft.train.allocating.dealing import allocate
from autopeft.train.running import Request, Running

torch.set_num_threads(1)
LORA = Module("lora", 3, (0, 1, 2), (("alpha", 6), ("sites", ("q", "up"))))
CHOSEN = Configuration.of([LORA], 5e-3, None, {"type": "diffora", "share": True, "epochs": 0.3})


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """The starter with some of its images."""
    whole = Workbench.prepare("starter", {}, resolve_task("starter").settings, Training(epochs=1))
    data = {
        split: type(data)(data.pixel_values[:128], data.labels[:128])  # type: ignore[call-arg,union-attr]
        for split, data in whole.data.items()
    }
    return Workbench(whole.backbone, whole.task, data, whole.training)


@pytest.fixture(scope="module")
def found(bench: Workbench) -> Allocated:
    return allocate(bench, CHOSEN, 0)


def path(bench: Workbench, unit: Unit) -> str:
    return bench.backbone.layout.layers[unit.layer].sites[unit.site]


def ranks(plan: Configuration) -> dict[Unit, int]:
    return {Unit(i, s): int(m.size) for m in plan.modules for i in m.layers for s in m.sites}


def test_no_place_is_without_a_module_and_the_budget_holds(bench: Workbench, found: Allocated) -> None:
    shape, sizes = bench.backbone.layout.shape, ranks(found.plan)
    assert len(sizes) == 6
    widest = sorted(found.ledger, key=lambda unit: -found.ledger[unit])[:3]
    assert len({sizes[unit] for unit in widest}) == 1
    assert all(sizes[unit] == 1 for unit in sizes if unit not in widest)
    assert trainable_parameters(found.plan, shape) <= trainable_parameters(CHOSEN, shape)
    shared = [unit for group in found.shared for unit in group]
    assert set(shared).isdisjoint(widest)
    assert all(len(group) > 1 and len({unit.site for unit in group}) == 1 for group in found.shared)
    without = allocate(bench, Configuration.of([LORA], 5e-3, None, {"type": "diffora", "epochs": 0.3}), 0)
    assert without.shared == ()
    assert without.plan.allocation == ()
    assert set(ranks(without.plan)) == set(widest)


GROUP = (Unit(0, "up"), Unit(1, "up"), Unit(2, "up"))


def planned(bench: Workbench, *, share: bool) -> Allocated:
    """The q keep their modules, the up do not."""
    dealt = Dealt.of(CHOSEN, bench.backbone.layout.shape)
    chosen = [unit for unit in dealt.units if unit.site == "q"]
    rest = [unit for unit in dealt.units if unit.site == "up"]
    assert alike(dealt, rest) == (GROUP,)
    return Allocated(evenly(dealt, chosen, rest=rest), shared=(GROUP,) if share else ())


def test_a_shared_pair_is_there_once_and_has_the_sum_of_gradients(bench: Workbench) -> None:
    found = []
    for share in (True, False):
        running = Running(bench, Request(CHOSEN, 0, None, allocated=planned(bench, share=share)))
        try:
            layers = [lora_layers(running.attached)[path(bench, unit)] for unit in GROUP]
            pairs = [(layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in layers]
            assert len({id(p) for pair in pairs for p in pair}) == (2 if share else 6)
            held = [id(p) for group in running.optimizer.param_groups for p in group["params"]]
            assert len(held) == len(set(held))
            assert {id(p) for pair in pairs for p in pair} <= set(held)
            assert len(held) == len(running.attached.trainable())
            with torch.no_grad():  # the same numbers everywhere, in both cases
                for a, b in pairs:
                    a.copy_(torch.linspace(-1, 1, a.numel()).reshape(a.shape))
                    b.fill_(0.1)
            (batch,) = bench.batches("train", torch.arange(16), 16)
            running._gradients(running.attached.runner, batch)
            found.append([[p.grad.clone() for p in pair] for pair in pairs])  # type: ignore[union-attr]
        finally:
            running.attached.detach()
    for i in range(2):
        total = sum(pair[i] for pair in found[1])
        assert total.abs().max() > 0
        assert torch.allclose(found[0][0][i], total, rtol=1e-3, atol=1e-6)


def test_the_folder_has_a_copy_for_each_place_and_says_the_same(bench: Workbench, tmp_path: Path) -> None:
    running = Running(bench, Request(CHOSEN, 0, tmp_path, allocated=planned(bench, share=True)))
    (batch,) = bench.batches("validation", torch.arange(32), 32)
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    try:
        running.report(running.train_epoch())
        layers = [lora_layers(running.attached)[path(bench, unit)] for unit in GROUP]
        assert layers[0].lora_B["default"].weight.abs().max() > 0
        assert layers[0].lora_B["default"].weight is layers[2].lora_B["default"].weight
        with torch.no_grad():
            trained = running.attached.runner(**inputs).logits
    finally:
        running.attached.detach()
    saved = load_file(tmp_path / "adapter_model.safetensors")
    for name in ("lora_A", "lora_B"):
        copies = [t for key, t in saved.items() if any(f"{path(bench, u)}.{name}" in key for u in GROUP)]
        assert len(copies) == 3
        assert all(torch.equal(copies[0], copied) for copied in copies)
    fresh = Workbench.prepare("starter", {}, bench.task, bench.training).backbone.model
    with torch.no_grad():
        again = load_adapter(fresh, tmp_path)(**inputs).logits
    assert torch.allclose(again, trained, rtol=1e-4, atol=1e-5)


def test_a_trial_trains_and_a_script_is_refused_by_name(bench: Workbench, tmp_path: Path) -> None:
    *_, last = bench.trial(CHOSEN, 0, tmp_path)
    plan = Configuration.from_json(last.details["allocation"]["plan"])
    assert dict(plan.allocation)["share"] is True
    with pytest.raises(InputError, match=r"^diffora has a part in every step .* Export it with --to peft"):
        check_allocation(plan)
    assert not any(p.requires_grad for p in bench.backbone.model.parameters())


SPACE = """
name: shares
modules:
  lora: {type: lora, sites: [q, up], rank: 3}
training: {learning_rate: 5.0e-3}
allocation: {type: diffora, share: {choice: [false, true]}}
"""


def test_a_space_may_decide_it(bench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "shares.yaml").write_text(SPACE)
    space = find_space(str(tmp_path / "shares.yaml")).bind(bench.backbone.layout.shape, 10**6)
    (at,) = [i for i, one in enumerate(space.decisions) if one.name == "allocation.diffora.share"]
    for wanted in (False, True):
        values = [one.default for one in space.decisions]
        values[at] = wanted
        configuration = space.configuration(values)
        assert dict(configuration.allocation) == {"type": "diffora"} | ({"share": True} if wanted else {})
        assert Configuration.from_json(configuration.to_json()) == configuration
        assert space.assignment(configuration)[at] is wanted
