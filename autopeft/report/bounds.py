"""Bounds on objectives as a person writes them: `trainable<=0.1%`, `memory<=8GiB and score>=0.9`."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autopeft.budget import Budget
from autopeft.errors import BudgetError, InputError, unknown_name
from autopeft.registry import Objective

_BETWEEN = re.compile(r"\s*,\s*|\s+and\s+", re.IGNORECASE)
_BOUND = re.compile(r"([\w:.-]+?)\s*(<=|>=|<|>|==?)\s*([^\s=].*)")
_NUMBER = re.compile(r"([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\s*([a-z]*)", re.IGNORECASE)
_BYTES: dict[str, float] = {
    "b": 1, "bytes": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_SECONDS = {"s": 1.0, "ms": 1e-3, "m": 60.0, "min": 60.0, "h": 3600.0}
_FLOPS = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_EXAMPLES = {"bytes": "8GiB", "s": "90s", "parameters": "0.1%", "FLOPs": "2G"}


@dataclass(frozen=True)
class Bound:
    """A bound on one objective.

    Attributes:
        objective: On which.
        test: How a value compares with the limit.
        limit: In the objective's unit; of the score the metric's own value.
    """

    objective: Objective
    test: Literal["<=", ">=", "<", ">"]
    limit: float

    def holds(self, value: float) -> bool:
        """Whether a value is within it. Equal but for rounding is equal."""
        if math.isclose(value, self.limit, rel_tol=1e-12):
            return "=" in self.test
        return value < self.limit if "<" in self.test else value > self.limit


def is_bound(text: str) -> bool:
    """Whether a text is meant as bounds: it has a sign of comparison."""
    return any(sign in text for sign in "<>=")


def parse_bounds(
    text: str,
    objectives: Sequence[Objective],
    *,
    metric: str,
    direction: Literal["maximize", "minimize"],
    parameters: int,
) -> tuple[Bound, ...]:
    """Read bounds, with `and` or commas between them.

    Args:
        text: As it was typed.
        objectives: Of the study; score is meant by the metric's name too.
        metric: What scores are.
        direction: Which way the metric is better.
        parameters: Of the backbone, of which a percent is a share.

    Raises:
        InputError: One cannot be read, is of no objective of the study, or bounds it from the side on which it is better.
    """
    known = {name: one for one in objectives for name in (one.name, one.typed)}
    if "score" in known:
        known[metric] = known["score"]
    found = []
    for one in _BETWEEN.split(text.strip()):
        match = _BOUND.fullmatch(one)
        if match is None or match[2] in ("=", "=="):
            raise InputError(f"cannot read the bound '{one}': write it as trainable<=0.1% or score>=0.9.")
        name, test, value = match[1], match[2], match[3]
        if name not in known:
            raise unknown_name("objective of the study", name, [each.typed for each in objectives])
        objective = known[name]
        better = direction if objective.name == "score" else objective.direction
        if (better == "minimize") != ("<" in test):
            way = "at most: write <=" if better == "minimize" else "at least: write >="
            small = "smaller" if better == "minimize" else "larger"
            raise InputError(
                f"'{one}' asks for a worse {name}: it is better when it is {small}, so bound it with {way}."
            )
        found.append(Bound(objective, test, _value(one, value, objective.unit, parameters)))  # type: ignore[arg-type]
    return tuple(found)


def _value(bound: str, text: str, unit: str, parameters: int) -> float:
    example = _EXAMPLES.get(unit, "0.9")
    wrong = InputError(f"cannot read '{text}' in the bound '{bound}': write a value such as {example}.")
    if unit == "parameters":
        try:
            return float(Budget.parse(text).limit(parameters))
        except BudgetError as error:
            raise InputError(f"cannot read the bound '{bound}': {error.message}", error.hint) from None
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise wrong
    known: dict[str, dict[str, float]] = {"bytes": _BYTES, "s": _SECONDS, "FLOPs": _FLOPS}
    units = known.get(unit, {})
    factor = units.get(match[2].lower()) if match[2] else 1.0
    if factor is None:
        raise wrong
    return float(match[1]) * factor
