"""Light-PEFT's early estimate: its scores are the paper's, what is planted is found, and nothing is left behind."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from shapes import VIT
from torch import nn

from autopeft.allocate.ranks import by_estimate
from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl import trainable_parameters
from autopeft.errors import TrialError
from autopeft.nouns import Configuration, Module
from autopeft.tasks.batches import epoch_order
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.allocating import estimate as estimating
from autopeft.train.allocating.dealing import allocate
from autopeft.train.allocating.estimate import estimate
from autopeft.train.allocating.short import short_training, steps_of
from autopeft.train.allocating.signals import maps_of, rows_of
from autopeft.train.running import Request, Running
from autopeft.train.steering.factors import loras

torch.set_num_threads(1)
LORA = Module("lora", 2, (1, 3), (("alpha", 4), ("sites", ("q", "up"))))


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """The starter with some of its images."""
    whole = Workbench.prepare("starter", {}, resolve_task("starter").settings, Training(epochs=1))
    data = {
        split: type(data)(data.pixel_values[:160], data.labels[:160])  # type: ignore[call-arg,union-attr]
        for split, data in whole.data.items()
    }
    return Workbench(whole.backbone, whole.task, data, whole.training)


def dealt(bench: Workbench, lora: Module = LORA) -> Dealt:
    configuration = Configuration.of([lora], 5e-3, None, {"type": "light-peft"})
    return Dealt.of(configuration, bench.backbone.layout.shape)


def test_scores_are_those_of_the_paper(bench: Workbench) -> None:
    """The same training a second time, its scores written down as the paper has them: dense matrices, one token after another."""
    there, epochs = dealt(bench), 0.6
    found = estimate(bench, there, 0, times=2.0, epochs=epochs)
    wide = there.plan([there.lora(unit, 4) for unit in there.units])
    running = Running(bench, Request(wide, 0, None))
    units, maps, seen = (
        loras(running.attached, bench.backbone.layout, there.units),
        maps_of(bench, there.units),
        {},
    )
    examples = epoch_order(len(bench.data["train"]), 0, 0)
    steps = steps_of(running, epochs, len(examples))
    places: dict[Unit, list[float]] = {unit: [] for unit in units}
    ranks: dict[Unit, list[list[float]]] = {unit: [] for unit in units}

    def look(number: int) -> None:
        if number < steps // 2:
            return
        for unit, layer in units.items():
            (a, da), (b, db) = (
                (f["default"].weight.detach(), f["default"].weight.grad) for f in (layer.lora_A, layer.lora_B)
            )
            weight = maps[unit].weight.detach()
            change = layer.scaling["default"] * (b @ a)
            tokens = seen[unit].detach().flatten(0, 1)
            ratios = [float((change @ x).norm() / (weight @ x).norm()) for x in tokens]
            places[unit].append(math.fsum(ratios) / len(ratios))
            ranks[unit].append(
                [
                    abs(float((a[k] * da[k]).mean())) + abs(float((b[:, k] * db[:, k]).mean()))
                    for k in range(4)
                ]
            )

    handles = [
        maps[unit].register_forward_pre_hook(lambda m, args, unit=unit: seen.__setitem__(unit, args[0]))
        for unit in units
    ]
    try:
        short_training(bench, running, examples, steps, looked=look)
    finally:
        for handle in handles:
            handle.remove()
        running.attached.detach()
    assert steps == 3
    for unit in units:
        assert len(places[unit]) == 2
        assert found.places[unit] == pytest.approx(sum(places[unit]) / 2, rel=1e-3)
        assert found.places[unit] > 0
        wanted = torch.tensor(ranks[unit]).mean(dim=0)
        assert found.ranks[unit] == pytest.approx(wanted.tolist(), rel=1e-3, abs=1e-9)
        assert min(found.ranks[unit]) > 0


def test_the_module_that_matters_is_found(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what three of the four modules say is thrown away, so that they learn nothing."""
    there, useful = dealt(bench), Unit(3, "up")

    def planted(bench: Workbench, request: Request) -> Running:
        running = Running(bench, request)
        for unit, layer in loras(running.attached, bench.backbone.layout, there.units).items():
            if unit != useful:
                layer.lora_B["default"].register_forward_hook(lambda m, args, output: output * 0)
        return running

    monkeypatch.setattr(estimating, "Running", planted)
    found = allocate(bench, there.configuration, 0)
    assert {unit for unit, value in found.ledger.items() if value > 0} == {useful}
    rank = sizes(found.plan)[useful]
    assert there.cost - there.lora_cost(useful, rank) < there.rank_cost(useful)  # all that the budget has


def test_nothing_is_left_on_the_model_even_if_the_loss_is_no_number(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, before = dealt(bench), hooks(bench)
    estimate(bench, there, 0, times=2.0, epochs=0.4)
    assert hooks(bench) == before
    monkeypatch.setattr(bench, "loss_of", lambda logits, labels: logits.sum() * torch.nan)
    with pytest.raises(TrialError, match="the loss is nan while an allocator looks"):
        estimate(bench, there, 0, times=2.0, epochs=0.4)
    assert hooks(bench) == before
    assert not any(p.requires_grad for p in bench.backbone.model.parameters())


def hooks(bench: Workbench) -> list[tuple[str, int]]:
    modules: list[tuple[str, nn.Module]] = list(bench.backbone.model.named_modules())
    return [(name, len(m._forward_hooks) + len(m._forward_pre_hooks)) for name, m in modules]


def test_it_begins_with_modules_that_say_nothing(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """PiSSA's modules say much before they have learnt a thing; the plan has them all the same."""
    there, started = dealt(bench, Module("lora", 2, (1, 3), (("init", "pissa"), *LORA.options))), []

    def noted(bench: Workbench, request: Request) -> Running:
        running = Running(bench, request)
        layers = loras(running.attached, bench.backbone.layout, there.units).values()
        started.extend(float(layer.lora_B["default"].weight.detach().abs().max()) for layer in layers)
        return running

    monkeypatch.setattr(estimating, "Running", noted)
    plan = allocate(bench, there.configuration, 0).plan
    assert started == [0.0] * 4
    assert {m.option("init") for m in plan.modules} == {"pissa"}


def test_a_short_training_that_is_longer_than_the_trial_never_climbs(bench: Workbench) -> None:
    there = dealt(bench)
    running = Running(bench, Request(there.plan([LORA]), 0, None))
    rates: list[float] = []
    try:
        steps = 2 * running.steps
        note: Any = lambda number: rates.append(running.optimizer.param_groups[0]["lr"])  # noqa: E731
        short_training(bench, running, torch.arange(64), steps, looked=note)
    finally:
        running.attached.detach()
    assert len(rates) == steps
    assert min(rates) > 0


def test_padding_changes_no_score(
    tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"this film is {word}, says critic {i}\t{word}" for i in range(12) for word in ("good", "bad")]
    (tmp_path / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    task = resolve_task(str(tmp_path / "train.tsv"), max_length=16).settings
    training = Training(epochs=1, batch_size=8)
    bench = Workbench.prepare(str(minilm_folder), {"num_hidden_layers": 2}, task, training)
    there, batches = dealt(bench, Module("lora", 1, (0, 1), (("sites", ("q", "up")),))), bench.batches
    found = estimate(bench, there, 0, times=2.0, epochs=1.0)

    def padded(*args: Any) -> Iterator[dict[str, torch.Tensor]]:
        for batch in batches(*args):
            yield {n: nn.functional.pad(t, (0, 4)) if t.ndim == 2 else t for n, t in batch.items()}

    monkeypatch.setattr(bench, "batches", padded)
    again = estimate(bench, there, 0, times=2.0, epochs=1.0)
    for unit in there.units:
        assert again.places[unit] == pytest.approx(found.places[unit], rel=1e-3)
        assert again.ranks[unit] == pytest.approx(found.ranks[unit], rel=1e-2)


def test_padding_has_no_row() -> None:
    x, mask = torch.arange(12.0).reshape(2, 3, 2), torch.tensor([[True, True, False], [True, False, False]])
    assert rows_of(x, mask).tolist() == [[0, 1], [2, 3], [6, 7]]
    assert rows_of(x, None).shape == rows_of(x, mask[:, :2]).shape == (6, 2)


PLAIN = Module("lora", 4, (0, 1, 2), (("alpha", 8), ("sites", ("q", "up"))))
DEALT = Dealt.of(Configuration.of([PLAIN], 1e-3, None, {"type": "light-peft"}), VIT)


def sizes(plan: Configuration) -> dict[Unit, int]:
    return {Unit(i, s): int(m.size) for m in plan.modules for i in m.layers for s in m.sites}


def test_the_best_ranks_of_the_best_places_fill_the_budget() -> None:
    first, second, last = DEALT.units[0], DEALT.units[1], DEALT.units[5]
    places = dict.fromkeys(DEALT.units, 0.1) | {first: 0.5, second: 0.4, last: 0.3}
    ranks = {unit: [9.0] * 16 for unit in DEALT.units}  # of no use where the place is not kept
    ranks |= {first: [0.0, 5.0, 7.0] + [0.0] * 13, second: [1.0] * 16, last: [6.0] * 2 + [0.5] * 14}
    found = sizes(by_estimate(DEALT, places, ranks, 0.5))
    assert set(found) == {first, second, last}
    assert found[second] == 16
    assert found[first] >= 2
    assert found[last] >= 2
    plan = by_estimate(DEALT, places, ranks, 0.5)
    assert 0 <= DEALT.cost - trainable_parameters(plan, VIT) < min(DEALT.rank_cost(u) for u in (first, last))
    assert all(m.option("alpha") == 2 * m.size for m in plan.modules)


def test_where_nothing_is_known_the_first_places_have_as_much_as_each_other() -> None:
    nothing = {unit: [0.0] * 16 for unit in DEALT.units}
    found = sizes(by_estimate(DEALT, dict.fromkeys(DEALT.units, 0.0), nothing, 0.5))
    assert set(found) == set(DEALT.units[:3])
    assert max(found.values()) - min(found.values()) <= 1
