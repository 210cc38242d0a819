"""The smallest and the largest configurations of a space, and where random walks begin."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from autopeft.dsl.choosers import Chooser
from autopeft.dsl.decisions import Interval, Levels, Needs, met
from autopeft.dsl.parts import TRAINABLE

if TYPE_CHECKING:
    from autopeft.dsl.bound import Assignment, BoundSpace

_MOST_SITE_SETS = 100  # smallest sets of sites that are tried as starts
_DESCENTS = 3  # starts from which the smallest configuration is looked for


class Start(NamedTuple):
    """A minimal valid assignment.

    Attributes:
        cost: Its trainable parameters.
        assignment: The assignment.
        way: Index of the alternatives that it takes, in `BoundSpace.ways`.
        part: Index of the part that it begins with; -1 for none.
        weight: Weight of the alternatives, from their priors.
    """

    cost: int
    assignment: "Assignment"
    way: int
    part: int
    weight: float


def find_starts(space: "BoundSpace") -> tuple[Start, ...]:
    """Minimal valid assignments, by ascending cost; the first that costs anything is the smallest configuration.

    For each combination of alternatives and each part in it: each layer and each smallest set of sites in turn, at the
    smallest size, everything else as small as it can be. They may be beyond the limit in trainable parameters.
    """
    found: dict[Any, Start] = {}
    for number, way in enumerate(space.ways):
        weight = _weight(space, way)
        base = _least(space, way)
        if space.is_frozen(base) and _allowed(space, base):
            found.setdefault(tuple(base), Start(space.cost(base), tuple(base), number, -1, weight))
        for index, part in enumerate(space.parts):
            if not space.open_to(part, base):
                continue
            for values in _skeletons(space, base, index):
                grown = values if _allowed(space, values) else _grown(space, values)
                if grown is not None:
                    start = Start(space.cost(grown), tuple(grown), number, index, weight)
                    found.setdefault(start.assignment, start)
    starts = sorted(found.values(), key=lambda s: s.cost)
    lowered = [_descended(space, start) for start in [s for s in starts if s.cost][:_DESCENTS]]
    known = {start.assignment for start in starts}
    return tuple(sorted([*starts, *(s for s in lowered if s.assignment not in known)], key=lambda s: s.cost))


def _weight(space: "BoundSpace", way: dict[int, str]) -> float:
    weight = 1.0
    for index, label in way.items():
        gate = space.decisions[index]
        if isinstance(gate, Levels) and gate.weights and all(n.holds(way.get(n.index)) for n in gate.needs):
            weight *= gate.weights[gate.position(label)]
    return weight


def _least(space: "BoundSpace", way: dict[int, str]) -> list[Any]:
    # Everything as small as it can be, nothing where nothing can be.
    values: list[Any] = [decision.default for decision in space.decisions]
    for index, label in way.items():
        values[index] = label
    for index, (decision, role) in enumerate(zip(space.decisions, space.roles, strict=True)):
        if isinstance(decision, Levels) and role.kind == "size" and decision.holds(0):
            values[index] = 0
        if index == len(values) - 1 and isinstance(decision, Interval):
            values[index] = decision.at(0.5)
    return values


def _skeletons(space: "BoundSpace", base: Sequence[Any], index: int) -> Iterator[list[Any]]:
    part = space.parts[index]
    values = list(base)
    for need in part.needs:
        if not need.holds(values[need.index]):
            values[need.index] = _meeting(space, need)
    if not part.there(values):
        return
    keys = [key for key, at in part.size.indices.items() if space.decisions[at].holds(0)]
    for key in keys if part.size.over and keys else [()]:
        sized = list(values)
        for place, at in part.size.indices.items():
            if not keys or place == key:
                sized[at] = space.decisions[at].default
        fixed = dict(zip(part.size.over, key, strict=False))
        for layers in _sets(part.layers, fixed.get("layer")):
            for sites in _site_sets(part.sites, fixed.get("site")):
                whole = list(sized)
                part.layers.write(layers, whole)
                part.sites.write(sites, whole)
                yield whole
        for sites in _site_sets(part.sites, fixed.get("site")):
            whole = list(sized)
            part.sites.write(sites, whole)
            part.layers.write(_cheapest_layers(space, part.layers, whole), whole)
            yield whole


def _meeting(space: "BoundSpace", need: Needs) -> Any:
    decision = space.decisions[need.index]
    if isinstance(decision, Levels):
        return next((v for v in decision.values if need.holds(v)), decision.default)
    candidates = (decision.at(i / 10) for i in range(11))
    return next((v for v in candidates if need.holds(v)), decision.default)


def _sets(chooser: Chooser, wanted: Any) -> list[tuple[Any, ...]]:
    found = [members for members in chooser.fewest if wanted is None or wanted in members]
    return found[:1] if wanted is not None else found


def _site_sets(chooser: Chooser, wanted: Any) -> list[tuple[Any, ...]]:
    if wanted is not None or chooser.first < 0 or chooser.window:
        return _sets(chooser, wanted)
    if math.comb(len(chooser.of), chooser.minimum) > _MOST_SITE_SETS:
        return list(chooser.fewest)
    return list(itertools.combinations(chooser.of, chooser.minimum))


def _cheapest_layers(space: "BoundSpace", chooser: Chooser, values: list[Any]) -> tuple[Any, ...]:
    if chooser.first < 0 or chooser.window:
        return chooser.chosen(values)
    costs = {}
    for layer in chooser.of:
        single = list(values)
        chooser.write((layer,), single)
        costs[layer] = space.cost(single)
    dear = sorted(chooser.of, key=lambda layer: (costs[layer] == 0, costs[layer]))
    return tuple(dear[: chooser.minimum])


def _allowed(space: "BoundSpace", values: Sequence[Any]) -> bool:
    # Valid but for the limit in trainable parameters, which the caller sees to.
    if not all(chooser.allows(len(chooser.chosen(values))) for chooser in space.choosers):
        return False
    if not space.cost(values) and not space.is_frozen(values):
        return False
    return all(
        low <= space.costs.measure(values, m) <= (math.inf if m == TRAINABLE else high)
        for m, low, high in space.bounds
    )


def _grown(space: "BoundSpace", values: list[Any]) -> "list[Any] | None":
    """Enlarged step by step, by the cheapest step each time, until the least values that are asked for are reached."""
    current = tuple(values)
    for _ in range(10 * len(space.decisions)):
        missing = [(m, low) for m, low, _ in space.bounds if space.costs.measure(current, m) < low]
        if not missing:
            return list(current) if _allowed(space, current) else None
        measure = missing[0][0]
        now = space.costs.measure(current, measure)
        larger = [
            n
            for n in _enlarged(space, current)
            if space.costs.measure(n, measure) > now
            and all(space.costs.measure(n, m) <= high for m, _, high in space.bounds if m != TRAINABLE)
            and all(chooser.allows(len(chooser.chosen(n))) for chooser in space.choosers)
        ]
        if not larger:
            return None
        current = min(larger, key=space.cost)
    return None


def _enlarged(space: "BoundSpace", current: "Assignment") -> Iterator["Assignment"]:
    # One decision changed, whether or not it has an effect yet, but no alternative. What a layer or site brings in with it that is 0 is taken
    # at its least size, or nothing would come of it.
    reached = [
        role.kind != "gate" and met(decision.needs, current)
        for decision, role in zip(space.decisions, space.roles, strict=True)
    ]
    for changed in space.one_exchange(current, reached):
        yield changed
        values = list(changed)
        for i, (decision, role) in enumerate(zip(space.decisions, space.roles, strict=True)):
            if role.kind == "size" and role.over and reached[i] and not values[i]:
                part = space.parts[role.part]
                before = part.layers.chosen(current), part.sites.chosen(current)
                after = part.layers.chosen(values), part.sites.chosen(values)
                if role.concerns(*after) and not role.concerns(*before):
                    values[i] = decision.default
        if tuple(values) != changed:
            yield tuple(values)


def _descended(space: "BoundSpace", start: Start) -> Start:
    current, cost = start.assignment, start.cost
    while True:
        active = space.active(current)
        near = [*space.one_exchange(current, active), *space.swaps(current, active)]
        near = [n for n in near if _same_way(n, space.ways[start.way])]
        cheaper = [(c, n) for n in near if 0 < (c := space.cost(n)) < cost and _allowed(space, n)]
        if not cheaper:
            return start._replace(cost=cost, assignment=current)
        cost, current = min(cheaper, key=lambda pair: pair[0])


def find_largest(space: "BoundSpace") -> int:
    """Trainable parameters of the largest configuration that the choices of layers and sites allow."""
    return max(_largest(space, way) for way in space.ways)


def _largest(space: "BoundSpace", way: dict[int, str]) -> int:
    values = _least(space, way)
    for chooser in space.choosers:
        chooser.write(chooser.of[: chooser.maximum], values)
    for index, (decision, role) in enumerate(zip(space.decisions, space.roles, strict=True)):
        if role.kind == "size":
            falls = space.parts[role.part].type.falls
            positive = [v for v in decision.values if v > 0] if isinstance(decision, Levels) else []
            if positive:
                values[index] = positive[0] if falls else positive[-1]
            elif isinstance(decision, Interval):
                values[index] = decision.at(0.0 if falls else 1.0)
    cost = space.cost(values)
    while True:  # ascent: for conditions, options, and subsets of which not all may be taken
        current = tuple(values)
        active = space.active(current)
        near = [*space.one_exchange(current, active), *space.swaps(current, active)]
        best = max(
            (
                n
                for n in near
                if all(c.allows(len(c.chosen(n))) for c in space.choosers) and _same_way(n, way)
            ),
            key=space.cost,
            default=current,
        )
        if space.cost(best) <= cost:
            return cost
        cost, values = space.cost(best), list(best)


def _same_way(values: Sequence[Any], way: dict[int, str]) -> bool:
    return all(values[index] == label for index, label in way.items())
