"""Entries that join or are swapped while they are trained: which, as a naive dense implementation has it, and that nothing else moves."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from backbones.architectures import find, inputs, save
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from autopeft import load_adapter
from autopeft.adapters import Attached, attach
from autopeft.adapters.own import attach_own, own_name
from autopeft.adapters.sparse import SparseDelta
from autopeft.adapters.stack import Stack
from autopeft.backbones import Layout, load_backbone, model_path
from autopeft.backbones.layout import LayerLayout
from autopeft.dsl import trainable_parameters
from autopeft.errors import InputError, TrialError
from autopeft.export.put_on import check_allocation
from autopeft.nouns import BackboneShape, Configuration, LayerShape, Module, Place
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.loop import accumulate, step
from autopeft.train.steering import Settled, Steered, Steering, find_steering
from autopeft.train.steering.entries import LOOKS, Growing, Swapping

torch.set_num_threads(1)
LAYERS = (0, 1)
INPUTS, OUTPUTS = 20, 10


def sparse(density: float, *sites: str, mask: str = "random", layers: tuple[int, ...] = LAYERS) -> Module:
    return Module("sparse", density, layers, (("mask", mask), ("sites", sites)))


@dataclass
class Trial:
    """A model with an allocator at work on it, and the steps of a training, one by one."""

    model: nn.Module
    attached: Attached
    steering: Steering
    optimizer: torch.optim.Optimizer
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    max_grad_norm: float

    def gradients(self, number: int, batch: dict[str, torch.Tensor], rows: int | None = None) -> None:
        self.steering.before(number)
        accumulate(self.model, self.loss, batch, rows)
        self.steering.gradients(number)

    def step(self, number: int, batch: dict[str, torch.Tensor], rows: int | None = None) -> None:
        self.gradients(number, batch, rows)
        schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)
        step(self.optimizer, schedule, self.max_grad_norm)

    @property
    def deltas(self) -> dict[str, SparseDelta]:
        return {name: one for name, one in self.attached.own.items() if isinstance(one, SparseDelta)}

    def weights(self) -> dict[str, nn.Parameter]:
        """Of the maps that have deltas, by the names of those."""
        layout = self.steering.steered.layout  # type: ignore[attr-defined]
        found = {}
        for name in self.deltas:
            layer, site = name.removeprefix("layer").split("_")[:2]
            found[name] = self.model.get_submodule(layout.layers[int(layer)].sites[site]).weight
        return found  # type: ignore[return-value]

    def dense_gradients(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """By each whole weight, flat, with the deltas in their places; the long way round."""
        weights = self.weights()
        for weight in weights.values():
            weight.requires_grad_(True)
        given = {name: tensor for name, tensor in batch.items() if name != "labels"}
        loss = self.loss(self.model(**given).logits, batch["labels"])
        found = torch.autograd.grad(loss, list(weights.values()))
        for weight in weights.values():
            weight.requires_grad_(False)
        return dict(zip(weights, (one.reshape(-1) for one in found), strict=True))


def started(
    model: nn.Module,
    attached: Attached,
    layout: Layout,
    configuration: Configuration,
    steps: int,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    rate: float = 1e-2,
    decay: float = 0.0,
    max_grad_norm: float = 1.0,
) -> Trial:
    optimizer = torch.optim.AdamW(attached.trainable(), lr=rate, weight_decay=decay, fused=True)
    steered = Steered(configuration, attached, optimizer, layout, steps, 0, lambda rng: 0.0, max_grad_norm)
    steering = find_steering(steered)
    assert steering is not None
    return Trial(model, attached, steering, optimizer, loss, max_grad_norm)


def tiny(
    name: str, folder: Path, kind: str, steps: int, **fields: float
) -> tuple[Trial, dict[str, torch.Tensor]]:
    """A tiny model, entries at two of its sites, and a batch."""
    architecture = find(name)
    backbone = load_backbone(
        save(architecture, folder), modality="text", num_labels=3, problem="classification"
    )
    sites, layers = (architecture.sites.split()[0], "down"), tuple(range(len(backbone.layout.layers)))
    configuration = Configuration.of(
        [sparse(0.05, *sites, layers=layers)], 1e-2, None, {"type": kind, **fields}
    )
    torch.manual_seed(1)
    attached = attach(backbone.model, backbone.layout, backbone.head, configuration)
    trial = started(
        backbone.model.eval(), attached, backbone.layout, configuration, steps, functional.cross_entropy
    )
    batch = {**inputs(architecture)}
    count = len(next(iter(batch.values())))
    return trial, {**batch, "labels": torch.arange(count) % 3}


class Map(nn.Module):
    """One linear map, as a model."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.map = Conv1D(OUTPUTS, INPUTS) if transposed else nn.Linear(INPUTS, OUTPUTS)
        nn.init.normal_(self.map.weight)
        self.requires_grad_(False)
        self.device = torch.device("cpu")

    def forward(self, x: torch.Tensor) -> object:
        return type("Output", (), {"logits": self.map(x)})


def single(kind: str, count: int, steps: int, *, transposed: bool = False, **further: float) -> Trial:
    """An allocator at one map, of so many entries that chance has drawn."""
    torch.manual_seed(2)
    model = Map(transposed)
    shape = BackboneShape(
        INPUTS * OUTPUTS,
        INPUTS,
        1,
        INPUTS,
        (LayerShape({"q": Place("linear", INPUTS, OUTPUTS, transposed=transposed)}),),
    )
    layout = Layout((LayerLayout("map", {"q": "map"}, "", (), {}),), shape, "")
    module = sparse(count / (INPUTS * OUTPUTS), "q", layers=(0,))
    names = ("rate", "decay", "max_grad_norm")
    fields = {name: value for name, value in further.items() if name not in names}
    configuration = Configuration.of([module], 1e-2, None, {"type": kind, **fields})
    own, undo = attach_own(model, layout, module, 0, "q")
    modules = nn.ModuleDict({own_name(module, 0, "q"): own})
    model.add_module("autopeft_modules", modules)
    attached = Attached(model, modules, [], Stack(model), [undo], ())  # type: ignore[arg-type]
    return started(
        model,
        attached,
        layout,
        configuration,
        steps,
        lambda y, target: (y - target).square().sum(-1).mean(),
        **{name: further[name] for name in names if name in further},
    )


def regression(trial: Trial, changed: torch.Tensor, seed: int, rows: int = 64) -> dict[str, torch.Tensor]:
    """What the map would say if these entries of its weight were one larger."""
    x = torch.randn(rows, INPUTS, generator=torch.Generator().manual_seed(seed))
    linear = trial.model.map
    weight = linear.weight.detach().clone()
    weight.view(-1)[changed] += 1.0
    weight = weight.T if isinstance(linear, Conv1D) else weight
    return {"x": x, "labels": functional.linear(x, weight, linear.bias)}  # type: ignore[arg-type]


def entries(trial: Trial) -> dict[str, set[int]]:
    return {name: set(delta.indices.tolist()) for name, delta in trial.deltas.items()}


def rows_of(trial: Trial, name: str) -> dict[int, tuple[float, ...]]:
    """Of each entry its delta and its two moments."""
    delta = trial.deltas[name]
    state = trial.optimizer.state[delta.values]
    columns = (delta.values, state["exp_avg"], state["exp_avg_sq"])
    each = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(delta.indices.tolist(), each, strict=True))


# -- ID3 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "ALBERT"])
def test_entries_join_that_a_dense_implementation_would_unmask(
    name: str, power: float, tmp_path: Path
) -> None:
    """ALBERT comes to each of its maps twice."""
    steps = 5
    trial, batch = tiny(name, tmp_path, "id3", steps, power=power)
    assert isinstance(trial.steering, Growing)
    budget, found = trial.steering.budget, {name: set[int]() for name in trial.deltas}
    assert entries(trial) == found
    for number in range(steps):
        gradients = trial.dense_gradients(batch)
        ranked = sorted(
            (-float(abs(g) / (abs(w) + 1e-3) ** power), name, i)
            for name, weight in trial.weights().items()
            for i, (g, w) in enumerate(
                zip(gradients[name].tolist(), weight.reshape(-1).tolist(), strict=True)
            )
            if i not in found[name]
        )
        room = budget * (number + 1) // steps - sum(map(len, found.values()))
        for _, at, i in ranked[:room]:
            found[at].add(i)
        trial.gradients(number, batch)
        assert entries(trial) == found
        for at, delta in trial.deltas.items():
            if found[at]:
                torch.testing.assert_close(delta.values.grad, gradients[at][delta.indices.long()])
        trial.optimizer.step()
        trial.optimizer.zero_grad()
    assert sum(map(len, found.values())) == budget


@pytest.mark.parametrize("transposed", [False, True])
def test_of_a_map_the_planted_entries_alone_join(transposed: bool) -> None:
    """Planted: four entries have a gradient, because others' inputs or the gradients of their outputs are 0."""
    trial = single("id3", 12, 4, transposed=transposed)
    read, said = torch.zeros(INPUTS), torch.zeros(OUTPUTS)
    read[[3, 17]] = said[[2, 9]] = 1.0
    planted = {i * OUTPUTS + o if transposed else o * INPUTS + i for i in (3, 17) for o in (2, 9)}
    batch = regression(trial, torch.tensor(sorted(planted)), 0)
    batch["x"] *= read
    whole = trial.loss
    trial.loss = lambda y, target: whole(y * said, target * said)
    for number in range(4):
        trial.step(number, batch)
    assert set().union(*entries(trial).values()) == planted


def test_what_is_not_trained_does_not_move_whatever_the_decay() -> None:
    trial = single("id3", 8, 4, decay=0.5, rate=0.1)
    (delta,) = trial.deltas.values()
    before = trial.model.map.weight.clone()
    for number in range(4):
        trial.step(number, regression(trial, torch.arange(40), number))
        whole = before + delta.dense(delta.values.detach()).T
        moved = {int(i) for i in (whole != before).reshape(-1).nonzero()}
        assert moved == set(delta.indices.tolist())
        assert len(moved) == 2 * (number + 1)
        assert delta.indices.tolist() == sorted(delta.indices.tolist())
    assert torch.equal(trial.model.map.weight, before)


@pytest.mark.parametrize("kind", ["id3", "spiel"])
def test_entries_that_stay_keep_what_they_have_come_to(kind: str) -> None:
    trial = single(kind, 40, 30, every=6) if kind == "spiel" else single(kind, 40, 30)
    (name,) = trial.deltas
    changed = 0
    for number in range(20):
        before = rows_of(trial, name) if number else {}
        batch = regression(trial, torch.arange(0, 200, 3), number)
        trial.gradients(number, batch)
        if before:
            after = rows_of(trial, name)
            assert all(after[i] == before[i] for i in before.keys() & after.keys())
            joined = after.keys() - before.keys()
            assert all(after[i][0] == 0 for i in joined)
            changed += len(joined)
        trial.optimizer.step()
        trial.optimizer.zero_grad()
    assert changed > 10


@pytest.mark.parametrize("kind", ["id3", "spiel"])
def test_where_no_weight_has_a_gradient_nothing_changes(kind: str) -> None:
    trial = single(kind, 10, 8)
    before = entries(trial)
    batch = regression(trial, torch.arange(0), 0)  # it says already what it should
    for number in range(8):
        trial.step(number, batch)
    assert entries(trial) == before
    assert all(delta.values.isfinite().all() for delta in trial.deltas.values())


@pytest.mark.parametrize("kind", ["id3", "spiel"])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(kind: str) -> None:
    """Also where memory runs out in its middle, and it begins again."""
    trial = single(kind, 30, 1, max_grad_norm=1e9)
    batch = regression(trial, torch.arange(30), 0)
    (gradients,) = trial.dense_gradients(batch).values()
    trial.steering.before(0)
    accumulate(trial.model, trial.loss, {name: tensor[:16] for name, tensor in batch.items()})
    trial.optimizer.zero_grad()
    accumulate(trial.model, trial.loss, batch, rows=16)
    (watch,) = trial.steering._watches.values()  # type: ignore[attr-defined]
    assert len(watch.positions) == 30
    torch.testing.assert_close(watch.gradient, gradients[watch.positions])


def test_a_trial_that_ends_early_is_the_plan_that_it_says(tmp_path: Path) -> None:
    trial, batch = tiny("BERT", tmp_path, "id3", 100)
    for number in range(5):  # of a hundred: few of the maps have an entry
        trial.step(number, batch)
    counts = {name: len(found) for name, found in entries(trial).items() if found}
    assert len(counts) < len(trial.deltas)
    with torch.no_grad():
        given = {name: tensor for name, tensor in batch.items() if name != "labels"}
        before = trial.model(**given).logits
        settled = trial.steering.finish()
        assert isinstance(settled, Settled)
        torch.testing.assert_close(trial.model(**given).logits, before)
    layout = trial.steering.steered.layout  # type: ignore[attr-defined]
    places = [
        (own_name(m, layer, site)) for m in settled.plan.modules for layer in m.layers for site in m.sites
    ]
    assert sorted(trial.attached.own) == sorted(places)
    assert len(trial.attached.own) == len(counts)
    assert sum(len(module._forward_hooks) for module in trial.model.modules()) == len(counts)
    assert trainable_parameters(settled.plan, layout.shape) == sum(counts.values())


# -- SpIEL -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [False, True])
def test_entries_move_to_where_the_weight_is_to_change(transposed: bool) -> None:
    planted = torch.arange(5, 200, 13)
    trial = single("spiel", len(planted), 120, transposed=transposed, every=10, rate=0.05, max_grad_norm=1e9)
    (delta,) = trial.deltas.values()
    assert set(delta.indices.tolist()) != set(planted.tolist())
    for number in range(120):
        trial.step(number, regression(trial, planted, number))
        assert len(delta.values) == len(planted)
    assert delta.indices.tolist() == planted.tolist()
    torch.testing.assert_close(delta.values.detach(), torch.ones(len(planted)), atol=0.05, rtol=0)


@pytest.mark.parametrize("max_grad_norm", [0.1, 1e9])
def test_swaps_are_those_of_a_dense_implementation(max_grad_norm: float) -> None:
    """Which entries, and that AdamW comes to the means of their clipped gradients and squares as its moments."""
    every, steps, count = 8, 40, 30
    trial = single("spiel", count, steps, every=every, max_grad_norm=max_grad_norm)
    (name,) = trial.deltas
    delta = trial.deltas[name]
    assert isinstance(trial.steering, Swapping)
    seen: list[torch.Tensor] = []
    candidates = torch.zeros(0)
    for number in range(20):
        batch = regression(trial, torch.arange(0, 200, 2), number)
        before = rows_of(trial, name) if number else {}
        swaps = number in (LOOKS, every + LOOKS, 2 * every + LOOKS)
        if swaps:
            most = count if number == LOOKS else int(count * 0.2 * (1 - number / steps))
            dropped = sorted(before, key=lambda i: (abs(before[i][0]), i))[:most]
            stays = before.keys() - set(dropped)
            total = torch.stack(seen).sum(0)
            able = [i for i in candidates.tolist() if i not in stays]
            grown = set(sorted(able, key=lambda i: -abs(float(total[i])))[:most])
            leaving = [i for i in dropped if i not in grown][: len(grown - before.keys())]
            trial.steering.before(number)
            after = rows_of(trial, name)
            assert after.keys() == before.keys() - set(leaving) | grown
            assert trial.steering.swaps[-1] == len(leaving) > 0
            for i in after.keys() - before.keys():
                mean, square = (torch.stack(seen)[:, i] ** k for k in (1, 2))
                assert after[i][0] == 0
                assert after[i][1] / (1 - 0.9**number) == pytest.approx(float(mean.mean()), rel=1e-4)
                assert after[i][2] / (1 - 0.999**number) == pytest.approx(float(square.mean()), rel=1e-4)
            seen.clear()
        if number % every < LOOKS:
            (gradients,) = trial.dense_gradients(batch).values()
            if number % every == 0:
                candidates = gradients.abs().topk(count).indices
            norm = float(gradients[delta.indices.long()].norm())
            seen.append(gradients * min(1.0, max_grad_norm / norm))
        if swaps:  # what comes before the step has been
            accumulate(trial.model, trial.loss, batch)
            trial.steering.gradients(number)
            step(trial.optimizer, torch.optim.lr_scheduler.LambdaLR(trial.optimizer, float), max_grad_norm)
        else:
            trial.step(number, batch)


def test_an_entry_that_is_dropped_is_the_base_weight_again() -> None:
    trial = single("spiel", 20, 40, every=6, rate=0.1)
    (delta,) = trial.deltas.values()
    base = trial.model.map.weight.clone()
    batch = regression(trial, torch.arange(0, 200, 2), 0)
    before: set[int] = set()
    for number in range(14):
        before |= set(delta.indices.tolist())
        trial.step(number, batch)
    gone = sorted(before - set(delta.indices.tolist()))
    assert gone
    assert (delta.dense(delta.values.detach()).T.reshape(-1)[gone] == 0).all()
    assert torch.equal(trial.model.map.weight, base)


# -- whole trials ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """The starter with some of its images."""
    whole = Workbench.prepare("starter", {}, resolve_task("starter").settings, Training(epochs=2))
    data = {
        split: type(data)(data.pixel_values[:96], data.labels[:96])  # type: ignore[call-arg,union-attr]
        for split, data in whole.data.items()
    }
    return Workbench(whole.backbone, whole.task, data, whole.training)


@pytest.mark.parametrize("kind", ["id3", "spiel"])
def test_the_saved_folder_has_the_score_of_the_trial(kind: str, bench: Workbench, tmp_path: Path) -> None:
    """With other modules on, which stay as they were trained."""
    others = (
        Module("lora", 2, (0, 1), (("alpha", 4), ("sites", ("q", "v")))),
        Module("bottleneck", 2, (1, 2), (("position", "parallel"), ("sites", ("ffn",)))),
    )
    twice = sparse(0.01, "up", mask="magnitude", layers=(0,))  # a second mask at one map
    modules = [*others, sparse(0.02, "q", "up", layers=(0, 1, 2, 3)), twice]
    configuration = Configuration.of(
        modules, 2e-2, None, {"type": kind, **({"every": 2} if kind == "spiel" else {})}
    )
    *_, last = bench.trial(configuration, 0, tmp_path)
    shape = bench.backbone.layout.shape
    plan = Configuration.from_json(last.details["allocation"]["plan"])
    most = trainable_parameters(configuration, shape)
    assert 0.99 * most <= trainable_parameters(plan, shape) <= most
    with pytest.raises(InputError, match=kind):
        check_allocation(plan)
    task = bench.task
    fresh = load_backbone(
        model_path("starter"), modality=task.modality, problem=task.problem, num_labels=task.num_labels
    )
    loaded = load_adapter(fresh.model, tmp_path).to(bench.device)
    assert bench.score(loaded, "validation") == last.values["score"]
    assert not any(module._forward_hooks for module in bench.backbone.model.modules())
    found = last.details["allocation"]
    assert sum(n for *_, n in found["entries"]) if kind == "id3" else sum(found["swaps"])


def test_entries_of_quantised_weights_are_refused() -> None:
    trial = single("id3", 5, 1)
    trial.model.map.weight = nn.Parameter(torch.zeros(OUTPUTS, INPUTS, dtype=torch.int8), requires_grad=False)
    with pytest.raises(TrialError, match="--quantize none"):
        find_steering(trial.steering.steered)  # type: ignore[attr-defined]
