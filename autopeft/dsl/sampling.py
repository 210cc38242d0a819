"""Random points of a space inside its bounds, without rejection loops that can starve.

A Gibbs sampler walks inside the bounds from a minimal configuration: each decision in turn is drawn anew among the
values that keep every bound. Which alternative of a `one_of` is taken is drawn with the start and stays.
"""

import bisect
import itertools
import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from autopeft.dsl.decisions import Interval, met
from autopeft.dsl.parts import TRAINABLE

if TYPE_CHECKING:
    from autopeft.dsl.bound import Assignment, BoundSpace

# Sweeps of the Gibbs sampler. Where the bound leaves room, six forget the start (tests/dsl/test_bound.py measures
# it); where it leaves none, a sample is little more than its start, which is drawn evenly for that reason.
_SWEEPS = 6
# Of the states after the last sweeps the dearest is taken, because most that fits in a bound is well below it.
_CANDIDATES = 3
# Places are stretched by this, so that about one in twenty stands for the largest cost itself.
_BEYOND = 1.05


def sample_at(space: "BoundSpace", rng: random.Random, place: float) -> "Assignment":
    """See `BoundSpace.sample_at`.

    Which part the walk begins with is drawn by the priors, whatever its cost; so the bound is no less than what that part
    costs at least. What is found is close to the bound: even places make roughly even log costs.
    """
    if not space.smallest:
        return _finished(space, rng, space.starts[0].assignment)
    top = max(space.smallest, min(space.limit, space.largest))
    # A little beyond the end, so that what is at the very top is found too.
    exponent = place * _BEYOND * math.log(top / space.smallest)
    bound = min(top, math.floor(space.smallest * math.exp(exponent) + 1e-9))
    groups = [starts for starts in space.start_groups if starts[0].cost <= top]
    # The parts of an alternative share its weight.
    parts = Counter(starts[0].way for starts in groups)
    weights = [starts[0].weight / parts[starts[0].way] for starts in groups]
    # What alone fits the budget is taken, even if its prior is 0.
    chosen = rng.choices(groups, weights if any(weights) else None)[0]
    bound = max(bound, chosen[0].cost)
    eligible = bisect.bisect_right(chosen, bound, key=lambda s: s.cost)
    return walk(space, rng, chosen[rng.randrange(eligible)].assignment, bound)


def _finished(space: "BoundSpace", rng: random.Random, start: "Assignment") -> "Assignment":
    # Nothing but the training is left to draw.
    free = [role.kind == "training" for role in space.roles]
    return tuple(d.draw(rng) if f else v for d, f, v in zip(space.decisions, free, start, strict=True))


# -- the walk ------------------------------------------------------------------------------------------------------


def walk(space: "BoundSpace", rng: random.Random, start: "Assignment", bound: int) -> "Assignment":
    """A random valid assignment of at most `bound` trainable parameters, by a Gibbs sampler from a valid start."""
    state = _State(space, start, bound)
    order = [i for i, role in enumerate(space.roles) if role.kind != "gate"]
    dearest, most = start, -1.0
    for sweep in range(_SWEEPS):
        rng.shuffle(order)
        for i in order:
            if met(space.decisions[i].needs, state.values):
                _redraw(state, rng, i)
        cost = sum(state.costs[TRAINABLE])
        if sweep >= _SWEEPS - _CANDIDATES and cost > most:
            dearest, most = tuple(state.values), cost
    return dearest


def _redraw(state: "_State", rng: random.Random, i: int) -> None:
    decision, current = state.space.decisions[i], state.values[i]
    if not state.touched[i] and i not in state.chooser_of:
        state.values[i] = decision.draw(rng)
    elif isinstance(decision, Interval):
        low, high, here = 0.0, 1.0, decision.place(current)
        for _ in range(20):  # the interval shrinks around what is known to fit (slice sampling; Neal 2003)
            place = rng.uniform(low, high)
            if state.take(i, decision.at(place)):
                return
            low, high = (place, high) if place < here else (low, place)
    elif decision.values[0] is False and len(decision.values) == 2:  # a switch; (0, 1) is equal to it
        if rng.random() < 0.5:
            state.take(i, not current)
    else:
        values = list(decision.values)
        weights = list(decision.weights) or [1.0] * len(values)
        while values and sum(weights) > 0:
            value = rng.choices(values, weights)[0]
            if value == current or state.take(i, value):
                return
            # What is dearer than what does not fit does not fit either.
            role = state.space.roles[i]
            falls = role.kind == "size" and state.space.parts[role.part].type.falls
            dear = role.kind == "size" and (value < current if falls else value > current)
            keep = [v != value and not (dear and (v < value if falls else v > value)) for v in values]
            values, weights = list(itertools.compress(values, keep)), list(itertools.compress(weights, keep))


class _State:
    """An assignment under way, with what each part costs."""

    def __init__(self, space: "BoundSpace", start: "Assignment", bound: int) -> None:
        self.space = space
        self.values = list(start)
        self.bounds = [
            (m, low, min(high, bound) if m == TRAINABLE else high) for m, low, high in space.bounds
        ]
        self.costs = {
            m: [space.costs.of_part(i, self.values, m) for i in range(len(space.parts))]
            for m, _, _ in self.bounds
        }
        self.touched = space.touched
        self.chooser_of = space.chooser_of

    def take(self, i: int, value: Any) -> bool:
        """Give a decision this value if all bounds stay held; whether it was done."""
        before = self.values[i]
        self.values[i] = value
        if self._holds_after(i, before):
            return True
        self.values[i] = before
        return False

    def _holds_after(self, i: int, before: Any) -> bool:
        space, values = self.space, self.values
        chooser = self.chooser_of.get(i)
        if chooser is not None and not chooser.allows(len(chooser.chosen(values))):
            return False
        changed = []
        for measure, low, high in self.bounds:
            now = self.costs[measure]
            new = {part: self._part(part, i, before, measure) for part in self.touched[i]}
            total = sum(now) + sum(cost - now[part] for part, cost in new.items())
            if not low <= total <= high or (
                measure == TRAINABLE and not total and not space.is_frozen(values)
            ):
                return False
            changed.append((now, new))
        for now, new in changed:
            for part, cost in new.items():
                now[part] = cost
        return True

    def _part(self, part: int, i: int, before: Any, measure: int) -> int:
        space, values = self.space, self.values
        role = space.roles[i]
        single = role.kind == "size" and len(role.over) == 2 and len(self.touched[i]) == 1
        if not single or space.parts[part].type.has_shared:
            return space.costs.of_part(part, values, measure)
        # Only one place changes: the rest of the part need not be added up again.
        layer, site = role.key
        layers, sites = space.parts[part].layers, space.parts[part].sites
        if layer not in layers.chosen(values) or site not in sites.chosen(values):
            return self.costs[measure][part]
        new = space.costs.cell(part, values, layer, site, measure)
        after, values[i] = values[i], before
        old = space.costs.cell(part, values, layer, site, measure)
        values[i] = after
        return self.costs[measure][part] + new - old


def shrink(space: "BoundSpace", rng: random.Random, assignment: "Assignment") -> "Assignment":
    """See `BoundSpace.shrink`."""
    current = assignment
    if not all(d.holds(v) for d, v in zip(space.decisions, current, strict=True)):
        return space.sample(rng, 1)[0]
    for _ in range(10 * len(space.decisions)):
        if space.valid(current):
            return current
        cost = space.cost(current)
        smaller = [n for n in space.one_exchange(current, space.active(current)) if 0 < space.cost(n) < cost]
        if not smaller:
            break
        current = rng.choice(smaller)
    return space.sample(rng, 1)[0]
