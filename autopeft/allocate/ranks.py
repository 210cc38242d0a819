"""Ranks dealt out to the places of a LoRA: what each place, or each direction there, is worth to whom.

Notation:
    u           a unit: one linear map with a LoRA
    G_u         gradient of the loss by its weight
    sigma_k     k-th singular value
"""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence

from autopeft.allocate.gradients import some_sizes
from autopeft.allocate.rules import knapsack
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
    ranks, left = dict.fromkeys(dealt.units, 0), dealt.cost
    for _, unit, _ in every:
        cost = _cost(dealt, unit, ranks[unit] + 1) - _cost(dealt, unit, ranks[unit])
        if cost <= left:
            ranks[unit] += 1
            left -= cost
    return dealt.plan(_modules(dealt, ranks, init="eva"))


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


def evenly(dealt: Dealt, units: Iterable[Unit]) -> Configuration:
    """One rank for these units and none for others: the largest that costs no more than the configuration."""
    chosen, rank = tuple(units), 1
    while sum(_cost(dealt, unit, rank + 1) for unit in chosen) <= dealt.cost:
        rank += 1
    return dealt.plan(_modules(dealt, dict.fromkeys(chosen, rank)))


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
