"""Decisions and their domains, once everything that depends on the backbone is put in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

# Configurations keep three digits of the learning rate, so one may lie this much outside of its interval.
_ROUNDING = 5.1e-3


@dataclass(frozen=True)
class Choice:
    """A decision among listed values: sizes in ascending order, or off and on."""

    name: str
    values: tuple[Any, ...]

    def encode(self, value: Any) -> float:
        """The value's position among its peers, in [0, 1]."""
        return self.values.index(value) / max(1, len(self.values) - 1)


@dataclass(frozen=True)
class Real:
    """A decision in an interval."""

    name: str
    low: float
    high: float
    log: bool

    def encode(self, value: float) -> float:
        """The value's place in the interval, in [0, 1]."""
        if self.low == self.high:
            return 0.0
        value = min(self.high, max(self.low, value))
        if self.log:
            return min(1.0, math.log(value / self.low) / math.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)

    def holds(self, value: float) -> bool:
        """Whether a value, to its three digits, is in the interval."""
        return self.low * (1 - _ROUNDING) <= value <= self.high * (1 + _ROUNDING)

    def decode(self, place: float) -> float:
        """The value at a place in [0, 1]; what lies outside is clipped."""
        place = min(1.0, max(0.0, place))
        if self.log:
            return min(self.high, float(self.low * (self.high / self.low) ** place))
        return min(self.high, self.low + place * (self.high - self.low))


Decision = Choice | Real


@dataclass(frozen=True)
class Subset:
    """A subset of `of`: all of it where `fixed`, else one on/off decision a member, at least `minimum` on."""

    of: tuple[Any, ...]
    fixed: bool
    minimum: int

    def switches(self, name: str) -> list[Choice]:
        """The on/off decisions, one a member; none where all are taken."""
        return [] if self.fixed else [Choice(f"{name}.{member}", (False, True)) for member in self.of]

    @property
    def width(self) -> int:
        """How many decisions it takes."""
        return 0 if self.fixed else len(self.of)

    def chosen(self, values: Sequence[Any], start: int) -> tuple[Any, ...]:
        """The members that are on; its decisions' values begin at `start`."""
        return self.of if self.fixed else tuple(compress(self.of, values[start : start + len(self.of)]))
