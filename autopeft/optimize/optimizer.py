"""The suggester by itself: ask for points, tell what came of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autopeft.dsl import Assignment, BoundSpace, PlainSpace, Space, read_space, write_space
from autopeft.errors import InputError, UsedUpError, nearest, unknown_name
from autopeft.optimize.general import (
    TRAINABLE,
    Told,
    expected_values,
    find_general,
    front,
    known_values,
)
from autopeft.optimize.observation import Observation
from autopeft.optimize.samplers import find_proposer
from autopeft.optimize.surrogate import Belief
from autopeft.registry import MOST_OBJECTIVES, Objective


class Optimizer:
    """A search in memory, for a loop of one's own; on any space, for one to four objectives.

    A *point* is a `Configuration` of a space that is bound to a backbone, and a dictionary, decision to value, of a space of
    plain decisions. The next point is a function of what was asked and told so far and of the seed; a new Optimizer that is
    told the same in the same order goes on in the same way.

    >>> from autopeft.dsl import Integer, build_space
    >>> optimizer = Optimizer(build_space("knobs", decisions={"depth": Integer(1, 9)}), [Objective("loss", "minimize")])
    >>> for _ in range(5):
    ...     [point] = optimizer.ask()
    ...     optimizer.tell(point, {"loss": (point["depth"] - 6) ** 2})
    >>> optimizer.pending
    []
    """

    def __init__(
        self,
        space: BoundSpace | PlainSpace | Space,
        objectives: Sequence[Objective],
        *,
        seed: int = 0,
        sampler: str = "botorch",
        beliefs: Sequence[Belief] = (),
    ) -> None:
        """Begin.

        Args:
            space: A space bound to a backbone and a budget, or one of plain decisions.
            objectives: What is measured, and what is known: computed by a bound space (`trainable`, `adapter_bytes`) or by a
                function of the point. One to four, and one of them at least is measured.
            seed: Of everything random.
            sampler: One of `autopeft.optimize.SAMPLERS`.
            beliefs: What is thought of points beforehand; see `autopeft.optimize.suggest.propose`. For a measured objective
                against trainable parameters only.

        Raises:
            InputError: The space is not bound, or the objectives or the sampler cannot be.
        """
        if isinstance(space, Space):
            written = space if space.text else read_space(write_space(space), f"<{space.name}>")
            space = written.plain()
        self.space: BoundSpace | PlainSpace = space
        self.objectives = tuple(objectives)
        self.seed = seed
        _check(space, self.objectives)
        self._measured = {o.name: o for o in self.objectives if not o.known}
        self._beliefs = tuple(beliefs)
        self._told: dict[Assignment, list[Told]] = {}
        self._next: Callable[[], Assignment]
        if isinstance(space, BoundSpace) and _is_trade_off(self.objectives):
            bound, trade_off = space, find_proposer(sampler, beliefs)
            self._next = lambda: trade_off(bound, self._scores(), seed)
        else:
            if beliefs:
                raise InputError(
                    "beliefs are for one measured objective against trainable parameters: leave them out, or search for these."
                )
            plain, general = space, find_general(sampler)
            self._next = lambda: general(plain, self.objectives, self._everything(), seed)

    def ask(self, n: int = 1) -> list[Any]:
        """The next n points, all different and none of them asked for or told before; each is pending until it is told.

        Fewer than n where the space has no more.

        Raises:
            UsedUpError: Every point has been asked for or told.
        """
        if n < 1:
            raise InputError(f"asked for {n} points: ask for one at least.")
        found: list[Any] = []
        for _ in range(n):
            try:
                assignment = self._next()
            except UsedUpError:
                if not found:
                    raise
                break
            self._told[assignment] = [Told(assignment, None)]
            found.append(self.space.configuration(assignment))
        return found

    def tell(self, point: Any, values: Mapping[str, float]) -> None:
        """What was measured at a point, asked for or not; a point told again is another measurement of it.

        Args:
            point: Of the space.
            values: Every measured objective by name. If one is not finite, the point failed: nothing is learnt from it, and
                it is not asked for again.

        Raises:
            InputError: It is no point of the space, an objective is missing or unknown, or a value is no number.
        """
        assignment = self._assignment(point)
        told = [one for one in self._told.get(assignment, []) if one.values is not None]
        self._told[assignment] = [*told, Told(assignment, self._values(values))]

    @property
    def pending(self) -> list[Any]:
        """What was asked for and not told yet."""
        return [self.space.configuration(one.assignment) for one in self._everything() if one.values is None]

    @property
    def front(self) -> list[tuple[Any, dict[str, float]]]:
        """The points that no other is better than in all objectives, with their objectives; the best, of one objective alone.

        By what was told, the mean where a point was told more than once; a luckily measured one is there for its luck.
        """
        points = self._complete()
        rows = [self._mean(self._told[point]) for point in points]
        columns = [
            known_values(self.space, o, points) if o.known else [o.coordinate(row[o.name]) for row in rows]
            for o in self.objectives
        ]
        return self._members(points, rows, columns)

    @property
    def expected_front(self) -> list[tuple[Any, dict[str, float]]]:
        """As `front`, by the surrogate's posterior means instead of what was told, and with them.

        For noisy measurements: what a point's neighbours say of it takes part, so that luck alone puts none on the front.
        Where nothing is noisy, `front` is exact and this is not.
        """
        points = self._complete()
        told = self._everything()
        columns = [
            known_values(self.space, o, points)
            if o.known
            else expected_values(self.space, o, told, points, self._beliefs)
            for o in self.objectives
        ]
        rows = [
            {
                o.name: o.natural(column[i])
                for o, column in zip(self.objectives, columns, strict=True)
                if not o.known
            }
            for i in range(len(points))
        ]
        return self._members(points, rows, columns)

    def _complete(self) -> list[Assignment]:
        return [point for point, told in self._told.items() if any(one.complete for one in told)]

    def _mean(self, told: Sequence[Told]) -> dict[str, float]:
        complete = [one.values for one in told if one.complete and one.values is not None]
        return {name: sum(values[name] for values in complete) / len(complete) for name in self._measured}

    def _members(
        self,
        points: Sequence[Assignment],
        rows: Sequence[Mapping[str, float]],
        columns: Sequence[Sequence[float]],
    ) -> list[tuple[Any, dict[str, float]]]:
        return [
            (
                self.space.configuration(points[i]),
                {o.name: self._natural(o, points[i], rows[i]) for o in self.objectives},
            )
            for i in front(columns)
        ]

    def _natural(self, objective: Objective, assignment: Assignment, row: Mapping[str, float]) -> float:
        if not objective.known:
            return row[objective.name]
        shape = self.space.shape if isinstance(self.space, BoundSpace) else None
        return objective.value(self.space.configuration(assignment), shape)

    def _assignment(self, point: Any) -> Assignment:
        try:
            return self.space.assignment(point)
        except (ValueError, AttributeError, TypeError) as error:
            kind = (
                "a Configuration" if isinstance(self.space, BoundSpace) else "a dictionary, decision to value"
            )
            reason = str(error) if isinstance(error, ValueError) else f"a point is {kind}"
            raise InputError(
                f"this is no point of the space '{self.space.name}': {reason.rstrip('.')}."
            ) from None

    def _values(self, values: Mapping[str, float]) -> dict[str, float]:
        for name in values:
            if name in self._measured:
                continue
            if any(o.name == name for o in self.objectives):
                raise InputError(f"the objective '{name}' is known and not told: leave it out.")
            raise unknown_name("objective", name, self._measured)
        found = {}
        for name in self._measured:
            if name not in values:
                raise InputError(
                    f"the objective '{name}' is missing: all that is measured is told together "
                    f"({', '.join(self._measured)})."
                )
            try:
                found[name] = float(values[name])
            except (TypeError, ValueError):
                raise InputError(f"'{name}' is {values[name]!r}: tell a number.") from None
            if self._measured[name].log and found[name] <= 0:
                raise InputError(f"'{name}' is {found[name]}, and its ratios count: tell a number above 0.")
        return found

    def _everything(self) -> list[Told]:
        return [one for told in self._told.values() for one in told]

    def _scores(self) -> list[Observation]:
        [objective] = self._measured.values()
        found = []
        for one in self._everything():
            score = None if one.values is None else objective.coordinate(one.values[objective.name])
            found.append(
                Observation(one.assignment, math.nan if score is not None and math.isinf(score) else score)
            )
        return found


def _is_trade_off(objectives: Sequence[Objective]) -> bool:
    """Whether it is one measured objective against trainable parameters, for which there is a suggester of its own."""
    known = [(o.name, o.direction, o.function) for o in objectives if o.known]
    return len(objectives) == 2 and known == [(TRAINABLE, "minimize", None)]


def _check(space: BoundSpace | PlainSpace, objectives: Sequence[Objective]) -> None:
    if not 1 <= len(objectives) <= MOST_OBJECTIVES:
        raise InputError(f"there are {len(objectives)} objectives: give one to {MOST_OBJECTIVES}.")
    names = [objective.name for objective in objectives]
    for objective in objectives:
        if names.count(objective.name) > 1:
            raise InputError(f"the objective '{objective.name}' is there twice: leave one out.")
        if objective.direction not in ("maximize", "minimize"):
            hint = nearest(str(objective.direction), ("maximize", "minimize"))
            raise InputError(
                f"the direction of '{objective.name}' is '{objective.direction}': allowed are maximize, minimize.",
                hint,
            )
        if objective.computed and objective.function is None and isinstance(space, PlainSpace):
            raise InputError(
                f"the objective '{objective.name}' is computed by spaces of modules, and '{space.name}' has none: "
                "give it a function of the point, or measure it."
            )
    if all(objective.known for objective in objectives):
        raise InputError(
            "every objective is known, so that there is nothing to tell: one at least must be measured."
        )
