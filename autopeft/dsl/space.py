"""A search space as it is written, before it meets a backbone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from autopeft.budget import Budget
from autopeft.dsl import tree
from autopeft.dsl.binding import bind
from autopeft.dsl.bound import BoundSpace
from autopeft.dsl.plain import PlainSpace, lay_out
from autopeft.errors import BudgetError, SpaceError
from autopeft.nouns import BackboneShape

_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_AMOUNT = re.compile(r"^(\d+(?:\.\d+)?)\s*([a-z]*)$", re.IGNORECASE)


_ALL_LAYERS = tree.Members()


@dataclass(frozen=True)
class Space:
    """A search space as it is written: of modules, which `bind` ties to a backbone and a budget, or of `decisions` alone.

    Attributes:
        name: The space's name.
        modules: What may be put on, by name.
        training: Domains of training fields; `learning_rate` is there in every space of modules.
        layers: Which layers carry modules, shared by all modules that do not say otherwise.
        source: Where the space is from, for people.
        constraints: Bounds on computed objectives.
        allocation: What deals the modules' parameters out by the data; None: they stay as they are.
        decisions: Values, choices, integers and floats by name, of a space without modules; see `plain`.
        text: The YAML it was read from, complete: the studies' record of what was searched.
    """

    name: str
    modules: Mapping[str, tree.Entry] = field(default_factory=dict)
    training: Mapping[str, tree.Domain] = field(default_factory=dict)
    layers: tree.Selection = _ALL_LAYERS
    source: str = ""
    constraints: tuple[tree.Constraint, ...] = ()
    allocation: tree.Allocation | None = None
    decisions: Mapping[str, tree.Plain] = field(default_factory=dict)
    text: str = field(default="", compare=False, repr=False)

    def bind(self, shape: BackboneShape, limit: int) -> BoundSpace:
        """Tie the space to a backbone and a budget in parameters (the space's own `constraints` join it).

        Raises:
            BackboneError: The space names a layer, a site or a size that the backbone does not have room for.
            BudgetError: Not even the smallest configuration fits.
            SpaceError: The space has no modules.
        """
        self.check_modules()
        bounds = [(c.measure, c.test, _number(parse_bound(c), shape)) for c in self.constraints]
        upper = {m: min(v for n, t, v in bounds if (n, t) == (m, "<=")) for m, t, _ in bounds if t == "<="}
        lower = {m: max(v for n, t, v in bounds if (n, t) == (m, ">=")) for m, t, _ in bounds if t == ">="}
        limit = min(limit, upper.pop("trainable", limit))
        return bind(
            self.name, self.layers, self.modules, self.training, self.allocation, shape, limit, upper, lower
        )

    def check_modules(self) -> None:
        """Refuse a space without modules. Raises: SpaceError, if it is one."""
        if self.decisions:
            raise SpaceError(
                f"the space '{self.name}' has plain decisions and no modules, so that there is nothing to train: "
                "write a space with modules, or use autopeft.Optimizer, which asks for points of any space."
            )

    def plain(self) -> PlainSpace:
        """The space as a search takes it, of plain decisions.

        Raises:
            SpaceError: It is a space of modules.
        """
        if not self.decisions:
            raise SpaceError(f"the space '{self.name}' has modules: tie it to a backbone with bind.")
        return lay_out(self.name, self.decisions)


def _number(bound: Budget | int, shape: BackboneShape) -> int:
    return bound.limit(shape.parameters) if isinstance(bound, Budget) else bound


def parse_bound(constraint: tree.Constraint) -> Budget | int:
    """The number behind a constraint: a budget for `trainable`, bytes, or a count of places.

    Raises:
        BudgetError: It cannot be read.
    """
    if constraint.measure == "trainable":
        return Budget.parse(constraint.value)
    match = _AMOUNT.match(constraint.value)
    scales = _BYTES if constraint.measure == "adapter_bytes" else {"": 1}
    if match is None or match[2].lower() not in scales:
        example = "2MB or 500kB" if constraint.measure == "adapter_bytes" else "a whole number such as 4"
        raise BudgetError(f"cannot read '{constraint.value}': write {constraint.measure} as {example}.")
    number = Decimal(match[1]) * scales[match[2].lower()]
    if number != int(number) or number > 10**18:
        raise BudgetError(f"'{constraint.value}' is no whole number of {constraint.measure}.")
    return int(number)
