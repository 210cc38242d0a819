"""Single entries of weights that join while a trial is trained, or take each other's place: how many, and when.

Notation:
    u           a unit: one linear map
    N_u, n_u    entries of its weight; of them, those that are trained
    t, T        a step, from 0; steps of the whole training
    B           entries that are to be trained in the end

A configuration says numbers of entries as densities of three digits (`sparse_density`), so not every n_u can be said: at 5000
entries it is every tenth, say. What joins comes in numbers that can be said, so that a plan is at any time what is trained.
"""

from collections.abc import Mapping, Sequence

from autopeft.allocate.units import Unit
from autopeft.dsl.own_types import last_digit, sparse_count, sparse_density
from autopeft.nouns import BackboneShape, Configuration, Module, Place, rounded

KIND = "sparse"


def unmasked(step: int, steps: int, budget: int) -> int:
    """Entries that are trained at a step, all units together: B (t + 1) / T, in whole numbers. ID3: 2408.14470.

    >>> [unmasked(step, 5, 12) for step in range(5)]
    [2, 4, 7, 9, 12]
    """
    return budget * (step + 1) // steps


def grown(
    now: Sequence[int], wanted: Sequence[int], most: Sequence[int], budget: int, places: Sequence[Place]
) -> tuple[int, ...]:
    """How many entries each unit has after some have joined: as many as wanted, as far as densities can say it.

    Where a number cannot be said, a unit has the next lower one. The units that lose most by that, as a share of what lies between two
    numbers, have the next higher one, as long as the budget lasts.

    Args:
        now: n_u, each of which can be said.
        wanted: How many more each unit would have.
        most: How many more it can have.
        budget: Of the sum of all n_u.
        places: The linear maps.

    >>> place = Place("linear", 1_000, 1_000)
    >>> grown([9_950, 0, 100], [6, 7, 0], [20, 20, 0], 10_070, [place] * 3)
    (9960, 7, 100)
    """
    found = [_said(n + more, place) for n, more, place in zip(now, wanted, places, strict=True)]
    lacking = [n + more - count for n, more, count in zip(now, wanted, found, strict=True)]
    prices = [
        _next(count, place) - count if lacks else 1
        for count, lacks, place in zip(found, lacking, places, strict=True)
    ]
    left = budget - sum(found)
    for i in sorted(range(len(found)), key=lambda i: -lacking[i] / prices[i]):
        if lacking[i] and prices[i] <= left and found[i] + prices[i] <= now[i] + most[i]:
            found[i] += prices[i]
            left -= prices[i]
    return tuple(found)


def swapped(count: int, share: float, step: int, steps: int) -> int:
    """How many of a unit's entries are to be dropped at a step: their share falls in a line. SpIEL: 2401.16405, and its code.

    >>> [swapped(100, 0.2, step, 200) for step in (20, 100, 199)]
    [18, 10, 0]
    """
    return int(count * share * (1 - step / steps))


def plan(configuration: Configuration, counts: Mapping[Unit, int], shape: BackboneShape) -> Configuration:
    """The configuration with so many entries at each unit in place of its sparse deltas; the allocator is still named.

    Args:
        configuration: With sparse deltas.
        counts: Numbers that can be said.
        shape: The backbone.
    """
    modules = [module for module in configuration.modules if module.type != KIND]
    for unit, count in counts.items():
        place = shape.place(unit.layer, unit.site)
        if count and place is not None:
            options = (("mask", "sensitivity"), ("sites", (unit.site,)))
            modules.append(Module(KIND, sparse_density(count, place), (unit.layer,), options))
    return Configuration.of(
        modules, configuration.learning_rate, dict(configuration.training), dict(configuration.allocation)
    )


def _said(count: int, place: Place) -> int:
    return sparse_count(sparse_density(count, place), place) if count else 0


def _next(count: int, place: Place) -> int:
    share = (count + 1) / (place.inputs * place.outputs)
    near = (sparse_count(rounded(share + more), place) for more in (0.0, last_digit(share)))
    return next(n for n in near if n > count)
