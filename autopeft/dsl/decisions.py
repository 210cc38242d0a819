"""Decisions and their domains, once everything that depends on the backbone is put in."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from autopeft.nouns import rounded

# Configurations keep three digits of a number, so one may lie this much outside of its interval.
_ROUNDING = 5.1e-3
# Steps of a neighbour, as shares of the range: of intervals, and of lists too long to offer every value.
_STEPS = (-0.3, -0.1, -0.03, 0.03, 0.1, 0.3)
_SHORT = 16

Test = Literal["in", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True)
class Needs:
    """A condition: the decision with this index has a value that passes the test."""

    index: int
    test: Test
    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value of that decision passes."""
        if self.test == "in":
            return value in self.values
        bound = self.values[0]
        if self.test == "!=":
            return bool(value != bound)
        if self.test in ("<", "<="):
            return bool(value < bound or (self.test == "<=" and value == bound))
        return bool(value > bound or (self.test == ">=" and value == bound))


def met(needs: Iterable[Needs], values: Sequence[Any] | Mapping[int, Any]) -> bool:
    """Whether all conditions hold, by the decisions' values."""
    return all(need.holds(values[need.index]) for need in needs)


@dataclass(frozen=True)
class Levels:
    """A decision among listed values.

    Attributes:
        name: `adapter.rank`, `layers.3`.
        values: Numbers in ascending order; words and alternatives as they were listed; False and True.
        weights: How often each is drawn; empty where all are alike.
        ordered: Whether neighbouring values are alike, so that the position is a number.
        log: Whether positions are even on a log scale (of numbers above 0).
        default: The value that stands for "without effect".
        needs: Conditions under which the decision has an effect.
    """

    name: str
    values: tuple[Any, ...]
    weights: tuple[float, ...] = ()
    ordered: bool = True
    log: bool = False
    default: Any = None
    needs: tuple[Needs, ...] = ()

    @cached_property
    def _positions(self) -> dict[Any, int]:
        return {value: i for i, value in enumerate(self.values)}

    def position(self, value: Any) -> int:
        """The value's index. Raises: KeyError, if it is no value of this decision."""
        return self._positions[value]

    def holds(self, value: Any) -> bool:
        """Whether it is one of the values."""
        return value in self._positions

    def plain(self, value: Any) -> Any:
        """The value as configurations hold it."""
        return value

    @property
    def width(self) -> int:
        """How many numbers encode it: one, or one a value where values have no order."""
        return 1 if self.ordered or len(self.values) <= 2 else len(self.values)

    @cached_property
    def places(self) -> tuple[float, ...]:
        """Each value's place in [0, 1]."""
        n = len(self.values)
        if self.log and n > 1:
            low, high = math.log(self.values[0]), math.log(self.values[-1])
            return tuple((math.log(value) - low) / (high - low) for value in self.values)
        return tuple(i / max(1, n - 1) for i in range(n))

    def place(self, value: Any) -> float:
        """The value's place in [0, 1]; the nearest value's, of a number that is none."""
        if value in self._positions:
            return self.places[self._positions[value]]
        return self.places[min(range(len(self.values)), key=lambda i: abs(self.values[i] - value))]

    def at(self, place: float) -> Any:
        """The value whose place is nearest."""
        return self.decode([place])

    def encode(self, value: Any) -> list[float]:
        """The value's place in [0, 1], or a 1 among zeros."""
        return list(self._codes[self._positions[value]])

    @cached_property
    def _codes(self) -> list[list[float]]:
        if self.width == 1:
            return [[place] for place in self.places]
        return [[float(j == i) for j in range(len(self.values))] for i in range(len(self.values))]

    def decode(self, numbers: Sequence[float]) -> Any:
        """The value nearest to these numbers."""
        if self.width == 1:
            places = self.places
            return self.values[min(range(len(places)), key=lambda i: abs(places[i] - numbers[0]))]
        return self.values[max(range(len(numbers)), key=lambda i: numbers[i])]

    def draw(self, rng: random.Random) -> Any:
        """A random value, by the weights."""
        if self.weights:
            return rng.choices(self.values, self.weights)[0]
        return self.values[rng.randrange(len(self.values))]

    @property
    def by_index(self) -> bool:
        """Whether Optuna is asked for the index: its samplers then see the order."""
        return self.ordered and len(self.values) > 2

    def ask(self, trial: Any) -> Any:
        """Ask an Optuna trial for it."""
        if self.by_index:
            return self.values[trial.suggest_int(self.name, 0, len(self.values) - 1)]
        return trial.suggest_categorical(self.name, self.values)

    def neighbours(self, value: Any) -> list[Any]:
        """Other values one step away: all of a short list, else some near and some further off."""
        n, i = len(self.values), self._positions[value]
        if n <= _SHORT or not self.ordered:
            return [v for v in self.values if v != value]
        steps = {max(1, round(abs(share) * n)) for share in _STEPS} | {1}
        near = sorted({i + sign * step for step in steps for sign in (-1, 1)})
        return [self.values[j] for j in near if 0 <= j < n]


@dataclass(frozen=True)
class Interval:
    """A decision in an interval, to three significant digits; whole numbers where `whole`.

    Without effect it stands at `low`, or at `high` where `falls`, because the least size costs the most. See `Levels`.

    Attributes:
        digits: Significant digits of a value, which is then never outside of the ends. 0: three, as configurations are
            rounded, and an end of more digits may be rounded outwards.
    """

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    falls: bool = False
    needs: tuple[Needs, ...] = ()
    digits: int = 0

    @property
    def default(self) -> float:
        """The value that stands for "without effect"."""
        return self.plain(self.high if self.falls else self.low)

    @property
    def width(self) -> int:
        """How many numbers encode it."""
        return 1

    def plain(self, value: float) -> float:
        """The value as configurations hold it: whole, or three significant digits (see `digits`)."""
        if self.whole:
            return round(value)
        if not self.digits:
            return rounded(value)
        return min(self.high, max(self.low, float(f"{value:.{self.digits}g}")))

    def place(self, value: float) -> float:
        """The value's place in [0, 1]."""
        if self.low == self.high:
            return 0.0
        value = min(self.high, max(self.low, value))
        if self.log:
            return min(1.0, math.log(value / self.low) / math.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)

    def at(self, place: float) -> float:
        """The value at a place in [0, 1]; what lies outside is clipped."""
        place = min(1.0, max(0.0, place))
        if self.log:
            return self.plain(min(self.high, float(self.low * (self.high / self.low) ** place)))
        return self.plain(min(self.high, self.low + place * (self.high - self.low)))

    def holds(self, value: float) -> bool:
        """Whether a value, to its three digits, is in the interval."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        slack = 0.0 if self.whole or self.digits else _ROUNDING * abs(value)
        return self.low - slack <= value <= self.high + slack

    def encode(self, value: float) -> list[float]:
        """The value's place in [0, 1]."""
        return [self.place(value)]

    def decode(self, numbers: Sequence[float]) -> float:
        """The value at that place."""
        return self.at(numbers[0])

    def draw(self, rng: random.Random) -> float:
        """A random value, even on the scale."""
        return self.at(rng.random())

    def ask(self, trial: Any) -> float:
        """Ask an Optuna trial for it."""
        if self.whole:
            return int(trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log))
        return self.plain(trial.suggest_float(self.name, self.low, self.high, log=self.log))

    def neighbours(self, value: float) -> list[float]:
        """Other values at fixed steps along the scale."""
        if self.low == self.high:
            return []
        place = self.place(value)
        found = [self.at(place + step) for step in _STEPS]
        return [v for v in dict.fromkeys(found) if v != value]


Decision = Levels | Interval


def decode(decisions: Sequence[Decision], vector: Sequence[float], mask: Sequence[bool]) -> tuple[Any, ...]:
    """The values nearest to encoded ones; what the mask leaves out is at its default."""
    values, at = [], 0
    for decision in decisions:
        numbers = vector[at : at + decision.width]
        values.append(decision.decode(numbers) if mask[at] else decision.default)
        at += decision.width
    return tuple(values)
