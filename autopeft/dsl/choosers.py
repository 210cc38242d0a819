"""What decisions decide: which layers and sites are taken, and where a field's value comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import Any

from autopeft.dsl.decisions import Levels, Needs
from autopeft.nouns import plain


@dataclass(frozen=True)
class Chooser:
    """Which of some layers or sites are taken.

    Attributes:
        of: All that may be taken.
        first: Index of its first decision in an assignment; -1 where all are taken and nothing is decided.
        minimum: At least so many.
        maximum: At most so many.
        window: Whether they are neighbours: then the decisions are the first one and how many; else one on/off
            decision a member.
    """

    of: tuple[Any, ...]
    first: int = -1
    minimum: int = 1
    maximum: int = 0
    window: bool = False

    @property
    def width(self) -> int:
        """How many decisions it takes."""
        if self.first < 0:
            return 0
        return 2 if self.window else len(self.of)

    def chosen(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """What an assignment takes."""
        if self.first < 0:
            return self.of
        if not self.window:
            return tuple(compress(self.of, values[self.first : self.first + len(self.of)]))
        count = values[self.first + 1]
        start = min(values[self.first], len(self.of) - count)  # a window that would stick out is moved in
        return self.of[start : start + count]

    def write(self, members: Sequence[Any], values: list[Any]) -> None:
        """Put into an assignment that these are taken, and as few others as must be taken with them."""
        if self.first < 0:
            return
        taken = {i for i, member in enumerate(self.of) if member in members}
        if self.window:
            start = min(taken)
            count = max(max(taken) - start + 1, self.minimum)
            values[self.first : self.first + 2] = [min(start, len(self.of) - count), count]
            return
        others = (i for i in range(len(self.of)) if i not in taken)
        taken |= set(islice(others, max(0, self.minimum - len(taken))))
        values[self.first : self.first + len(self.of)] = [i in taken for i in range(len(self.of))]

    def allows(self, count: int) -> bool:
        """Whether so many may be taken."""
        return self.first < 0 or self.minimum <= count <= self.maximum

    @property
    def fewest(self) -> tuple[tuple[Any, ...], ...]:
        """Smallest sets that may be taken, each member in at least one."""
        if self.first < 0:
            return (self.of,)
        n = len(self.of)
        if self.window:
            return tuple(self.of[k : k + self.minimum] for k in range(n - self.minimum + 1))
        return tuple(tuple(self.of[(k + j) % n] for j in range(self.minimum)) for k in range(n))

    def decisions(self, name: str) -> list[Levels]:
        """Its decisions, to be put at `first`."""
        if self.first < 0:
            return []
        if self.window:
            n = len(self.of)
            return [
                Levels(f"{name}.first", tuple(range(n)), default=0),
                Levels(f"{name}.count", tuple(range(self.minimum, self.maximum + 1)), default=self.minimum),
            ]
        return [
            Levels(f"{name}.{member}", (False, True), default=i < self.minimum)
            for i, member in enumerate(self.of)
        ]


@dataclass(frozen=True)
class Slot:
    """Where a field's value comes from: a constant, one decision, or one for each layer or site.

    Attributes:
        constant: The value, where there is no decision.
        over: Axes along which it differs: `layer`, `site`.
        indices: Decisions by their place along the axes; () where there are no axes.
        times: Factor, where the field is tied to a number.
        needs: Conditions under which it has this value.
        otherwise: Its value where they do not hold.
    """

    constant: Any = None
    over: tuple[str, ...] = ()
    indices: Mapping[tuple[Any, ...], int] = field(default_factory=dict)
    times: float | None = None
    needs: tuple[Needs, ...] = ()
    otherwise: Any = None

    def key(self, layer: int, site: str) -> tuple[Any, ...]:
        """The place along the axes that belongs to a site of a layer."""
        if not self.over:
            return ()
        if len(self.over) == 2:
            return (layer, site)
        return (layer,) if self.over[0] == "layer" else (site,)

    def value(self, values: Sequence[Any], layer: int = 0, site: str = "") -> Any:
        """The field's value in an assignment, at a site of a layer."""
        for need in self.needs:
            if not need.holds(values[need.index]):
                return self.otherwise
        if not self.indices:
            return self.constant
        found = values[self.indices[self.key(layer, site)]]
        if self.times is None:
            return found
        return plain(found * self.times)
