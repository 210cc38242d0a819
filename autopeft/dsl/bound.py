"""A space tied to a backbone and a budget: sampling, exact cost, encoding, neighbours.

Notation:
    d           decisions of the space
    assignment  one value for every decision, in order; several assignments may mean one configuration
    limit       the budget in parameters
"""

import bisect
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

from autopeft.dsl.cost import MODULE_TYPES
from autopeft.dsl.domains import Choice, Decision, Real, Subset
from autopeft.errors import BudgetError
from autopeft.nouns import BackboneShape, Configuration, Module, rounded
from autopeft.pareto import cost_coordinate

Assignment = tuple[Any, ...]

# Steps of a real decision's neighbours, as shares of its range.
_REAL_STEPS = (-0.3, -0.1, -0.03, 0.03, 0.1, 0.3)
# Sweeps of the Gibbs sampler. Where the bound leaves room, six forget the start (tests/dsl/test_bound.py measures
# it); where it leaves none, a sample is little more than its start, which is drawn evenly for that reason.
_SWEEPS = 6
# Of the states after the last sweeps the dearest is taken, because most that fits in a bound is well below it.
_CANDIDATES = 3
# Places are stretched by this, so that about one in twenty stands for the largest cost itself.
_BEYOND = 1.05


@dataclass(frozen=True)
class BoundSpec:
    """A module of the space with everything that depended on the backbone put in. Fields as in `ModuleSpec`."""

    name: str
    type: str
    sizes: tuple[int, ...]
    position: str | None
    sites: Subset | None
    alpha: float | None
    alpha_times_rank: float | None

    def module(self, size: int, layers: tuple[int, ...], sites: tuple[str, ...] | None) -> Module:
        """The module with this size in these layers, at these sites."""
        options: dict[str, Any] = {}
        if self.position is not None:
            options["position"] = self.position
        if sites is not None:
            options["sites"] = sites
            options["alpha"] = self.alpha if self.alpha is not None else (self.alpha_times_rank or 1.0) * size
        return Module(self.type, size, layers, tuple(sorted(options.items())))


class _Parts(NamedTuple):
    """An assignment, taken apart."""

    layers: tuple[int, ...]
    sizes: tuple[int, ...]  # one a spec
    sites: tuple[tuple[Any, ...] | None, ...]  # one a spec
    learning_rate: float


@dataclass(frozen=True)
class BoundSpace:
    """A space on a backbone, inside a budget.

    Attributes:
        name: The space's name.
        shape: The backbone.
        limit: Most trainable parameters.
        layers: Which layers may carry modules.
        specs: The modules.
        decisions: All decisions, in the order of an assignment's values.

    Raises:
        BudgetError: On construction, if not even the smallest configuration fits in `limit`.
    """

    name: str
    shape: BackboneShape
    limit: int
    layers: Subset
    specs: tuple[BoundSpec, ...]
    decisions: tuple[Decision, ...]
    _costs: dict[tuple[int, int, tuple[Any, ...] | None], tuple[int, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if not self._singles:
            raise BudgetError(f"the space '{self.name}' holds no module of a size above 0.")
        if self.smallest > self.limit:
            raise BudgetError(
                f"the budget is {self.limit:,} parameters, but the smallest configuration of the space "
                f"'{self.name}' on this backbone has {self.smallest:,} "
                f"({100 * self.smallest / self.shape.parameters:.2g} % of {self.shape.parameters:,}).",
                f"Allow at least {self.smallest:,}.",
            )

    # -- meaning ------------------------------------------------------------------------------------------------

    @cached_property
    def _places(self) -> tuple[int, ...]:
        # Where each spec's size stands in an assignment; its site switches follow.
        places, at = [], self.layers.width
        for spec in self.specs:
            places.append(at)
            at += 1 + (spec.sites.width if spec.sites is not None else 0)
        return tuple(places)

    def _parts(self, assignment: Sequence[Any]) -> _Parts:
        layers = self.layers.chosen(assignment, 0)
        places = self._places
        sizes = tuple([assignment[at] for at in places])
        sites = tuple(
            [
                spec.sites.chosen(assignment, at + 1) if spec.sites is not None else None
                for spec, at in zip(self.specs, places, strict=True)
            ]
        )
        return _Parts(layers, sizes, sites, assignment[-1])

    def configuration(self, assignment: Assignment) -> Configuration:
        """The canonical configuration that an assignment means."""
        parts = self._parts(assignment)
        modules = [
            spec.module(size, parts.layers, sites)
            for spec, size, sites in zip(self.specs, parts.sizes, parts.sites, strict=True)
        ]
        return Configuration.of(modules, parts.learning_rate)

    def assignment(self, configuration: Configuration) -> Assignment:
        """The assignment that means this configuration; decisions without effect take their first value.

        Raises:
            ValueError: The configuration is no point of this space.
        """
        left = list(configuration.modules)
        sizes, sites = [], []
        for spec in self.specs:
            found = next(
                (m for m in left if m.type == spec.type and dict(m.options).get("position") == spec.position),
                None,
            )
            if found is not None:
                left.remove(found)
            sizes.append(found.size if found is not None else 0)
            sites.append(dict(found.options).get("sites") if found is not None else None)
        layers = configuration.modules[0].layers if configuration.modules else ()
        values: list[Any] = [] if self.layers.fixed else [layer in layers for layer in self.layers.of]
        for spec, size, chosen in zip(self.specs, sizes, sites, strict=True):
            values.append(size)
            if spec.sites is not None and not spec.sites.fixed:
                default = spec.sites.of[: spec.sites.minimum]
                values.extend(site in (chosen or default) for site in spec.sites.of)
        values.append(configuration.learning_rate)
        assignment = tuple(values)
        if left or self.configuration(assignment) != configuration or not self.valid(assignment):
            raise ValueError(f"not a point of the space '{self.name}': {configuration.to_json()}")
        return assignment

    def canonical(self, assignment: Assignment) -> Assignment:
        """The one assignment, of all that mean the same configuration, that `assignment(configuration)` gives.

        Decisions without effect take their first value, and the learning rate keeps three digits.
        """
        values = list(assignment)
        for spec, at in zip(self.specs, self._places, strict=True):
            if not values[at] and spec.sites is not None and not spec.sites.fixed:
                default = spec.sites.of[: spec.sites.minimum]
                values[at + 1 : at + 1 + spec.sites.width] = [site in default for site in spec.sites.of]
        values[-1] = rounded(values[-1])
        return tuple(values)

    def cost(self, assignment: Assignment) -> int:
        """Exact trainable parameters, in microseconds: sums over a table of per-layer costs."""
        return self._cost(self._parts(assignment))

    def _cost(self, parts: _Parts) -> int:
        total = 0
        for i, size in enumerate(parts.sizes):
            if size:
                table = self._layer_costs(i, size, parts.sites[i])
                total += sum([table[layer] for layer in parts.layers])
        return total

    def _layer_costs(self, spec: int, size: int, sites: tuple[Any, ...] | None) -> tuple[int, ...]:
        key = (spec, size, sites)
        found = self._costs.get(key)
        if found is None:
            count = MODULE_TYPES[self.specs[spec].type].trainable
            hidden = self.shape.hidden
            layers = self.shape.layers
            found = tuple(count(size, sites or (), layer, hidden) if size else 0 for layer in layers)
            self._costs[key] = found
        return found

    def valid(self, assignment: Assignment) -> bool:
        """Whether enough layers and sites are on, a module is there, all is in its domain and the cost is inside."""
        parts = self._parts(assignment)
        if len(parts.layers) < self.layers.minimum or not any(parts.sizes):
            return False
        for spec, size, sites in zip(self.specs, parts.sizes, parts.sites, strict=True):
            if size not in spec.sizes:
                return False
            if sites is not None and spec.sites is not None and len(sites) < spec.sites.minimum:
                return False
        return self._rate.holds(parts.learning_rate) and self._cost(parts) <= self.limit

    @property
    def _rate(self) -> Real:
        rate = self.decisions[-1]
        assert isinstance(rate, Real)
        return rate

    # -- the smallest --------------------------------------------------------------------------------------------

    @cached_property
    def _singles(self) -> tuple[Assignment, ...]:
        """Minimal assignments, one module at its smallest size, by ascending cost.

        For each module each layer and each site in turn, and for each smallest set of sites the cheapest layers:
        the seeds from which every other configuration can be reached by growing. The first is the smallest
        configuration there is, because costs grow with each layer, site and size.
        """
        singles: dict[Assignment, int] = {}
        for i, spec in enumerate(self.specs):
            size = next((s for s in spec.sizes if s > 0), None)
            if size is None:
                continue
            found = [
                self._single(i, size, layers, sites)
                for layers in self._minimal(self.layers)
                for sites in (self._minimal(spec.sites) if spec.sites is not None else [()])
            ]
            if spec.sites is not None and not spec.sites.fixed:
                every = [
                    *combinations(spec.sites.of, spec.sites.minimum)
                ]  # at most 70: there are eight sites
            else:
                every = [spec.sites.of if spec.sites is not None else ()]
            found.extend(
                self._single(i, size, self._cheapest_layers(i, size, sites), sites) for sites in every
            )
            singles.update((assignment, self.cost(assignment)) for assignment in found)
        return tuple(sorted(singles, key=lambda a: singles[a]))

    @cached_property
    def _single_costs(self) -> tuple[int, ...]:
        return tuple(self.cost(assignment) for assignment in self._singles)

    def _cheapest_layers(self, index: int, size: int, sites: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.layers.fixed:
            return self.layers.of
        parts = self._parts(self._single(index, size, self.layers.of, sites))
        tables = [
            self._layer_costs(i, s, chosen)
            for i, (s, chosen) in enumerate(zip(parts.sizes, parts.sites, strict=True))
        ]
        ascending = sorted(self.layers.of, key=lambda layer: sum(table[layer] for table in tables))
        return tuple(ascending[: self.layers.minimum])

    @staticmethod
    def _minimal(subset: Subset) -> list[tuple[Any, ...]]:
        if subset.fixed:
            return [subset.of]
        n = len(subset.of)
        return [tuple(subset.of[(k + j) % n] for j in range(min(subset.minimum, n))) for k in range(n)]

    def _single(self, index: int, size: int, layers: tuple[Any, ...], sites: tuple[Any, ...]) -> Assignment:
        values: list[Any] = [] if self.layers.fixed else [layer in layers for layer in self.layers.of]
        for i, spec in enumerate(self.specs):
            values.append(size if i == index else spec.sizes[0])
            if spec.sites is not None and not spec.sites.fixed:
                on = sites if i == index else spec.sites.of[: spec.sites.minimum]
                values.extend(site in on for site in spec.sites.of)
        values.append(self._rate.decode(0.5))
        return tuple(values)

    @cached_property
    def smallest(self) -> int:
        """Trainable parameters of the smallest configuration."""
        return self.cost(self._singles[0])

    @cached_property
    def largest(self) -> int:
        """Trainable parameters of the largest configuration, whether or not it is inside the budget."""
        values = [True if isinstance(d, Choice) and d.values[0] is False else None for d in self.decisions]
        sizes = dict(zip(self._places, self.specs, strict=True))
        return self.cost(tuple(sizes[i].sizes[-1] if i in sizes else value for i, value in enumerate(values)))

    # -- moving about --------------------------------------------------------------------------------------------

    def sample(self, rng: random.Random, n: int) -> list[Assignment]:
        """Random valid assignments, roughly even in log cost; repetitions are possible."""
        return [self.sample_at(rng, rng.random()) for _ in range(n)]

    def sample_at(self, rng: random.Random, place: float) -> Assignment:
        """A random valid assignment whose cost is at most the one at a place between smallest and largest.

        Never starves, however small the budget's share of the space: a Gibbs sampler walks inside the bound from
        one of the minimal configurations. What it finds is close to the bound, so even places make costs that are
        roughly even on the log scale.

        Args:
            rng: The source of chance.
            place: In [0, 1], on the log scale: 0 the smallest configuration, 1 the limit, or the largest
                configuration where that is less (which is reached at 0.95).
        """
        top = min(self.limit, self.largest)
        # A little beyond the end, so that what is at the very top is found too.
        exponent = place * _BEYOND * math.log(top / self.smallest)
        bound = min(top, math.floor(self.smallest * math.exp(exponent) + 1e-9))
        starts = bisect.bisect_right(self._single_costs, bound)
        return self._gibbs(rng, self._singles[rng.randrange(starts)], bound)

    def _gibbs(self, rng: random.Random, start: Assignment, bound: int) -> Assignment:
        current = list(start)
        owner = self._owners
        layers, sizes, sites, _ = self._parts(current)
        tables = [self._layer_costs(i, size, sites[i]) for i, size in enumerate(sizes)]
        chosen = list(layers)  # the layers that are on, in any order
        totals = [sum([table[layer] for layer in chosen]) for table in tables]
        order = list(range(len(current)))
        dearest, most = start, 0
        for sweep in range(_SWEEPS):
            rng.shuffle(order)
            for i in order:
                decision, spec = self.decisions[i], owner[i]
                if isinstance(decision, Real):
                    current[i] = decision.decode(rng.random())
                elif spec is None:  # a layer's switch: on with what the modules there cost, or off
                    layer = self.layers.of[i]
                    step = sum([table[layer] for table in tables])
                    if current[i]:
                        if len(chosen) > self.layers.minimum and rng.random() < 0.5:
                            current[i] = False
                            chosen.remove(layer)
                            totals = [
                                total - table[layer] for total, table in zip(totals, tables, strict=True)
                            ]
                    elif sum(totals) + step <= bound and rng.random() < 0.5:
                        current[i] = True
                        chosen.append(layer)
                        totals = [total + table[layer] for total, table in zip(totals, tables, strict=True)]
                else:  # a size or a site of one module: only that module's cost changes
                    room = bound - sum(totals) + totals[spec]
                    if i == self._places[spec]:
                        current[i] = self._draw_size(rng, current, spec, chosen, room)
                    elif rng.random() < 0.5:
                        current[i] = not current[i]
                        if not self._fits(current, spec, chosen, room):
                            current[i] = not current[i]
                    tables[spec] = self._own_costs(current, spec)
                    totals[spec] = sum([tables[spec][layer] for layer in chosen])
            if sweep >= _SWEEPS - _CANDIDATES and sum(totals) > most:
                dearest, most = tuple(current), sum(totals)
        return dearest

    @cached_property
    def _owners(self) -> tuple[int | None, ...]:
        # For each decision the spec that it belongs to; None for layers and the learning rate.
        owners: list[int | None] = [None] * len(self.decisions)
        for i, (spec, at) in enumerate(zip(self.specs, self._places, strict=True)):
            width = 1 + (spec.sites.width if spec.sites is not None else 0)
            owners[at : at + width] = [i] * width
        return tuple(owners)

    def _own_costs(self, values: Sequence[Any], spec: int) -> tuple[int, ...]:
        # What one module costs in each layer.
        at, subset = self._places[spec], self.specs[spec].sites
        return self._layer_costs(
            spec, values[at], subset.chosen(values, at + 1) if subset is not None else None
        )

    def _fits(self, values: Sequence[Any], spec: int, layers: Sequence[int], room: int) -> bool:
        # Whether one module has enough sites and is inside the room.
        at, subset = self._places[spec], self.specs[spec].sites
        if subset is not None and len(subset.chosen(values, at + 1)) < subset.minimum:
            return False
        costs = self._own_costs(values, spec)
        return sum([costs[layer] for layer in layers]) <= room

    def _draw_size(
        self, rng: random.Random, values: Sequence[Any], spec: int, layers: Sequence[int], room: int
    ) -> int:
        # Any size inside the room, and not 0 where no other module is there. Costs grow with the size.
        at, subset, sizes = self._places[spec], self.specs[spec].sites, self.specs[spec].sizes
        sites = subset.chosen(values, at + 1) if subset is not None else None

        def cost(size: int) -> int:
            costs = self._layer_costs(spec, size, sites)
            return sum([costs[layer] for layer in layers])

        others = any(values[place] for place in self._places if place != at)
        first = 1 if sizes[0] == 0 and not others else 0
        return sizes[rng.randrange(first, bisect.bisect_right(sizes, room, lo=first, key=cost))]

    def shrink(self, rng: random.Random, assignment: Assignment) -> Assignment:
        """The assignment itself where it is valid, else one near it that is: random steps down, then a sample."""
        current = assignment
        for _ in range(10 * len(self.decisions)):
            if self.valid(current):
                return current
            cost = self.cost(current)
            smaller = [
                n for n in self._one_exchange(current) if self.cost(n) < cost and any(self._parts(n).sizes)
            ]
            if not smaller:
                break
            current = rng.choice(smaller)
        return self.sample(rng, 1)[0]

    def neighbours(self, assignment: Assignment) -> list[Assignment]:
        """Valid assignments one step away: one decision changed, or two switches of a subset swapped."""
        found = [n for n in (*self._one_exchange(assignment), *self._swaps(assignment)) if self.valid(n)]
        return list(dict.fromkeys(found))

    def _one_exchange(self, assignment: Assignment) -> Iterator[Assignment]:
        for i, decision in enumerate(self.decisions):
            if isinstance(decision, Choice):
                values = [v for v in decision.values if v != assignment[i]]
            else:
                place = decision.encode(assignment[i])
                values = (
                    [decision.decode(place + step) for step in _REAL_STEPS]
                    if decision.low < decision.high
                    else []
                )
            for value in values:
                yield (*assignment[:i], value, *assignment[i + 1 :])

    def _swaps(self, assignment: Assignment) -> Iterator[Assignment]:
        groups: dict[str, list[int]] = {}
        for i, decision in enumerate(self.decisions):
            if isinstance(decision, Choice) and decision.values == (False, True):
                groups.setdefault(decision.name.rpartition(".")[0], []).append(i)
        for group in groups.values():
            for on in (i for i in group if assignment[i]):
                for off in (i for i in group if not assignment[i]):
                    swapped = list(assignment)
                    swapped[on], swapped[off] = False, True
                    yield tuple(swapped)

    # -- numbers -------------------------------------------------------------------------------------------------

    def cost_coordinate(self, cost: int) -> float:
        """Where a cost lies between the smallest configuration (0) and the limit (1), on a log scale."""
        return cost_coordinate(cost, self.smallest, self.limit)

    def encode(self, assignment: Assignment) -> list[float]:
        """A vector of d + 1 numbers in [0, 1]: each decision, then the log cost.

        The cost is a function of the decisions, but a surrogate sees it at once where it would have to learn
        the product of layers and sizes.
        """
        vector = [decision.encode(value) for decision, value in zip(self.decisions, assignment, strict=True)]
        return [*vector, self.cost_coordinate(self.cost(assignment))]
