"""A space whose decisions are all among listed values, as a lattice of whole numbers: what most peers can search."""

import random
from collections.abc import Sequence

from autopeft.dsl import Assignment, BoundSpace, Levels

Point = tuple[int, ...]
"""For every decision that has a choice, the position of its value."""

_MISSES = 10_000


class Lattice:
    """The decisions of a space that have a choice, by position.

    Attributes:
        space: The space.
        decisions: Its decisions with more than one value.
        sizes: How many values each has.

    Raises:
        ValueError: A decision is in an interval.
    """

    def __init__(self, space: BoundSpace) -> None:
        self.space = space
        self._fixed: list[object] = []
        self._places: list[int] = []
        self.decisions: list[Levels] = []
        for place, decision in enumerate(space.decisions):
            if isinstance(decision, Levels):
                self._fixed.append(decision.values[0])
                if len(decision.values) > 1:
                    self._places.append(place)
                    self.decisions.append(decision)
            elif decision.low == decision.high:
                self._fixed.append(decision.plain(decision.low))
            else:
                raise ValueError(f"the decision '{decision.name}' is no list of values")
        self.sizes = [len(decision.values) for decision in self.decisions]

    def assignment(self, point: Sequence[int]) -> Assignment:
        """What a point means; it may be no valid one."""
        values = list(self._fixed)
        for place, decision, position in zip(self._places, self.decisions, point, strict=True):
            values[place] = decision.values[position]
        return tuple(values)

    def point(self, assignment: Assignment) -> Point:
        """Where an assignment is."""
        pairs = zip(self._places, self.decisions, strict=True)
        return tuple(decision.position(assignment[place]) for place, decision in pairs)

    def valid(self, point: Sequence[int]) -> bool:
        """Whether it is a configuration of the space, inside the budget."""
        return self.space.valid(self.assignment(point))

    def cost(self, point: Sequence[int]) -> float:
        """Its cost's place between the smallest configuration (0) and the limit (1), on a log scale."""
        return self.space.cost_coordinate(self.space.cost(self.assignment(point)))

    def draw(self, rng: random.Random) -> Point:
        """A valid point; all are equally likely where the budget does not bind hard."""
        for _ in range(_MISSES):
            point = tuple(rng.randrange(size) for size in self.sizes)
            if self.valid(point):
                return point
        return self.point(self.space.sample(rng, 1)[0])

    def neighbours(self, point: Point) -> list[Point]:
        """The valid points that differ in one decision."""
        found = []
        for i, size in enumerate(self.sizes):
            for position in range(size):
                if position != point[i]:
                    near = (*point[:i], position, *point[i + 1 :])
                    if self.valid(near):
                        found.append(near)
        return found

    def groups_of_switches(self) -> list[list[int]]:
        """Decisions of which not all may be at 0: the layers, and the sizes of which some can be 0."""
        kinds = {place: role.kind for place, role in enumerate(self.space.roles)}
        layers = [i for i, place in enumerate(self._places) if kinds[place] == "layers"]
        sizes = [i for i, place in enumerate(self._places) if kinds[place] == "size"]
        can_be_off = all(self.decisions[i].values[0] == 0 for i in sizes)
        return [group for group in (layers, sizes if can_be_off else []) if group]
