"""A space of plain decisions, which needs no backbone: all that a search asks of it.

Notation:
    assignment  one value for every decision, in order
    point       a dictionary of what is decided: values by name, of the decisions that have an effect, and what is fixed
"""

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from autopeft.dsl import tree
from autopeft.dsl.bound import Assignment, Encoded
from autopeft.dsl.check import when_of
from autopeft.dsl.decisions import Decision, Interval, Levels, Needs, decode, met
from autopeft.errors import nearest

Point = dict[str, Any]

_MOST_LEVELS = 1_000  # a longer range of whole numbers is an interval
_DIGITS = 3  # of the values of an interval ...
_MOST_DIGITS = 15  # ... and of one that is narrow beside its ends, such as 2000 to 2001


@dataclass(frozen=True)
class PlainSpace:
    """A space of decisions alone; a `SearchSpace`. Every assignment with values of the decisions is valid.

    Attributes:
        name: The space's name.
        decisions: All decisions, in the order of an assignment's values. The needs of each include those of what
            they are about.
        fixed: What is not to be decided and still part of every point.

    >>> rate = Interval("rate", 1e-4, 1e-1, log=True, digits=3)
    >>> kind = Levels("kind", ("a", "b"), ordered=False, default="a")
    >>> space = PlainSpace("knobs", (kind, replace(rate, needs=(Needs(0, "in", ("a",)),))))
    >>> space.configuration(("a", 0.01)), space.configuration(("b", 0.01))
    ({'kind': 'a', 'rate': 0.01}, {'kind': 'b'})
    """

    name: str
    decisions: tuple[Decision, ...]
    fixed: Mapping[str, tree.Scalar] = field(default_factory=dict)

    # -- meaning ---------------------------------------------------------------------------------------------------

    def configuration(self, assignment: Sequence[Any]) -> Point:
        """The point that an assignment means."""
        point = dict(self.fixed)
        for decision, value, on in zip(self.decisions, assignment, self.active(assignment), strict=True):
            if on:
                point[decision.name] = decision.plain(value)
        return point

    def assignment(self, point: Mapping[str, Any]) -> Assignment:
        """The canonical assignment that means a point.

        Values of decisions without an effect may be there and do not count; so may those that are fixed be left out.

        Raises:
            ValueError: It is no point of this space; the message is a sentence without its end.
        """
        for name, value in point.items():
            if name not in self._index and name not in self.fixed:
                known = (*self.fixed, *self._index)
                raise ValueError(
                    f"there is no decision '{name}'; {nearest(name, known) or _listed(known)}".rstrip(".")
                )
            if name in self.fixed and not _same(value, self.fixed[name]):
                raise ValueError(f"'{name}' is {value!r} and always {self.fixed[name]!r}")
        values = [decision.default for decision in self.decisions]
        for i in self.in_order:
            decision = self.decisions[i]
            if not met(decision.needs, values):
                continue
            if decision.name not in point:
                raise ValueError(f"'{decision.name}' is missing")
            values[i] = _taken(decision, point[decision.name])
        return tuple(values)

    def canonical(self, assignment: Assignment) -> Assignment:
        """The assignment that `assignment` gives for this one's point: what has no effect is at its default."""
        return tuple(
            decision.plain(value) if on else decision.default
            for decision, value, on in zip(self.decisions, assignment, self.active(assignment), strict=True)
        )

    def active(self, assignment: Sequence[Any]) -> list[bool]:
        """For each decision, whether it has an effect: its conditions hold, and those of what they are on."""
        return [met(decision.needs, assignment) for decision in self.decisions]

    def valid(self, assignment: Sequence[Any]) -> bool:
        """Whether all is in its domain."""
        return all(d.holds(value) for d, value in zip(self.decisions, assignment, strict=True))

    @cached_property
    def in_order(self) -> tuple[int, ...]:
        """Every decision after those that it depends on: it depends on more, because it has all that they have."""
        return tuple(
            sorted(range(len(self.decisions)), key=lambda i: len({n.index for n in self.decisions[i].needs}))
        )

    @cached_property
    def _index(self) -> dict[str, int]:
        return {decision.name: i for i, decision in enumerate(self.decisions)}

    @cached_property
    def cardinality(self) -> int:
        """How many points there are; an interval counts as one value, or as one on each side of a condition on it."""
        last = {need.index: i for i in self.in_order for need in self.decisions[i].needs}
        asked: dict[int, set[Needs]] = defaultdict(set)
        for decision in self.decisions:
            for need in decision.needs:
                asked[need.index].add(need)
        # States are the values of decisions that are still asked for; those that pass the same tests are alike.
        states: dict[tuple[tuple[int, Any], ...], int] = {(): 1}
        for i in self.in_order:
            decision, found = self.decisions[i], defaultdict[tuple[tuple[int, Any], ...], int](int)
            for state, count in states.items():
                values = dict(state)
                kept = tuple((j, v) for j, v in state if self._after(last[j], i))
                if not met(decision.needs, values):
                    options = [(decision.default, 1)]
                else:
                    options = _alike(decision, asked[i])
                for value, many in options:
                    found[(*kept, (i, value)) if i in last else kept] += count * many
            states = found
        return sum(states.values())

    def _after(self, one: int, other: int) -> bool:
        return self._rank[one] > self._rank[other]

    @cached_property
    def _rank(self) -> dict[int, int]:
        return {i: rank for rank, i in enumerate(self.in_order)}

    # -- moving about ------------------------------------------------------------------------------------------------

    def sample(self, rng: random.Random, n: int) -> list[Assignment]:
        """Random canonical assignments, each decision by its weights; repetitions are possible."""
        return [self.canonical(tuple(d.draw(rng) for d in self.decisions)) for _ in range(n)]

    def neighbours(self, assignment: Assignment) -> list[Assignment]:
        """Canonical assignments one step away: one decision with an effect changed."""
        here = self.canonical(assignment)
        found = [
            self.canonical((*here[:i], value, *here[i + 1 :]))
            for i, (decision, on) in enumerate(zip(self.decisions, self.active(here), strict=True))
            if on
            for value in decision.neighbours(here[i])
        ]
        return [n for n in dict.fromkeys(found) if n != here]

    def near(self, assignment: Assignment, rng: random.Random, n: int) -> list[Assignment]:
        """Up to n of the neighbours, drawn at random."""
        found = self.neighbours(assignment)
        return rng.sample(found, n) if len(found) > n else found

    def to_optuna(self, trial: Any) -> Assignment:
        """Ask an Optuna trial for every decision that has an effect; ordered values by their index."""
        values: list[Any] = [decision.default for decision in self.decisions]
        for i in self.in_order:
            decision = self.decisions[i]
            if met(decision.needs, values):
                values[i] = decision.ask(trial)
        return tuple(values)

    # -- numbers -----------------------------------------------------------------------------------------------------

    def encode(self, assignment: Assignment) -> Encoded:
        """An assignment as numbers in [0, 1], with the mask of those that have an effect."""
        vector: list[float] = []
        mask: list[bool] = []
        for decision, value, on in zip(self.decisions, assignment, self.active(assignment), strict=True):
            vector.extend(decision.encode(value if on else decision.default))
            mask.extend([on] * decision.width)
        return Encoded(vector, mask)

    def decode(self, vector: Sequence[float], mask: Sequence[bool]) -> Assignment:
        """The assignment nearest to a vector; what the mask leaves out is at its default."""
        return decode(self.decisions, vector, mask)


def _listed(names: Sequence[str]) -> str:
    return f"there are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _taken(decision: Decision, value: Any) -> Any:
    # The value as the decision holds it: 2.0 is told as well as 2.
    if isinstance(decision, Interval):
        number = not isinstance(value, bool) and isinstance(value, int | float)
        if not number or not decision.holds(value) or (decision.whole and value != round(value)):
            whole = "a whole number " if decision.whole else ""
            raise ValueError(
                f"'{decision.name}' is {value!r} and must be {whole}from {decision.low:g} to {decision.high:g}"
            )
        return decision.plain(value)
    for known in decision.values:
        if _same(known, value):
            return known
    values = decision.values
    listed = ", ".join(map(repr, values)) if len(values) <= 20 else f"{values[0]!r} to {values[-1]!r}"
    raise ValueError(f"'{decision.name}' is {value!r} and must be one of {listed}")


def _alike(decision: Decision, tests: set[Needs]) -> list[tuple[Any, int]]:
    # A value for each outcome of the tests, and how many have it.
    if isinstance(decision, Levels):
        values, once = list(decision.values), False
    else:
        bounds = {v for test in tests for v in test.values if decision.holds(v)}
        ends = sorted({decision.low, decision.high, *bounds})
        values, once = [*ends, *((a + b) / 2 for a, b in itertools.pairwise(ends))], True
    outcomes: dict[tuple[bool, ...], list[Any]] = {}
    ordered = sorted(tests, key=repr)
    for value in values:
        outcomes.setdefault(tuple(test.holds(value) for test in ordered), []).append(value)
    return [(found[0], 1 if once else len(found)) for found in outcomes.values()]


# -- from the tree ---------------------------------------------------------------------------------------------------


def lay_out(name: str, domains: Mapping[str, tree.Plain]) -> PlainSpace:
    """The space of a checked tree's decisions.

    Args:
        name: The space's name.
        domains: Domains by name.
    """
    fixed = {key: domain.value for key, domain in domains.items() if isinstance(domain, tree.Value)}
    open_ = {key: domain for key, domain in domains.items() if not isinstance(domain, tree.Value)}
    index = {key: i for i, key in enumerate(open_)}
    # Conditions on what is fixed hold, or were refused.
    whens = {key: [c for c in when_of(domain) if c.path in index] for key, domain in open_.items()}
    needs: dict[str, tuple[Needs, ...]] = {}
    while len(needs) < len(open_):
        for key, conditions in whens.items():
            if key not in needs and all(c.path in needs for c in conditions):
                own = [Needs(index[c.path], c.test, c.values) for c in conditions]
                needs[key] = tuple(dict.fromkeys([*(n for c in conditions for n in needs[c.path]), *own]))
    decisions = (replace(_decision(key, domain), needs=needs[key]) for key, domain in open_.items())
    return PlainSpace(name, tuple(decisions), fixed)


def _decision(name: str, domain: tree.Choice | tree.Integer | tree.Float) -> Decision:
    if isinstance(domain, tree.Choice):
        return _choice(name, domain)
    low, high = domain.low, domain.high
    assert not isinstance(low, str)
    assert not isinstance(high, str)
    if isinstance(domain, tree.Integer):
        if (high - low) / domain.step + 1 > _MOST_LEVELS:
            return Interval(name, low, high, domain.log, whole=True)
        numbers = tuple(range(int(low), int(high) + 1, domain.step))
        weights = tuple(math.log1p(1 / n) for n in numbers) if domain.log else ()
        return Levels(name, numbers, weights, log=domain.log, default=numbers[0])
    if domain.step is not None:
        count = math.floor((high - low) / domain.step + 1e-9) + 1
        levels = tuple(dict.fromkeys(float(f"{low + i * domain.step:.12g}") for i in range(count)))
        return Levels(name, levels, default=levels[0])
    return Interval(name, float(low), float(high), domain.log, digits=_digits(low, high))


def _digits(low: float, high: float) -> int:
    # Three, and as many more as the ends have in common.
    magnitude = max(abs(low), abs(high))
    if low == high:
        return _MOST_DIGITS
    return min(_MOST_DIGITS, _DIGITS + max(0, math.ceil(math.log10(magnitude / (high - low) / 2))))


def _choice(name: str, domain: tree.Choice) -> Levels:
    values, weights = domain.values, domain.priors
    if any(isinstance(value, str) for value in values):
        return Levels(name, values, weights, ordered=False, default=values[0])
    order = sorted(range(len(values)), key=lambda i: values[i])
    return Levels(
        name,
        tuple(values[i] for i in order),
        tuple(weights[i] for i in order) if weights else (),
        default=values[0],
    )
