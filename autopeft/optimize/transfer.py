"""What an earlier study says of the points of this space, though its backbone, task or budget was another.

A configuration of the earlier study is taken over in two steps. First to this study's backbone, in the earlier study's
own space: each decision by its name, sites by theirs, layers by where they lie between the first and the last, and
numbers by their place in their domain, since a domain may depend on the backbone (`hidden / 4`). Then to this study's
space: what is no point of it is left out, and what is a little over the budget goes one step down. On the same backbone,
in the same space and inside the budget, every configuration is taken over as it is.

Scores are taken over as they are: what they are worth here is for the surrogate to learn.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autopeft.dsl import Assignment, BoundSpace, Interval, Levels, Space
from autopeft.dsl.choosers import Chooser
from autopeft.dsl.decisions import Decision
from autopeft.dsl.parts import Part
from autopeft.nouns import BackboneShape, Configuration, Trial
from autopeft.optimize.observation import Observation

_NO_LIMIT = sys.maxsize
# What costs at most so many times the budget goes one step down; anything larger would become quite another thing.
_A_LITTLE_OVER = 1.5


def carried_over(
    space: BoundSpace, trials: Iterable[Trial], earlier: Space, shape: BackboneShape
) -> list[Observation]:
    """The scores of another study's trials, at the points of this space that stand for them.

    Args:
        space: This study's space.
        trials: Of the earlier study; those without a score are left out.
        earlier: The earlier study's space. Its constraints, and those that the earlier budget set, play no part.
        shape: The earlier study's backbone.

    Returns:
        One observation a point, in the order of the trials; several trials that become one point are their mean.

    Raises:
        BackboneError: The earlier space cannot be on this study's backbone.
    """
    unbounded = replace(earlier, constraints=())
    there = unbounded.bind(shape, _NO_LIMIT)
    between = there if shape == space.shape else unbounded.bind(space.shape, _NO_LIMIT)
    scores: dict[Assignment, list[float]] = {}
    for trial in trials:
        if trial.score is None:
            continue
        try:
            found = _inside(space, _on_backbone(there, between, trial.configuration))
        except ValueError:
            continue
        if found is not None:
            scores.setdefault(found, []).append(trial.score)
    return [Observation(point, sum(told) / len(told)) for point, told in scores.items()]


def _inside(space: BoundSpace, configuration: Configuration) -> Assignment | None:
    """The point of a space that a configuration is, or one step from it where it is a little over a bound.

    None where it is further over, or one step does not do. Raises: ValueError, if it is no point of the space at all.
    """
    point = replace(space, limit=_NO_LIMIT, upper={}, lower={}).assignment(configuration)
    if space.valid(point):
        return point
    if space.cost(point) > _A_LITTLE_OVER * space.limit:
        return None
    # The dearest has lost the least.
    return max(map(space.canonical, space.neighbours(point)), key=space.cost, default=None)


# -- from backbone to backbone ------------------------------------------------------------------------------------------


def _on_backbone(there: BoundSpace, here: BoundSpace, configuration: Configuration) -> Configuration:
    """What a configuration of one backbone is on another; both spaces are the same text.

    Raises: ValueError, if it is nothing there.
    """
    if there.shape == here.shape:
        return configuration
    return here.configuration(_Move(there, here, there.assignment(configuration)).assignment())


@dataclass(frozen=True)
class _Move:
    """One assignment on its way from a backbone to another."""

    there: BoundSpace
    here: BoundSpace
    old: Assignment

    def assignment(self) -> Assignment:
        """The assignment here. Raises: ValueError, if a module would be nowhere."""
        values: list[Any] = [decision.default for decision in self.here.decisions]
        for index, value in self._values():
            values[index] = value
        _move_layers(self.there.layers, self.old, self.here.layers, values)
        for before, now in zip(self.there.parts, self.here.parts, strict=True):
            if now.layers != self.here.layers:
                _move_layers(before.layers, self.old, now.layers, values)
            sites = [site for site in before.sites.chosen(self.old) if site in now.sites.of]
            if sites:
                now.sites.write(sites, values)
            elif before.there(self.old) and any(self._present(before, i, None) for i in before.layers.of):
                raise ValueError(f"none of the sites of '{now.name}' are on this backbone")
        return tuple(values)

    def _values(self) -> Iterator[tuple[int, Any]]:
        """Every decision that chooses no layers and no sites, with its value."""
        before = {_name(self.there, i): i for i in range(len(self.there.decisions))}
        for i, (decision, role) in enumerate(zip(self.here.decisions, self.here.roles, strict=True)):
            if role.kind in ("layers", "own layers", "sites"):
                continue
            by_layer = "layer" in role.over
            j = self._from_layer(i, before) if by_layer else before.get(_name(self.here, i))
            if j is not None:
                old, value = self.there.decisions[j], self.old[j]
                yield i, moved(old, value, decision, keep=role.kind == "size")
            elif role.kind == "size" and decision.holds(0):
                yield i, 0  # there was nothing like it

    def _from_layer(self, i: int, before: Mapping[tuple[str, ...], int]) -> int | None:
        """The decision about a layer there that one about a layer here follows; None where nothing is to be."""
        role = self.here.roles[i]
        was, now = self.there.parts[role.part], self.here.parts[role.part]
        key = dict(zip(role.over, role.key, strict=True))
        there = {}
        for position, layer in enumerate(was.layers.of):
            old_key = tuple(layer if axis == "layer" else key[axis] for axis in role.over)
            j = before.get((*_name(self.here, i)[:1], *map(str, old_key)))
            if j is not None:
                there[position] = j
        taken = [p for p in there if self._present(was, was.layers.of[p], key.get("site"))]
        position = now.layers.of.index(key["layer"])
        n, m = len(was.layers.of), len(now.layers.of)
        if role.kind == "size" and self.here.decisions[i].holds(0) and position not in spread(taken, n, m):
            return None
        among = taken or list(there)
        if not among:
            return None
        return there[min(among, key=lambda p: abs((2 * p + 1) * m - (2 * position + 1) * n))]

    def _present(self, part: Part, layer: int, site: str | None) -> bool:
        if layer not in part.layers.chosen(self.old):
            return False
        sites = [site] if site is not None else part.sites.chosen(self.old)
        reached = [s for s in sites if s in self.there.costs.there[layer]]
        return any(part.size.value(self.old, layer, s) for s in reached)


def _name(space: BoundSpace, i: int) -> tuple[str, ...]:
    """A decision's name, and its place where it differs from place to place."""
    place = tuple(map(str, space.roles[i].key))
    name = space.decisions[i].name
    return (name.removesuffix("." + ".".join(place)), *place) if place else (name,)


def _move_layers(before: Chooser, old: Assignment, now: Chooser, values: list[Any]) -> None:
    chosen = before.chosen(old)
    taken = [i for i, layer in enumerate(before.of) if layer in chosen]
    n, m = len(before.of), len(now.of)
    if now.first < 0 or not taken:
        return
    if now.window:
        count = min(max(1, round(len(taken) * m / n), now.minimum), now.maximum)
        start = round((taken[0] + len(taken) / 2) * m / n - count / 2)
        found: Sequence[int] = range(max(0, min(start, m - count)), m)[:count]
    else:
        found = spread(taken, n, m, now.maximum)
    now.write([now.of[i] for i in found], values)


def spread(taken: Sequence[int], there: int, here: int, most: int | None = None) -> list[int]:
    """Some of `there` layers as about the same share of `here` layers, at about the same depths.

    Layer j of n covers the depths from j / n to (j + 1) / n. From the first layer on, a layer is taken whenever what
    has been covered so far adds up to one more whole layer, halves counting as whole: the share is kept, and so is
    every set where the two numbers are equal. Where any was taken, at least one is.

    Args:
        taken: Positions among `there` layers.
        there: How many layers there were.
        here: How many there are.
        most: No more than so many; then they are as far apart as the covered depths allow.

    >>> spread([0, 1, 6], 12, 6)
    [0, 3]
    >>> spread([2], 3, 6)
    [4, 5]
    """
    if not taken:
        return []
    # In units of 1 / (there * here), so that halves are exact.
    covered = [
        sum(max(0, min((i + 1) * there, (j + 1) * here) - max(i * there, j * here)) for j in taken)
        for i in range(here)
    ]
    whole, total = there, sum(covered)
    if most is not None and total > most * whole:
        covered, whole = [c * most * whole for c in covered], total * whole
    found, so_far = [], 0
    for i, more in enumerate(covered):
        before, so_far = (2 * so_far + whole) // (2 * whole), so_far + more
        if (2 * so_far + whole) // (2 * whole) > before:
            found.append(i)
    return found or [max(range(here), key=lambda i: covered[i])]


def moved(old: Decision, value: Any, new: Decision, *, keep: bool = False) -> Any:
    """The value of a decision on one backbone as a value of the same decision on another.

    The same value where the two domains are the same, or have no order; else the value at the same place.

    Args:
        old: The decision there.
        value: Its value.
        new: The decision here.
        keep: Of a size: what was there stays there, however small it becomes.
    """
    if _domain(old) == _domain(new):
        return value
    if isinstance(old, Levels) and isinstance(new, Levels):
        if not new.ordered:
            return value if new.holds(value) else new.default
        if len(old.values) == len(new.values):
            return new.values[old.position(value)]
    found = new.at(old.place(value))
    return new.default if keep and value and not found else found


def _domain(decision: Decision) -> tuple[Any, ...]:
    if isinstance(decision, Interval):
        return decision.low, decision.high, decision.log, decision.whole
    return decision.values
