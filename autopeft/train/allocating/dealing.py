"""Modules dealt out before they are trained: every allocator that decides first is a function of the worker and a trial.

The head is trained for a pass over the data before gradients are looked at: those of a new one say what a random head would like.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from autopeft.allocate import sensitivity
from autopeft.allocate.ranks import by_promise, by_variance, drawn, pruned
from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl.allocators import ALLOCATORS
from autopeft.nouns import Configuration, Module
from autopeft.tasks.batches import epoch_order
from autopeft.train.allocated import Allocated
from autopeft.train.allocating.gates import open_gates
from autopeft.train.allocating.signals import input_spectra, maps_of, mean_gradients, squared_gradients
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
    options = dict(configuration.allocation)
    known = ALLOCATORS[options.pop("type")]
    dealt = Dealt.of(configuration, bench.backbone.layout.shape)
    if known.name not in _BEFORE or not dealt.units:
        return Allocated(configuration)
    defaults = {name: field.default for name, field in known.fields.items()}
    try:
        found = _BEFORE[known.name](Job(bench, dealt, seed, {**defaults, **options}))
    except torch.OutOfMemoryError as error:
        raise out_of_memory(error, bench.device) from None
    return Allocated(found.plan, time.monotonic() - began, found.ledger, found.scores)


def _random(job: Job) -> Allocated:
    return Allocated(drawn(job.dealt, random.Random(job.seed)))


def _spt(job: Job) -> Allocated:
    bench, maps = job.bench, maps_of(job.bench, job.dealt.units)
    batches = job.batches(job.options["examples"])
    histograms, ledger = {}, {}
    with warm_head(job):
        for unit, squares in squared_gradients(bench, maps, batches):
            histograms[unit] = sensitivity.Histogram.of(squares.cpu().numpy())
            ledger[unit] = float(squares.sum())
        plan = sensitivity.plan(job.dealt, histograms, job.options["threshold"], job.options["times"])
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
    return Allocated(gates.plan, ledger=gates.widths)


def _adalora(job: Job) -> Allocated:
    return Allocated(pruned(job.dealt, job.options["keep"]))


_EVA_EXAMPLES = 512

_BEFORE: Mapping[str, Callable[[Job], Allocated]] = {
    "random": _random,
    "spt": _spt,
    "knapsack": _knapsack,
    "eva": _eva,
    "adalora": _adalora,
    "diffora": _diffora,
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
