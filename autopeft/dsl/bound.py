"""A space tied to a backbone and a budget: all that a search asks of it.

Notation:
    assignment  one value for every decision, in order; several assignments may mean one configuration
    part        one module of the space
    present     a part is present where it has a size above 0 at some place
    limit       the budget in parameters
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from autopeft.dsl import extremes, sampling
from autopeft.dsl.allocators import ALLOCATORS, UNIFORM, deals_out
from autopeft.dsl.choosers import Chooser, Slot
from autopeft.dsl.counting import cardinality
from autopeft.dsl.decisions import Decision, Levels, Needs, decode, met
from autopeft.dsl.parts import MEASURES, SITES, TRAINABLE, Costs, Part, Role
from autopeft.dsl.recovering import recover
from autopeft.errors import BudgetError
from autopeft.nouns import BackboneShape, Configuration, Module
from autopeft.pareto import cost_coordinate

Assignment = tuple[Any, ...]

Change = tuple[tuple[int, Any], ...]  # decisions by index, with their new values

_KEPT = 10_000  # which decisions have an effect: so many answers are remembered


class Encoded(NamedTuple):
    """An assignment as numbers.

    Attributes:
        vector: Numbers in [0, 1]: each decision's, then the log cost. A decision without effect is at its default.
        mask: For each number, whether its decision has an effect; the cost always does.
    """

    vector: list[float]
    mask: list[bool]


@dataclass(frozen=True, eq=False)  # each is itself, so that what is known of one can be kept for it
class BoundSpace:
    """A space on a backbone, inside a budget.

    Attributes:
        name: The space's name.
        shape: The backbone.
        limit: Most trainable parameters.
        layers: Which layers may carry modules.
        parts: The modules.
        decisions: All decisions, in the order of an assignment's values; the learning rate is the last.
        roles: What each decision is about.
        training: Further fields of training, with their sources.
        allocation: Where `type` and fields of the allocator come from; empty where there is none.
        frozen: Conditions, each of which makes the frozen backbone itself a point of the space.
        upper: Greatest values of further measures, by name.
        lower: Least values of measures, by name.

    Raises:
        BudgetError: On construction, if not even the smallest configuration fits in `limit`.
    """

    name: str
    shape: BackboneShape
    limit: int
    layers: Chooser
    parts: tuple[Part, ...]
    decisions: tuple[Decision, ...]
    roles: tuple[Role, ...]
    training: tuple[tuple[str, Slot], ...] = ()
    allocation: tuple[tuple[str, Slot], ...] = ()
    frozen: tuple[tuple[Needs, ...], ...] = ()
    upper: Mapping[str, int] = field(default_factory=dict)
    lower: Mapping[str, int] = field(default_factory=dict)
    _active: dict[Any, list[bool]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.starts:
            raise BudgetError(
                f"the space '{self.name}' holds no module of a size above 0 that its constraints allow."
            )
        if self.smallest > self.limit:
            raise BudgetError(
                f"the budget is {self.limit:,} parameters, but the smallest configuration of the space "
                f"'{self.name}' on this backbone has {self.smallest:,} "
                f"({100 * self.smallest / self.shape.parameters:.2g} % of {self.shape.parameters:,}).",
                f"Allow at least {self.smallest:,}.",
            )

    # -- meaning ---------------------------------------------------------------------------------------------------

    def configuration(self, assignment: Sequence[Any]) -> Configuration:
        """The canonical configuration that an assignment means."""
        modules = [
            m for part in self.parts if part.there(assignment) for m in self._modules(part, assignment)
        ]
        further = {name: slot.value(assignment) for name, slot in self.training}
        return Configuration.of(
            modules,
            assignment[-1],
            {n: v for n, v in further.items() if v is not None},
            self._allocator(assignment, modules),
        )

    def _allocator(self, values: Sequence[Any], modules: Sequence[Module]) -> dict[str, Any]:
        # Nothing where it has no effect, and of its fields those that are not at their defaults.
        if not self.allocation or not any(m.size and m.type in self._dealt for m in modules):
            return {}
        kind = dict(self.allocation)["type"].value(values)
        if kind == UNIFORM:
            return {}
        found = {"type": kind}
        for path, slot in self.allocation:
            owner, _, name = path.partition(".")
            if owner == kind and (value := slot.value(values)) != ALLOCATORS[kind].fields[name].default:
                found[name] = value
        return found

    @cached_property
    def _dealt(self) -> frozenset[str]:
        # Types of module that some allocator of the space deals out.
        slot = dict(self.allocation).get("type", Slot(UNIFORM))
        gates = [self.decisions[i] for i in slot.indices.values()]
        labels = [label for gate in gates if isinstance(gate, Levels) for label in gate.values]
        labels = labels or [slot.constant]
        types = {part.type.name for part in self.parts}
        return frozenset(name for name in types if any(deals_out(label, name) for label in labels))

    def _modules(self, part: Part, values: Sequence[Any]) -> Iterator[Module]:
        layers, sites = part.layers.chosen(values), part.sites.chosen(values)
        if not layers or not sites:
            return
        alike = not part.size.over and not any(slot.over for _, slot in part.options)
        if alike and all(self.costs.there[layer].issuperset(sites) for layer in layers):
            yield part.module(values, layers, sites)
            return
        for layer in layers:
            for site in sites:
                if site in self.costs.there[layer]:
                    yield part.module(values, (layer,), (site,))

    def assignment(self, configuration: Configuration) -> Assignment:
        """The assignment that means this configuration; decisions without effect take their default.

        Raises:
            ValueError: The configuration is no point of this space.
        """
        return recover(self, configuration)

    def canonical(self, assignment: Assignment) -> Assignment:
        """The assignment that `assignment` gives for this one's configuration."""
        if self._many_to_one:
            return recover(self, self.configuration(assignment))
        values = assignment
        while True:  # what has no effect may be what something else depends on
            active = self.active(values)
            plain = tuple(
                d.plain(value) if on else d.default
                for d, value, on in zip(self.decisions, values, active, strict=True)
            )
            if plain == values:
                return plain
            values = plain

    @cached_property
    def _many_to_one(self) -> bool:
        # Whether assignments that differ in what has an effect can mean one configuration.
        alternatives = [
            p.type.name for p in self.parts if any(self.roles[n.index].kind == "gate" for n in p.needs)
        ]
        return (
            len(set(alternatives)) < len(alternatives)
            or any(chooser.window for chooser in self.choosers)
            or (bool(self.choosers) and any(part.size.over for part in self.parts))
            or any(slot.over for part in self.parts for _, slot in part.options)
        )

    @cached_property
    def ways(self) -> tuple[dict[int, str], ...]:
        """Every combination of alternatives, by decision; a gate that is not reached stands at its default."""
        ways: list[dict[int, str]] = [{}]
        for index, (decision, role) in enumerate(zip(self.decisions, self.roles, strict=True)):
            if role.kind != "gate":
                continue
            assert isinstance(decision, Levels)
            above = [need for need in decision.needs if self.roles[need.index].kind == "gate"]
            ways = [
                {**way, index: label}
                for way in ways
                for label in (decision.values if met(above, way) else (decision.default,))
            ]
        return tuple(ways)

    @cached_property
    def cardinality(self) -> int:
        """How many configurations there are, whatever they cost; see `autopeft.dsl.counting`."""
        return cardinality(self)

    # -- cost and validity -------------------------------------------------------------------------------------------

    @cached_property
    def costs(self) -> Costs:
        """The tables behind `cost`."""
        return Costs(self.shape, self.parts)

    def cost(self, assignment: Sequence[Any]) -> int:
        """Exact trainable parameters, in microseconds."""
        return self.costs.measure(assignment, TRAINABLE)

    def valid(self, assignment: Sequence[Any]) -> bool:
        """Whether all is in its domain, enough layers and sites are on, a module is there, and all bounds hold."""
        if not all(d.holds(value) for d, value in zip(self.decisions, assignment, strict=True)):
            return False
        return self._allowed(assignment)

    def _allowed(self, assignment: Sequence[Any]) -> bool:
        # Whether it is valid, every value being in its domain.
        if not all(chooser.allows(len(chooser.chosen(assignment))) for chooser in self.choosers):
            return False
        measured = [self.costs.measure(assignment, m) for m, _, _ in self.bounds]
        if not measured[TRAINABLE] and not self.is_frozen(assignment):  # every module trains something
            return False
        return all(low <= value <= high for value, (_, low, high) in zip(measured, self.bounds, strict=True))

    @cached_property
    def choosers(self) -> tuple[Chooser, ...]:
        """Every choice of layers or sites that is a decision."""
        every = [self.layers, *(c for part in self.parts for c in (part.layers, part.sites))]
        return tuple(dict.fromkeys(c for c in every if c.first >= 0))

    @cached_property
    def chooser_of(self) -> dict[int, Chooser]:
        """Decision to the choice of layers or sites that it is of."""
        return {c.first + i: c for c in self.choosers for i in range(c.width)}

    @cached_property
    def touched(self) -> tuple[tuple[int, ...], ...]:
        """For each decision, the parts whose cost can change with it."""
        found: list[set[int]] = [set() for _ in self.decisions]
        for number, part in enumerate(self.parts):
            slots = (part.size, *(slot for _, slot in part.costly))
            indices = [i for slot in slots for i in (*slot.indices.values(), *(n.index for n in slot.needs))]
            for chooser in (part.layers, part.sites):
                indices.extend(range(chooser.first, chooser.first + chooser.width))
            for index in (*indices, *(need.index for need in part.needs)):
                found[index].add(number)
        return tuple(tuple(sorted(parts)) for parts in found)

    def open_to(self, part: Part, values: Sequence[Any]) -> bool:
        """Whether the alternatives that an assignment takes have this part."""
        return met((need for need in part.needs if self.roles[need.index].kind == "gate"), values)

    def is_frozen(self, values: Sequence[Any]) -> bool:
        """Whether the alternative of the frozen backbone is taken."""
        return any(met(needs, values) for needs in self.frozen)

    @cached_property
    def bounds(self) -> tuple[tuple[int, float, float], ...]:
        """(measure, least, greatest) of every computed objective that is bounded; trainable first."""
        found = []
        for i, name in enumerate(MEASURES):
            upper = self.limit if i == TRAINABLE else self.upper.get(name, math.inf)
            lower = self.lower.get(name, 0)
            if i == TRAINABLE or lower > 0 or upper < math.inf:
                found.append((i, lower, upper))
        return tuple(found)

    def active(self, assignment: Sequence[Any]) -> list[bool]:
        """For each decision, whether it has an effect."""
        # All that it depends on; few of a search's points differ in that.
        present = tuple([bool(self.costs.of_part(i, assignment, SITES)) for i in range(len(self.parts))])
        taken = tuple([(p.layers.chosen(assignment), p.sites.chosen(assignment)) for p in self.parts])
        key = (present, taken, tuple([assignment[i] for i in self._tested]))
        found = self._active.get(key)
        if found is None:
            if len(self._active) >= _KEPT:
                self._active.clear()
            found = self._active[key] = self._find_active(assignment, present, taken)
        return list(found)

    @cached_property
    def _tested(self) -> tuple[int, ...]:
        return tuple(sorted({need.index for decision in self.decisions for need in decision.needs}))

    def _find_active(
        self, assignment: Sequence[Any], present: Sequence[bool], taken: Sequence[tuple[Any, ...]]
    ) -> list[bool]:
        # Where sizes differ from place to place, an absent part is one step in its layers or sites from being there.
        near = [on or bool(part.size.over) for on, part in zip(present, self.parts, strict=True)]
        sharing = any(on for on, part in zip(near, self.parts, strict=True) if part.layers == self.layers)
        found = []
        allocators = {i for _, slot in self.allocation for i in slot.indices.values()}
        dealt = any(
            on and part.type.name in self._dealt for on, part in zip(present, self.parts, strict=True)
        )
        for i, (decision, role) in enumerate(zip(self.decisions, self.roles, strict=True)):
            on = met(decision.needs, assignment)
            if i in allocators:
                on = on and dealt
            elif role.kind == "layers":
                on = sharing
            elif role.kind == "size" and on:
                on = role.concerns(*taken[role.part])
            elif role.part >= 0 and on:
                on = (present if role.kind == "option" else near)[role.part] and role.concerns(
                    *taken[role.part]
                )
            found.append(on)
        return found

    # -- the ends ----------------------------------------------------------------------------------------------------

    @cached_property
    def starts(self) -> tuple[extremes.Start, ...]:
        """Minimal valid assignments from which all others can be reached, by ascending cost."""
        return extremes.find_starts(self)

    @cached_property
    def start_groups(self) -> tuple[tuple[extremes.Start, ...], ...]:
        """The starts by the alternatives that they take and the part that they begin with."""
        groups: dict[tuple[int, int], list[extremes.Start]] = {}
        for start in self.starts:
            groups.setdefault((start.way, start.part), []).append(start)
        return tuple(map(tuple, groups.values()))

    @cached_property
    def smallest(self) -> int:
        """Trainable parameters of the smallest configuration that has any; 0 where none has."""
        return next((start.cost for start in self.starts if start.cost), 0)

    @cached_property
    def largest(self) -> int:
        """Trainable parameters of the largest configuration, whether or not it is inside the budget."""
        return extremes.find_largest(self)

    # -- moving about ------------------------------------------------------------------------------------------------

    def sample(self, rng: random.Random, n: int) -> list[Assignment]:
        """Random valid assignments, roughly even in log cost; repetitions are possible."""
        return [self.sample_at(rng, rng.random()) for _ in range(n)]

    def sample_at(self, rng: random.Random, place: float) -> Assignment:
        """A random valid assignment whose cost is at most the one at a place between smallest and largest.

        It costs more only where the alternative that was drawn has nothing so small. Never starves, however small the
        budget's share of the space; see `autopeft.dsl.sampling`.

        Args:
            rng: The source of chance.
            place: In [0, 1], on the log scale: 0 the smallest configuration, 1 the limit, or the largest
                configuration where that is less (which is reached at 0.95).
        """
        return sampling.sample_at(self, rng, place)

    def shrink(self, rng: random.Random, assignment: Assignment) -> Assignment:
        """The assignment itself where it is valid, else one near it that is: random steps down, then a sample."""
        return sampling.shrink(self, rng, assignment)

    def neighbours(self, assignment: Assignment) -> list[Assignment]:
        """Valid assignments one step away: one decision changed, or two switches of a subset swapped.

        Decisions without effect are left alone.
        """
        every = dict.fromkeys(_changed(assignment, change) for change in self._changes(assignment))
        return [n for n in every if self._allowed(n)]

    def near(self, assignment: Assignment, rng: random.Random, n: int) -> list[Assignment]:
        """Up to n of the neighbours, drawn at random: of the hundreds that a large space has, only these are made."""
        changes = self._changes(assignment)
        rng.shuffle(changes)
        made = (_changed(assignment, change) for change in changes)
        return list(itertools.islice(filter(self._allowed, made), n))

    def one_exchange(self, assignment: Assignment, active: Sequence[bool]) -> Iterator[Assignment]:
        """One decision with an effect changed, valid or not."""
        return (_changed(assignment, change) for change in self._exchanges(assignment, active))

    def swaps(self, assignment: Assignment, active: Sequence[bool]) -> Iterator[Assignment]:
        """Two switches of a subset with an effect swapped, valid or not."""
        return (_changed(assignment, change) for change in self._swaps(assignment, active))

    def _changes(self, assignment: Assignment) -> list[Change]:
        active = self.active(assignment)
        return [*self._exchanges(assignment, active), *self._swaps(assignment, active)]

    def _exchanges(self, assignment: Assignment, active: Sequence[bool]) -> Iterator[Change]:
        for i, decision in enumerate(self.decisions):
            if active[i]:
                for value in decision.neighbours(assignment[i]):
                    yield ((i, value),)

    def _swaps(self, assignment: Assignment, active: Sequence[bool]) -> Iterator[Change]:
        for chooser in self.choosers:
            if chooser.window or not active[chooser.first]:
                continue
            group = range(chooser.first, chooser.first + len(chooser.of))
            for on in (i for i in group if assignment[i]):
                for off in (i for i in group if not assignment[i]):
                    yield ((on, False), (off, True))

    def to_optuna(self, trial: Any) -> Assignment:
        """Ask an Optuna trial for every decision that has an effect, and move the answer inside the bounds.

        Args:
            trial: An `optuna.Trial`; ordered values are asked for by their index, so that samplers see the order.
        """
        values: list[Any] = [decision.default for decision in self.decisions]
        for i in self.in_order:
            decision = self.decisions[i]
            if met(decision.needs, values):
                values[i] = decision.ask(trial)
        return self.shrink(random.Random(repr(values)), tuple(values))

    @cached_property
    def in_order(self) -> tuple[int, ...]:
        """Every decision after those that it depends on; there are no circles."""
        order: list[int] = []
        left = list(range(len(self.decisions)))
        while left:
            ready = [i for i in left if all(n.index in order for n in self.decisions[i].needs)]
            order.extend(ready)
            left = [i for i in left if i not in ready]
        return tuple(order)

    # -- numbers -----------------------------------------------------------------------------------------------------

    def cost_coordinate(self, cost: int) -> float:
        """Where a cost lies between the smallest configuration (0) and the limit (1), on a log scale."""
        return cost_coordinate(cost, self.smallest, self.limit)

    def encode(self, assignment: Assignment) -> Encoded:
        """An assignment as numbers in [0, 1], with the mask of those that have an effect.

        The last number is the log cost: a function of the decisions, but a surrogate sees it at once where it would
        have to learn the product of layers and sizes.
        """
        vector: list[float] = []
        mask: list[bool] = []
        for decision, value, on in zip(self.decisions, assignment, self.active(assignment), strict=True):
            vector.extend(decision.encode(value if on else decision.default))
            mask.extend([on] * decision.width)
        return Encoded([*vector, self.cost_coordinate(self.cost(assignment))], [*mask, True])

    def decode(self, vector: Sequence[float], mask: Sequence[bool]) -> Assignment:
        """The assignment nearest to a vector; what the mask leaves out is at its default.

        `decode(*encode(a))` is `a` for every canonical assignment.
        """
        return decode(self.decisions, vector, mask)


def _changed(assignment: Assignment, change: Change) -> Assignment:
    values = list(assignment)
    for i, value in change:
        values[i] = value
    return tuple(values)
