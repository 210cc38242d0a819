"""Modules dealt out before they are trained: every allocator that decides first is a function of the worker and a trial.

The head is trained for a pass over the data before gradients are looked at: those of a new one say what a random head would like.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from autopeft.allocate import sensitivity
from autopeft.allocate.ranks import by_estimate, by_promise, by_variance, drawn, pruned, room_to_grow
from autopeft.allocate.structures import biases, maps_of_structures
from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl.allocators import ALLOCATORS, fields_of
from autopeft.nouns import Configuration, Module
from autopeft.tasks.batches import epoch_order
from autopeft.train.allocated import Allocated
from autopeft.train.allocating.estimate import estimate
from autopeft.train.allocating.gates import open_gates
from autopeft.train.allocating.signals import (
    bias_of,
    input_spectra,
    maps_of,
    mean_gradients,
    squared_gradients,
    squares_of,
    weight_of,
)
from autopeft.train.running import Request, Running, out_of_memory

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench


@dataclass(frozen=True)
class Job:
    """What an allocator is given.

    Attributes:
        bench: Backbone and data.
        dealt: What there is to deal out.
        seed: Of all that is drawn.
        options: The allocator's fields, all of them.
    """

    bench: "Workbench"
    dealt: Dealt
    seed: int
    options: Mapping[str, Any]

    def batches(self, examples: int) -> list[dict[str, torch.Tensor]]:
        """So many training examples, drawn by the seed, in batches of the training's size."""
        order = epoch_order(len(self.bench.data["train"]), self.seed, 0)[:examples]
        return list(self.bench.batches("train", order, self.bench.training.batch_size))


def allocate(bench: "Workbench", configuration: Configuration, seed: int) -> Allocated:
    """Deal a configuration's modules out, if its allocator does that before they are trained.

    Args:
        bench: Backbone and data; the model has no modules on.
        configuration: With an allocator.
        seed: Of the trial.

    Raises:
        TrialError: The model's gradients cannot be looked at, or memory ran out.
    """
    began = time.monotonic()
    kind, options = fields_of(configuration)
    dealt = Dealt.of(configuration, bench.backbone.layout.shape, ALLOCATORS[kind].types)
    if kind not in _BEFORE or not dealt.cost:
        return Allocated(configuration)
    try:
        found = _BEFORE[kind](Job(bench, dealt, seed, options))
    except torch.OutOfMemoryError as error:
        raise out_of_memory(error, bench.device) from None
    return replace(found, seconds=time.monotonic() - began)


def _random(job: Job) -> Allocated:
    return Allocated(drawn(job.dealt, random.Random(job.seed)))


def _spt(job: Job) -> Allocated:
    bench, maps = job.bench, maps_of(job.bench, maps_of_structures(job.dealt))
    fields = dict(job.options)
    batches = job.batches(fields.pop("examples"))
    tensors = {(unit, "weight"): weight_of(linear) for unit, linear in maps.items()}
    tensors |= {(unit, "bias"): bias_of(maps[unit]) for unit in biases(job.dealt)}
    histograms: dict[str, dict[Unit, sensitivity.Histogram]] = {"weight": {}, "bias": {}}
    ledger = {}
    with warm_head(job):
        for (unit, name), squares in squares_of(bench, tensors, batches):
            histograms[name][unit] = sensitivity.Histogram.of(squares.cpu().numpy())
            if name == "weight":
                ledger[unit] = float(squares.sum())
        plan = sensitivity.plan(job.dealt, histograms["weight"], histograms["bias"], **fields)
        single = {Unit(m.layers[0], m.sites[0]) for m in _places(plan) if m.type == "sparse"}
        # Looked at a second time: all of them together may be as much as the backbone itself.
        kept = dict(squared_gradients(bench, {unit: maps[unit] for unit in maps if unit in single}, batches))
    paths = {bench.backbone.layout.layers[unit.layer].sites[unit.site]: kept[unit] for unit in kept}
    return Allocated(plan, ledger=ledger, scores=paths.__getitem__)


def _knapsack(job: Job) -> Allocated:
    maps = maps_of(job.bench, job.dealt.units)
    with warm_head(job):
        batches = job.batches(job.options["examples"])
        promises = {
            unit: torch.linalg.svdvals(gradient).square().tolist()
            for unit, gradient in mean_gradients(job.bench, maps, batches)
        }
    return Allocated(
        by_promise(job.dealt, promises), ledger={unit: sum(values) for unit, values in promises.items()}
    )


def _eva(job: Job) -> Allocated:
    maps, rho = maps_of(job.bench, job.dealt.units), job.options["rho"]
    most = max(round(rank * rho) for rank in job.dealt.ranks.values())
    spectra = input_spectra(job.bench, maps, job.batches(_EVA_EXAMPLES), most)
    ledger = {unit: sum(values) for unit, values in spectra.items()}
    return Allocated(by_variance(job.dealt, spectra, rho), ledger=ledger)


def _diffora(job: Job) -> Allocated:
    gates = open_gates(job.bench, job.dealt, job.seed, **job.options)
    return Allocated(gates.plan, ledger=gates.widths, shared=gates.shared)


def _light_peft(job: Job) -> Allocated:
    options = job.options
    found = estimate(job.bench, job.dealt, job.seed, times=options["times"], epochs=options["epochs"])
    return Allocated(by_estimate(job.dealt, found.places, found.ranks, options["keep"]), ledger=found.places)


def _adalora(job: Job) -> Allocated:
    return Allocated(pruned(job.dealt, job.options["keep"]))


def _wide(job: Job) -> Allocated:
    return Allocated(room_to_grow(job.dealt))


_EVA_EXAMPLES = 512

_BEFORE: Mapping[str, Callable[[Job], Allocated]] = {
    "random": _random,
    "spt": _spt,
    "knapsack": _knapsack,
    "eva": _eva,
    "adalora": _adalora,
    "diffora": _diffora,
    "increlora": _wide,
    "triadaptlora": _wide,
    "light-peft": _light_peft,
}


def _places(plan: Configuration) -> Iterator[Module]:
    for module in plan.modules:
        for layer in module.layers:
            for site in module.sites:
                options = {**dict(module.options), "sites": (site,)}
                yield Module(module.type, module.size, (layer,), tuple(sorted(options.items())))


@contextlib.contextmanager
def warm_head(job: Job) -> Iterator[None]:
    """Inside, the model has a head that was trained for a pass over the data, and no modules."""
    bare = Configuration.of([], job.dealt.configuration.learning_rate)
    running = Running(job.bench, Request(bare, job.seed, None))
    try:
        running.train_epoch()
        yield
    finally:
        running.attached.detach()
