"""Ranks dealt out to the places of a LoRA: what each place, or each direction there, is worth to whom.

Notation:
    u           a unit: one linear map with a LoRA
    G_u         gradient of the loss by its weight
    sigma_k     k-th singular value
    A_k, B_k    k-th row of A, k-th column of B
"""

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence

from autopeft.allocate.gradients import some_sizes
from autopeft.allocate.rules import knapsack, top
from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl.cost import trainable_parameters
from autopeft.nouns import Configuration, Module

_MOST_TIMES = 4  # a place has at most so many times the largest rank of the configuration
_MOST_OPTIONS = 24  # ranks that a place may have


def by_promise(dealt: Dealt, squares: Mapping[Unit, Sequence[float]]) -> Configuration:
    """The plan whose LoRA could lower the loss most at the first step, of all that cost no more: exactly the best one.

    A LoRA of rank r can follow the r main directions of G_u, which are worth sum_(k <= r) sigma_k^2 of |G_u|^2 (Wang et al.
    2024, 2407.05000, theorem 3.1, has the same directions as an initialisation).

    Args:
        dealt: What there is to deal out.
        squares: The squares of the singular values of each unit, descending.
    """
    most = _MOST_TIMES * max(dealt.ranks.values())
    options = {unit: (0, *some_sizes(min(most, len(squares[unit])), _MOST_OPTIONS)) for unit in dealt.units}
    worth = {unit: [0.0, *itertools.accumulate(squares[unit])] for unit in dealt.units}
    chosen = knapsack(
        [[worth[unit][rank] for rank in options[unit]] for unit in dealt.units],
        [[_cost(dealt, unit, rank) for rank in options[unit]] for unit in dealt.units],
        dealt.cost,
    )
    return dealt.plan(
        _modules(dealt, {unit: options[unit][i] for unit, i in zip(dealt.units, chosen, strict=True)})
    )


def by_variance(dealt: Dealt, shares: Mapping[Unit, Sequence[float]], rho: float) -> Configuration:
    """Ranks to the directions that explain most of what goes into their maps, which they start with. 2410.07170, section 3.3.

    Costs count, not ranks, as they do not in the paper: a wide map's rank takes the room of several others.

    Args:
        dealt: What there is to deal out.
        shares: Of the variance, by direction, descending.
        rho: A unit has at most its rank times this.
    """
    every = sorted(
        (-share, unit, k)
        for unit in dealt.units
        for k, share in enumerate(shares[unit][: round(dealt.ranks[unit] * rho)])
    )
    return dealt.plan(_modules(dealt, _as_many_as_fit(dealt, [unit for _, unit, _ in every]), init="eva"))


def by_estimate(
    dealt: Dealt, places: Mapping[Unit, float], ranks: Mapping[Unit, Sequence[float]], keep: float
) -> Configuration:
    """The places that changed their maps' outputs most, and of all of their ranks the best ones, as many as the budget has.

    Light-PEFT (Gu et al. 2024, 2406.03792) prunes once after a short training: modules of small scores, then ranks below
    a quantile of all. It takes three quarters of the modules and half of the ranks away, and a part of the backbone's heads and
    neurons besides; here the backbone stays whole, and the quantile of the ranks is the one at which the budget is used up. So
    that all of it can be, the ranks that are looked at have to be more than the configuration's.

    Equal scores go to the place that comes first; where all ranks are alike, every place gets its first one, then every place
    its second.

    Args:
        dealt: What there is to deal out.
        places: Score of each unit's module.
        ranks: Score of each of the ranks that were looked at there, at most as many as the place can have, in any order.
        keep: Share of the units that keep a module.
    """
    chosen = top(places, max(1, math.ceil(keep * len(places))))
    every = sorted(
        (-score, k, unit) for unit in chosen for k, score in enumerate(sorted(ranks[unit], reverse=True))
    )
    return dealt.plan(_modules(dealt, _as_many_as_fit(dealt, [unit for _, _, unit in every])))


def drawn(dealt: Dealt, rng: random.Random) -> Configuration:
    """Ranks at places that chance draws, one after another, until nothing fits: the control of equal cost."""
    most = _MOST_TIMES * max(dealt.ranks.values())
    ranks, left = dict.fromkeys(dealt.units, 0), dealt.cost
    weights = {unit: rng.random() for unit in dealt.units}
    while True:
        prices = {
            unit: _cost(dealt, unit, ranks[unit] + 1) - _cost(dealt, unit, ranks[unit])
            for unit in dealt.units
        }
        open_to = [unit for unit in dealt.units if prices[unit] <= left and ranks[unit] < most]
        if not open_to:
            return dealt.plan(_modules(dealt, ranks))
        unit = rng.choices(open_to, [weights[one] for one in open_to])[0]
        ranks[unit] += 1
        left -= prices[unit]


def evenly(dealt: Dealt, units: Iterable[Unit], *, rest: Iterable[Unit] = ()) -> Configuration:
    """One rank for these units and none for others: the largest that costs no more than the configuration.

    What is left of the cost is a rank more for some of them.

    Args:
        dealt: What there is to deal out.
        units: Which; the first ones get what is left.
        rest: Units that have rank 1, which says nothing at first whatever `init` the configuration has; they are paid for
            before the others.
    """
    chosen, rank = tuple(units), 1
    others = [dealt.lora(unit, 1, plain_start=True) for unit in rest]
    left = dealt.cost - sum(_cost(dealt, Unit(one.layers[0], one.sites[0]), 1) for one in others)
    while sum(_cost(dealt, unit, rank + 1) for unit in chosen) <= left:
        rank += 1
    ranks = dict.fromkeys(chosen, rank)
    left -= sum(_cost(dealt, unit, rank) for unit in chosen)
    for unit in chosen:
        if dealt.rank_cost(unit) <= left:
            ranks[unit] += 1
            left -= dealt.rank_cost(unit)
    return dealt.plan([*_modules(dealt, ranks), *others])


def alike(dealt: Dealt, units: Iterable[Unit]) -> tuple[tuple[Unit, ...], ...]:
    """The units in groups of one site and one shape of weight, in order; who has no fellow is left out."""
    groups: dict[tuple[str, int, int], list[Unit]] = {}
    for unit in units:
        place = dealt.place(unit)
        groups.setdefault((unit.site, place.inputs, place.outputs), []).append(unit)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def room_to_grow(dealt: Dealt) -> Configuration:
    """As many ranks everywhere as a place may come to have: more than may be there together in the end."""
    ranks = {}
    for unit, rank in dealt.ranks.items():
        place = dealt.place(unit)
        ranks[unit] = min(_MOST_TIMES * rank, place.inputs, place.outputs)
    return dealt.plan(_modules(dealt, ranks))


def pruned(dealt: Dealt, keep: float) -> Configuration:
    """AdaLoRA in place of LoRA. Its ranks at first are the configuration's, so that it never costs more. Zhang et al. 2023.

    Each rank has a singular value more than LoRA's, which in the end costs some unit a rank.

    Args:
        dealt: What there is to deal out.
        keep: Share of the ranks that are left at the end of training.
    """
    ranks = dict(dealt.ranks)
    while True:
        plan = dealt.plan([_prunable(dealt, unit, rank, keep) for unit, rank in ranks.items() if rank])
        if trainable_parameters(plan, dealt.shape) <= trainable_parameters(dealt.configuration, dealt.shape):
            return plan
        largest = max(ranks.values())
        ranks[next(unit for unit in reversed(ranks) if ranks[unit] == largest)] -= 1


def _prunable(dealt: Dealt, unit: Unit, rank: int, keep: float) -> Module:
    target = max(1, round(rank * keep))
    lora = dealt.lora(unit, rank)
    if target >= rank:
        return lora
    alpha = {name: value for name, value in lora.options if name == "alpha"}
    options = {"target_rank": target, **alpha, "sites": (unit.site,)}
    return Module("adalora", rank, (unit.layer,), tuple(sorted(options.items())))


def _as_many_as_fit(dealt: Dealt, units: Iterable[Unit]) -> dict[Unit, int]:
    # A rank to one unit after another; who costs too much goes without, and the next may still fit.
    ranks, left = dict.fromkeys(dealt.units, 0), dealt.cost
    for unit in units:
        cost = _cost(dealt, unit, ranks[unit] + 1) - _cost(dealt, unit, ranks[unit])
        if cost <= left:
            ranks[unit] += 1
            left -= cost
    return ranks


def _cost(dealt: Dealt, unit: Unit, rank: int) -> int:
    return dealt.lora_cost(unit, rank) if rank else 0


def _modules(dealt: Dealt, ranks: Mapping[Unit, int], init: str = "") -> list[Module]:
    found = []
    for unit, rank in ranks.items():
        if rank:
            module = dealt.lora(unit, rank)
            if init:
                options = {**dict(module.options), "init": init}
                module = Module(module.type, module.size, module.layers, tuple(sorted(options.items())))
            found.append(module)
    return found
