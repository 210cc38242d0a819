"""A space tied to a backbone and a budget: sampling, exact cost, encoding, neighbours.

Notation:
    d           decisions of the space
    assignment  one value for every decision, in order; several assignments may mean one configuration
    limit       the budget in parameters
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from autopeft.dsl.cost import MODULE_TYPES
from autopeft.errors import BudgetError
from autopeft.nouns import BackboneShape, Configuration, Module
from autopeft.pareto import cost_coordinate

Assignment = tuple[Any, ...]

# Steps of a real decision's neighbours, as shares of its range.
_REAL_STEPS = (-0.3, -0.1, -0.03, 0.03, 0.1, 0.3)
# Sweeps of the Gibbs sampler: after three the start is forgotten (tests/dsl/test_bound.py measures it).
_SWEEPS = 3


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
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def decode(self, place: float) -> float:
        """The value at a place in [0, 1]; what lies outside is clipped."""
        place = min(1.0, max(0.0, place))
        if self.log:
            return float(self.low * (self.high / self.low) ** place)
        return self.low + place * (self.high - self.low)


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

    def chosen(self, values: Iterator[Any]) -> tuple[Any, ...]:
        """The members that are on; takes its decisions' values from `values`."""
        return self.of if self.fixed else tuple(member for member in self.of if next(values))


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


@dataclass(frozen=True)
class _Parts:
    """An assignment, taken apart."""

    layers: tuple[int, ...]
    sizes: tuple[int, ...]  # one a spec
    sites: tuple[tuple[str, ...] | None, ...]  # one a spec
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
    _costs: dict[tuple[int, int, tuple[str, ...] | None], tuple[int, ...]] = field(
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

    def _parts(self, assignment: Assignment) -> _Parts:
        values = iter(assignment)
        layers = self.layers.chosen(values)
        sizes, sites = [], []
        for spec in self.specs:
            sizes.append(next(values))
            sites.append(spec.sites.chosen(values) if spec.sites is not None else None)
        return _Parts(layers, tuple(sizes), tuple(sites), next(values))

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
                (m for m in left if m.type == spec.type and dict(m.options).get("position") == spec.position), None
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

    def cost(self, assignment: Assignment) -> int:
        """Exact trainable parameters, in microseconds: sums over a table of per-layer costs."""
        parts = self._parts(assignment)
        total = 0
        for i, size in enumerate(parts.sizes):
            if size:
                table = self._layer_costs(i, size, parts.sites[i])
                total += sum(table[layer] for layer in parts.layers)
        return total

    def _layer_costs(self, spec: int, size: int, sites: tuple[str, ...] | None) -> tuple[int, ...]:
        key = (spec, size, sites)
        if key not in self._costs:
            count = MODULE_TYPES[self.specs[spec].type].trainable
            hidden = self.shape.hidden
            self._costs[key] = tuple(count(size, sites or (), layer, hidden) for layer in self.shape.layers)
        return self._costs[key]

    def valid(self, assignment: Assignment) -> bool:
        """Whether enough layers and sites are on, a module is there, sizes are allowed and the cost is inside."""
        parts = self._parts(assignment)
        if len(parts.layers) < self.layers.minimum or not any(parts.sizes):
            return False
        for spec, size, sites in zip(self.specs, parts.sizes, parts.sites, strict=True):
            if size not in spec.sizes:
                return False
            if sites is not None and spec.sites is not None and len(sites) < spec.sites.minimum:
                return False
        return self.cost(assignment) <= self.limit

    # -- the smallest --------------------------------------------------------------------------------------------

    @cached_property
    def _singles(self) -> tuple[Assignment, ...]:
        """Minimal assignments, one module at its smallest size, by ascending cost.

        For each module the cheapest layers and sites, and each layer and each site in turn: the seeds from
        which every other configuration can be reached by growing.
        """
        singles: dict[Assignment, int] = {}
        for i, spec in enumerate(self.specs):
            size = next((s for s in spec.sizes if s > 0), None)
            if size is None:
                continue
            for layers in self._minimal(self.layers):
                for sites in self._minimal(spec.sites) if spec.sites is not None else [()]:
                    assignment = self._single(i, size, layers, sites)
                    singles[assignment] = self.cost(assignment)
        return tuple(sorted(singles, key=lambda a: singles[a]))

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
        rate = self.decisions[-1]
        assert isinstance(rate, Real)
        values.append(rate.decode(0.5))
        return tuple(values)

    @cached_property
    def smallest(self) -> int:
        """Trainable parameters of the smallest configuration."""
        return self.cost(self._singles[0])

    # -- moving about --------------------------------------------------------------------------------------------

    def sample(self, rng: random.Random, n: int) -> list[Assignment]:
        """Random valid assignments, roughly even in log cost; repetitions are possible.

        Never starves, however small the budget's share of the space: a bound is drawn evenly in log cost
        between the smallest configuration and the limit, and a Gibbs sampler walks inside it from one of the
        minimal configurations.
        """
        low, high = math.log(self.smallest), math.log(self.limit)
        assignments = []
        for _ in range(n):
            bound = max(self.smallest, min(self.limit, math.floor(math.exp(rng.uniform(low, high)) + 1e-9)))
            starts = [a for a in self._singles if self.cost(a) <= bound]
            assignments.append(self._gibbs(rng, rng.choice(starts), bound))
        return assignments

    def _gibbs(self, rng: random.Random, start: Assignment, bound: int) -> Assignment:
        current = list(start)
        for _ in range(_SWEEPS):
            for i in rng.sample(range(len(current)), len(current)):
                decision = self.decisions[i]
                if isinstance(decision, Real):
                    current[i] = decision.decode(rng.random())
                    continue
                allowed = []
                for value in decision.values:
                    current[i], kept = value, current[i]
                    candidate = tuple(current)
                    if self.cost(candidate) <= bound and self.valid(candidate):
                        allowed.append(value)
                    current[i] = kept
                current[i] = rng.choice(allowed)
        return tuple(current)

    def shrink(self, rng: random.Random, assignment: Assignment) -> Assignment:
        """The assignment itself where it is valid, else one near it that is: random steps down, then a sample."""
        current = assignment
        for _ in range(10 * len(self.decisions)):
            if self.valid(current):
                return current
            cost = self.cost(current)
            smaller = [n for n in self._one_exchange(current) if self.cost(n) < cost and any(self._parts(n).sizes)]
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
                values = [decision.decode(place + step) for step in _REAL_STEPS] if decision.low < decision.high else []
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

    def describe(self, configuration: Configuration) -> str:
        """One line for people: `serial 6, prefix 3 in layers 0 2 3; learning rate 0.003`."""
        return describe(configuration, len(self.shape.layers))


def describe(configuration: Configuration, layers: int) -> str:
    """One line for people about a configuration on a backbone with so many layers.

    >>> describe(Configuration.of([Module("prefix", 3, (0, 1))], 0.003), 2)
    'prefix 3 in all layers, lr 0.003'
    """
    by_layers: dict[tuple[int, ...], list[str]] = {}
    for module in configuration.modules:
        by_layers.setdefault(module.layers, []).append(_describe_module(module))
    groups = [
        f"{' + '.join(names)} in {_describe_layers(where, layers)}" for where, names in by_layers.items()
    ]
    return f"{'; '.join(groups) or 'head only'}, lr {configuration.learning_rate:g}"


def _describe_layers(where: tuple[int, ...], layers: int) -> str:
    if len(where) == layers:
        return "all layers"
    return f"layer{'s' if len(where) > 1 else ''} {' '.join(map(str, where))}"


def _describe_module(module: Module) -> str:
    options = dict(module.options)
    name = options.get("position", module.type)
    sites = f" on {','.join(options['sites'])}" if "sites" in options else ""
    return f"{name} {module.size}{sites}"
