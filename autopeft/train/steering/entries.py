"""Single entries of weights, chosen while they are trained: ID3 lets them join, SpIEL has them take each other's place.

ID3: Agarwal et al. 2024 (2408.14470), and its code. SpIEL: Ansell et al. 2024 (2401.16405), with gradients
that are accumulated (AG), and its code.

Notation:
    W, G        weight of a linear map; gradient of a step's loss by it
    t, T        a step, from 0; steps of the whole training
    w, g        an entry of W, and of G
    delta       what is added to w; 0 where an entry is not trained

An entry that is not trained is in no parameter: it has no gradient, no state of the optimiser, and no weight decay moves it.
Parameters are as long as what is trained; where entries join or go, they and the optimiser's state are cut and put together anew.

G is what a sparse delta's backward pass computes anyway, for one map at a time, and of it are kept, beside what is trained, as many numbers
as may be chosen: of each map, as many as ID3 lets join in a step, or as SpIEL trains there. Where a batch went through the model in parts
(memory ran out before), the first part's gradient says which those are, and their sum over the parts which of them are chosen; else
the choice is exact.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from autopeft.adapters.own import own_name
from autopeft.adapters.sparse import SparseDelta, largest
from autopeft.allocate.entries import KIND, grown, plan, swapped, unmasked
from autopeft.allocate.units import Unit
from autopeft.backbones import Layout
from autopeft.errors import TrialError
from autopeft.nouns import Configuration, Place
from autopeft.train.steering.steering import Settled, Steered

LOOKS = 5
"""Steps whose gradients SpIEL accumulates, as in its code."""

_EPS = 1e-3  # ID3's, so that a weight of 0 has a score; as in its code


class Watch:
    """The gradient of a step's loss by some entries of a weight, which the first look chooses.

    Attributes:
        delta: The sparse delta there.
        positions: The entries, flat; None before the first look.
        gradient: Of the step, so far; None before a backward pass has come by.

    >>> watch = Watch(delta)                                                # doctest: +SKIP
    >>> watch.open(lambda gradient: largest(gradient.abs(), 10))            # doctest: +SKIP
    >>> loss.backward()                                                     # doctest: +SKIP
    >>> watch.positions.shape, watch.gradient.shape                         # doctest: +SKIP
    (torch.Size([10]), torch.Size([10]))
    """

    def __init__(self, delta: SparseDelta) -> None:
        self.delta = delta
        self.positions: torch.Tensor | None = None
        self.gradient: torch.Tensor | None = None
        delta.register_forward_pre_hook(self._begin)

    def open(self, choose: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Watch from now on what is chosen by the next backward pass's gradient, which is flat."""
        self.close()

        def note(stand_in: torch.Tensor) -> None:
            assert stand_in.grad is not None
            whole, stand_in.grad = stand_in.grad.reshape(-1), None
            if self.positions is None:
                self.positions = choose(whole)
            found = whole[self.positions]
            self.gradient = found if self.gradient is None else self.gradient + found

        # One number, seen as a whole matrix: autograd adds up in it what a map has from all of its uses, and it takes no memory.
        stand_in = self.delta.values.new_zeros(()).expand(self.delta.shape).requires_grad_()
        stand_in.register_post_accumulate_grad_hook(note)
        self.delta.watched = stand_in

    def close(self) -> None:
        """Watch nothing."""
        self.delta.watched = self.positions = self.gradient = None

    def _begin(self, module: nn.Module, args: Any) -> None:
        # A step begins, or begins again where memory ran out: there are no gradients.
        if self.delta.values.grad is None:
            self.gradient = None


@dataclass
class Growing:
    """ID3: at each of T steps, B / T further entries are trained, those of the largest |g| / (|w| + eps)^power anywhere.

    At every step, as in the paper, not in fewer rounds: the gradients are there anyway, and finding the largest takes about a quarter
    of a training's time on one core. What densities cannot say yet (`autopeft.allocate.entries`) waits for a later step, and
    so does what would have no gradient.

    Not as in the paper's code: there are never more than B entries, B may be less than T, and no weight decay moves what is not
    trained. As there: an entry that joins has moments of 0, and the optimiser counts its steps from its tensor's first.

    Attributes:
        steered: The trial.
        names: Of the delta at each unit, as it is on.
        deltas, weights, places: At each unit. Nothing is trained in a delta at first.
        budget: B.
        power: Of the weight's size in the score; 0 for none.
    """

    steered: Steered
    names: Mapping[Unit, str]
    deltas: Mapping[Unit, SparseDelta]
    weights: Mapping[Unit, torch.Tensor]
    places: Mapping[Unit, Place]
    budget: int
    power: float
    _watches: dict[Unit, Watch] = field(init=False)

    def __post_init__(self) -> None:
        self._watches = {unit: Watch(delta) for unit, delta in self.deltas.items()}

    def counts(self) -> dict[Unit, int]:
        """n_u."""
        return {unit: len(delta.values) for unit, delta in self.deltas.items()}

    def before(self, step: int) -> None:
        """Watch what may join, if there is room."""
        room = self._allowed(step) - sum(self.counts().values())
        for unit, watch in self._watches.items():
            if room > 0:
                watch.open(self._best(unit, room))
            else:
                watch.close()

    def gradients(self, step: int) -> None:
        """Entries join, and have their gradients."""
        now, allowed = self.counts(), self._allowed(step)
        scores: dict[Unit, torch.Tensor] = {}
        for unit, watch in self._watches.items():
            if watch.positions is not None and watch.gradient is not None:
                scores[unit] = self._scores(unit, watch.gradient, watch.positions)
        wanted = _shares(scores, allowed - sum(now.values()))
        after = grown(
            [*now.values()],
            [wanted.get(unit, 0) for unit in now],
            [len(scores.get(unit, ())) for unit in now],
            allowed,
            [self.places[unit] for unit in now],
        )
        for unit, count in zip(now, after, strict=True):
            if count > now[unit]:
                self._join(self._watches[unit], largest(scores[unit], count - now[unit]))
        for delta in self.deltas.values():
            if not len(delta.values):
                delta.values.grad = None  # or the optimiser would count steps of nothing

    def parts(self) -> tuple[Settled, ...]:
        """Nothing besides."""
        return ()

    def finish(self) -> Settled:
        """The deltas that are on, by the names that the plan has for them; those without an entry are taken off."""
        for watch in self._watches.values():
            watch.close()
        attached, layout = self.steered.attached, self.steered.layout
        settled = plan(self.steered.configuration, self.counts(), layout.shape)
        names = {name: name for name, module in attached.own.items() if not isinstance(module, SparseDelta)}
        attached.rename(names | {self.names[unit]: name for name, unit in _names(settled, layout)})
        return Settled(settled)

    def to_json(self) -> dict[str, Any]:
        """How many entries there are at each unit."""
        return {"entries": [[unit.layer, unit.site, count] for unit, count in self.counts().items()]}

    def _allowed(self, step: int) -> int:
        return unmasked(step, self.steered.steps, self.budget)

    def _scores(
        self, unit: Unit, gradient: torch.Tensor, positions: torch.Tensor | slice = slice(None)
    ) -> torch.Tensor:
        scores = gradient.float().abs().nan_to_num()
        if self.power:
            scores /= (self.weights[unit].detach().reshape(-1)[positions].float().abs() + _EPS) ** self.power
        return scores

    def _best(self, unit: Unit, most: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def choose(gradient: torch.Tensor) -> torch.Tensor:
            scores = self._scores(unit, gradient)
            scores[self.deltas[unit].indices.long()] = 0
            return largest(scores, min(most, int(scores.count_nonzero())))

        return choose

    def _join(self, watch: Watch, chosen: torch.Tensor) -> None:
        assert watch.positions is not None
        assert watch.gradient is not None
        everything = torch.arange(len(watch.delta.values), device=chosen.device)
        joining = watch.positions[chosen]
        rearrange(watch.delta, self.steered.optimizer, everything, joining, gradient=watch.gradient[chosen])


@dataclass
class Swapping:
    """SpIEL: every so many steps the entries of each weight whose deltas are smallest make room for those whose gradients are largest.

    Numbers of entries stay. Of each weight as many candidates as it has entries, those of the largest |g| at first, have their g and
    g^2 added up over 5 steps. Then a share of the entries, drop (1 - t / T), and all of them the first time, is dropped, those of the
    smallest |delta|, and as many candidates are grown, those of the largest |sum g|. Who was dropped and is grown again stays as it was.

    Not as in the paper's code: gradients are the clipped ones, as those of the optimiser are. Its moments of who is grown come out as
    the means of g and g^2 after its correction for a short past, which it counts for a tensor, not for each entry. Who would
    have no gradient is not grown.

    Attributes:
        steered: The trial.
        deltas: By name.
        every: Steps between two times.
        drop: The share that is dropped, at first.
        swaps: How many entries have changed, each time.
    """

    steered: Steered
    deltas: Mapping[str, SparseDelta]
    every: int
    drop: float
    swaps: list[int] = field(default_factory=list)
    _watches: dict[str, Watch] = field(init=False)
    _sums: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    _looks: int | None = None  # since the watches were opened; None: they are closed

    def __post_init__(self) -> None:
        self._watches = {name: Watch(delta) for name, delta in self.deltas.items()}

    def before(self, step: int) -> None:
        """Swap, if enough has been seen; watch, if it is time."""
        if self._looks == min(LOOKS, self.every):
            self.swaps.append(sum(self._swap(name, step) for name in self._sums))
            self._close()
        if step % self.every == 0:
            self._looks = 0
            for watch in self._watches.values():
                count = len(watch.delta.values)
                watch.open(lambda gradient, count=count: largest(gradient.abs().nan_to_num(), count))  # type: ignore[misc]

    def gradients(self, step: int) -> None:
        """Add up what is watched."""
        if self._looks is None:
            return
        self._looks += 1
        clipped = _clipped(self.steered.optimizer, self.steered.max_grad_norm)
        for name, watch in self._watches.items():
            if watch.gradient is not None:
                gradient = watch.gradient.float() * clipped.to(watch.gradient.device)
                watch.gradient = None
                nothing = torch.zeros_like(gradient)
                total, squares = self._sums.get(name, (nothing, nothing))
                self._sums[name] = total + gradient, squares + gradient.square()

    def parts(self) -> tuple[Settled, ...]:
        """Nothing besides."""
        return ()

    def finish(self) -> None:
        """The modules stay, with the entries that they have come to."""
        self._close()

    def to_json(self) -> dict[str, Any]:
        """How many entries have changed, each time."""
        return {"swaps": self.swaps}

    def _close(self) -> None:
        for watch in self._watches.values():
            watch.close()
        self._sums.clear()
        self._looks = None

    def _swap(self, name: str, step: int) -> int:
        delta, positions, (total, squares) = (
            self.deltas[name],
            self._watches[name].positions,
            self._sums[name],
        )
        assert positions is not None
        assert self._looks is not None
        count, indices = len(delta.values), delta.indices.long()
        most = swapped(count, self.drop, step, self.steered.steps) if self.swaps else count
        dropped = delta.values.detach().abs().argsort(stable=True)[:most]  # rows, the smallest first
        stays = torch.ones_like(indices, dtype=torch.bool)
        stays[dropped] = False
        scores = total.abs().nan_to_num()
        scores[torch.isin(positions, indices[stays])] = 0
        chosen = largest(scores, min(most, int(scores.count_nonzero())))
        leaving = dropped[~torch.isin(indices[dropped], positions[chosen])]
        chosen = chosen[~torch.isin(positions[chosen], indices[dropped])]
        stays[:] = True
        stays[leaving[: len(chosen)]] = False
        means = total[chosen] / self._looks, squares[chosen] / self._looks
        kept = stays.nonzero().squeeze(1)
        rearrange(delta, self.steered.optimizer, kept, positions[chosen], moments=means)
        return len(chosen)


def rearrange(
    delta: SparseDelta,
    optimizer: torch.optim.Optimizer,
    kept: torch.Tensor,
    joining: torch.Tensor,
    *,
    gradient: torch.Tensor | None = None,
    moments: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> None:
    """Go on with some of a delta's entries, and with others whose delta is 0, as a parameter of the new length.

    Args:
        delta: The delta; not between a forward pass and its backward pass.
        optimizer: AdamW, over its values among others.
        kept: Rows that stay.
        joining: Entries that join, flat positions in the weight.
        gradient: Of those, where there are gradients now; 0 otherwise.
        moments: What AdamW is to have for the means of their g and g^2, after its correction; 0 otherwise.
    """
    old, indices = delta.values, torch.cat([delta.indices[kept], joining.to(delta.indices.dtype)])
    order = indices.argsort()

    def put_together(rows: torch.Tensor, further: torch.Tensor | None) -> torch.Tensor:
        more = rows.new_zeros(len(joining)) if further is None else further.to(rows.dtype)
        return torch.cat([rows[kept], more])[order]

    # Another parameter, not other data in the old one: autograd may still hold on to that one's length.
    delta.values, delta.indices = nn.Parameter(put_together(old.detach(), None)), indices[order]
    if old.grad is not None:
        delta.values.grad = put_together(old.grad, gradient)
    for group in optimizer.param_groups:
        group["params"] = [delta.values if p is old else p for p in group["params"]]
    state = optimizer.state.pop(old, {})
    if state:
        for number, name in enumerate(("exp_avg", "exp_avg_sq")):
            # At step t AdamW divides them by 1 - beta^t, as all of its moments begin at 0 (Kingma & Ba 2015, section 3).
            share = 1 - optimizer.param_groups[0]["betas"][number] ** state["step"].to(old.device)
            state[name] = put_together(state[name], moments and moments[number] * share)
        optimizer.state[delta.values] = state


def find_growing(steered: Steered, options: Mapping[str, Any]) -> Growing | None:
    """ID3 for a trial's sparse deltas, which lose their entries; None where there are none.

    Args:
        steered: The trial.
        options: `power`.

    Raises:
        TrialError: Weights have no gradients.
    """
    found = list(_deltas(steered))
    budget = sum(len(delta.values) for _, _, delta in found)
    nothing = torch.zeros(0, dtype=torch.long)
    for _, _, delta in found:
        rearrange(delta, steered.optimizer, *[nothing.to(delta.indices.device)] * 2)
    one_each: dict[Unit, tuple[str, SparseDelta]] = {}
    for name, unit, delta in found:
        one_each.setdefault(unit, (name, delta))  # a map may have several, of different masks
    if not one_each:
        return None
    shape = steered.layout.shape
    return Growing(
        steered,
        {unit: name for unit, (name, _) in one_each.items()},
        {unit: delta for unit, (_, delta) in one_each.items()},
        {unit: _weight(steered, unit) for unit in one_each},
        {unit: place for unit in one_each if (place := shape.place(unit.layer, unit.site)) is not None},
        budget,
        options["power"],
    )


def find_swapping(steered: Steered, options: Mapping[str, Any]) -> Swapping | None:
    """SpIEL for a trial's sparse deltas; None where there are none.

    Args:
        steered: The trial.
        options: `every` and `drop`.

    Raises:
        TrialError: Weights have no gradients.
    """
    deltas = {name: delta for name, _, delta in _deltas(steered)}
    return Swapping(steered, deltas, options["every"], options["drop"]) if deltas else None


def _deltas(steered: Steered) -> Iterator[tuple[str, Unit, SparseDelta]]:
    for name, unit in _names(steered.configuration, steered.layout):
        delta = steered.attached.own[name]
        assert isinstance(delta, SparseDelta)
        if not _weight(steered, unit).is_floating_point():
            raise TrialError(
                "entries of weights in 8 or 4 bits cannot be chosen by their gradients: use --quantize none."
            )
        yield name, unit, delta


def _names(configuration: Configuration, layout: Layout) -> Iterator[tuple[str, Unit]]:
    for module in configuration.modules:
        if module.type == KIND:
            for layer in module.layers:
                for site in module.sites:
                    if layout.shape.place(layer, site) is not None:
                        yield own_name(module, layer, site), Unit(layer, site)


def _weight(steered: Steered, unit: Unit) -> torch.Tensor:
    path = steered.layout.layers[unit.layer].sites[unit.site]
    weight = steered.attached.model.get_submodule(path).weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _shares(scores: Mapping[Unit, torch.Tensor], room: int) -> dict[Unit, int]:
    """How many of so many of the largest scores are each unit's; of equal ones the first."""
    lengths = [len(one) for one in scores.values()]
    if room <= 0 or not lengths:
        return {}
    joined = torch.cat([one.cpu() for one in scores.values()])
    chosen = largest(joined, min(room, len(joined)))
    owners = torch.bucketize(chosen, torch.tensor(lengths).cumsum(0), right=True)
    return dict(zip(scores, torch.bincount(owners, minlength=len(lengths)).tolist(), strict=True))


def _clipped(optimizer: torch.optim.Optimizer, most: float) -> torch.Tensor:
    """What clipping to a norm multiplies the gradients with that are there."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return (most / (nn.utils.get_total_norm(gradients) + 1e-6)).clamp(max=1.0)
