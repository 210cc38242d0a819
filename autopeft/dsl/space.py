"""A search space as it is written, before it meets a backbone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from autopeft.budget import Budget
from autopeft.dsl import tree
from autopeft.dsl.binding import bind
from autopeft.dsl.bound import BoundSpace
from autopeft.errors import BudgetError
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
    """A search space as it is written; `bind` ties it to a backbone and a budget.

    Attributes:
        name: The space's name.
        modules: What may be put on, by name.
        training: Domains of training fields; `learning_rate` is always there.
        layers: Which layers carry modules, shared by all modules that do not say otherwise.
        source: Where the space is from, for people.
        constraints: Bounds on computed objectives.
        text: The YAML it was read from, complete: the studies' record of what was searched.
    """

    name: str
    modules: Mapping[str, tree.Entry]
    training: Mapping[str, tree.Domain]
    layers: tree.Selection = _ALL_LAYERS
    source: str = ""
    constraints: tuple[tree.Constraint, ...] = ()
    text: str = field(default="", compare=False, repr=False)

    def bind(self, shape: BackboneShape, limit: int) -> BoundSpace:
        """Tie the space to a backbone and a budget in parameters (the space's own `constraints` join it).

        Raises:
            BackboneError: The space names a layer, a site or a size that the backbone does not have room for.
            BudgetError: Not even the smallest configuration fits.
        """
        bounds = [(c.measure, c.test, _number(parse_bound(c), shape)) for c in self.constraints]
        upper = {m: min(v for n, t, v in bounds if (n, t) == (m, "<=")) for m, t, _ in bounds if t == "<="}
        lower = {m: max(v for n, t, v in bounds if (n, t) == (m, ">=")) for m, t, _ in bounds if t == ">="}
        limit = min(limit, upper.pop("trainable", limit))
        return bind(self.name, self.layers, self.modules, self.training, shape, limit, upper, lower)


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
