"""How many configurations a space has.

Exact, but for three cases in which it is an upper bound: alternatives of a `one_of` that can make the same arrangement,
sizes of each layer or site that may be 0 where layers or sites are a choice as well, and allocators where no module may be
there that they deal out. A decision in an interval counts
as one; a cardinality is the number of its discrete surroundings.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autopeft.dsl.choosers import Chooser, Slot
from autopeft.dsl.decisions import Levels, Needs, met
from autopeft.dsl.parts import Part

if TYPE_CHECKING:
    from autopeft.dsl.bound import BoundSpace

_MOST_COMBINATIONS = 100_000


def cardinality(space: "BoundSpace") -> int:
    """The number of configurations, the frozen backbone among them only where the space names it."""
    return sum(_count(space, fixed) for fixed in _controlled(space))


def _controlled(space: "BoundSpace") -> Iterator[dict[int, Any]]:
    # Every combination of the values that conditions ask for.
    asked = {need.index for decision in space.decisions for need in decision.needs}
    asked |= {need.index for part in space.parts for need in part.needs}
    asked |= {need.index for part in space.parts for _, slot in part.options for need in slot.needs}
    asked |= {need.index for needs in space.frozen for need in needs}
    asked |= {i for part in space.parts if part.size.times is not None for i in part.size.indices.values()}
    others = {
        i: decision.values
        for i, (decision, role) in enumerate(zip(space.decisions, space.roles, strict=True))
        if i in asked and role.kind != "gate" and isinstance(decision, Levels)
    }
    combinations = len(space.ways)
    for values in others.values():
        combinations *= len(values)
    if combinations > _MOST_COMBINATIONS:
        others = {}
    for way in space.ways:
        for chosen in itertools.product(*others.values()):
            fixed = {**way, **dict(zip(others, chosen, strict=True))}
            if all(_reached(space, i, fixed) or fixed[i] == space.decisions[i].default for i in others):
                yield fixed


def _may_be_met(needs: Iterable[Needs], fixed: Mapping[int, Any]) -> bool:
    # Conditions on what is not fixed are taken to hold.
    return met((need for need in needs if need.index in fixed), fixed)


def _reached(space: "BoundSpace", index: int, fixed: Mapping[int, Any]) -> bool:
    return _may_be_met(space.decisions[index].needs, fixed)


def _count(space: "BoundSpace", fixed: Mapping[int, Any]) -> int:
    there = [p for p in space.parts if _may_be_met(p.needs, fixed)]
    sharing = [p for p in there if p.layers == space.layers]
    alone = [p for p in there if p.layers != space.layers]
    shared_absent = math.prod(_absent(space, p, fixed) for p in sharing)
    shared_present = 0
    for count, ways in _layer_sets(space.layers):
        every = math.prod(_absent(space, p, fixed) + _present(space, p, fixed, count) for p in sharing)
        shared_present += ways * (every - shared_absent)
    own_absent = math.prod(_absent(space, p, fixed) for p in alone)
    own = math.prod(
        _absent(space, p, fixed) + sum(w * _present(space, p, fixed, n) for n, w in _layer_sets(p.layers))
        for p in alone
    )
    total = shared_present * own + shared_absent * (own - own_absent)
    if any(_may_be_met(needs, fixed) for needs in space.frozen):
        total += shared_absent * own_absent
    slots = [slot for _, slot in (*space.training, *space.allocation)]
    return total * math.prod(_of_slot(space, slot, fixed) for slot in slots) * _rates(space)


def _rates(space: "BoundSpace") -> int:
    rate = space.decisions[-1]
    return len(rate.values) if isinstance(rate, Levels) else 1


def _layer_sets(chooser: Chooser) -> list[tuple[int, int]]:
    """(how many are taken, in how many ways)."""
    if chooser.first < 0:
        return [(len(chooser.of), 1)]
    n = len(chooser.of)
    counts = range(chooser.minimum, chooser.maximum + 1)
    return [(k, n - k + 1 if chooser.window else math.comb(n, k)) for k in counts]


def _levels(space: "BoundSpace", index: int, fixed: Mapping[int, Any]) -> list[Any]:
    decision = space.decisions[index]
    if index in fixed:
        return [fixed[index]]
    return list(decision.values) if isinstance(decision, Levels) else [decision.at(1.0)]


def _absent(space: "BoundSpace", part: Part, fixed: Mapping[int, Any]) -> int:
    # 1 where the part can be left out by its size. Its options then stand at their defaults.
    if not part.size.indices:
        return int(not part.size.constant)
    for _, slot in part.options:
        for index in slot.indices.values():
            if slot.times is None and index in fixed and fixed[index] != space.decisions[index].default:
                return 0
    return int(all(0 in _levels(space, index, fixed) for index in part.size.indices.values()))


def _present(space: "BoundSpace", part: Part, fixed: Mapping[int, Any], layers: int) -> int:
    options = math.prod(_of_slot(space, slot, fixed) for _, slot in part.options)
    total = 0
    for sites, ways in _layer_sets(part.sites):
        total += ways * _sizes(space, part, fixed, layers, sites)
    return total * options


def _sizes(space: "BoundSpace", part: Part, fixed: Mapping[int, Any], layers: int, sites: int) -> int:
    size = part.size
    if not size.indices:
        return int(bool(size.constant))
    levels = _levels(space, next(iter(size.indices.values())), fixed)
    if not size.over:
        return sum(level > 0 for level in levels)
    keys = math.prod(layers if axis == "layer" else sites for axis in size.over)
    if part.layers.first < 0 and part.sites.first < 0:
        keys = len(size.indices)  # a layer may lack a site
    return int(len(levels) ** keys) - int(0 in levels)


def _of_slot(space: "BoundSpace", slot: Slot, fixed: Mapping[int, Any]) -> int:
    if slot.times is not None or not slot.indices:
        return 1
    if not _may_be_met(slot.needs, fixed):
        return 1
    return math.prod(len(_levels(space, index, fixed)) for index in slot.indices.values())
