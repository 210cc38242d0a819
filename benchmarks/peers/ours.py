"""Ours: `autopeft.Optimizer`, with the probe that a search begins with; and the same without one ingredient.

The probe takes less time than one of the table's trainings (`peft_table/probe.json` has its seconds) and counts as one.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import autopeft
from autopeft.allocate.gradients import Gradients
from autopeft.dsl import BoundSpace
from autopeft.nouns import Configuration
from autopeft.optimize import climb, suggest, surrogate
from autopeft.optimize.features import Group
from autopeft.optimize.probed import believe_gradients
from autopeft.optimize.start import start
from autopeft.registry import objectives

PROBE = Path(__file__).parent.parent / "peft_table" / "probe.json"
_NOWHERE = surrogate.Prior(-25.0, 1e-3)  # of the logarithm of a term's weight: the term is not there


def make(
    space: BoundSpace,
    seed: int,
    evaluations: int,
    probe: bool = True,
    without: str = "",
    gradients: Gradients | None = None,
) -> Any:
    """The product's optimiser.

    Args:
        space: The space.
        seed: Of the optimiser; also which of the probes it has.
        evaluations: How many there will be; it does not ask.
        probe: Whether it begins with a probe.
        without: A key of `WITHOUT`: the ingredient that is left out.
        gradients: What the probe found, on another space than the table's.
    """
    known = objectives()
    beliefs = believe_gradients(space, gradients or probe_of(seed)) if probe else []
    optimizer = autopeft.Optimizer(space, [known["score"], known["trainable"]], seed=seed, beliefs=beliefs)
    return _Without(optimizer, without) if without else optimizer


def probe_of(seed: int) -> Gradients:
    """What the probe of a seed found; there are as many as repeats in the standard set, and then from the first again."""
    probes = json.loads(PROBE.read_text(encoding="utf-8"))["gradients"]
    return Gradients.from_json(probes[seed % len(probes)])


def _alone(self: Group) -> torch.Tensor:
    return torch.eye(self.width, dtype=torch.float64)


def _blind(space: BoundSpace, seen: Any, seed: int, beliefs: Any, rates: tuple[float, float]) -> Any:
    return start(space, seen, seed, rates)


WITHOUT: Mapping[str, tuple[Any, str, Any]] = {
    "together": (surrogate, "_TOGETHER", _NOWHERE),
    "alone": (surrogate, "_ALONE", _NOWHERE),
    "trend": (surrogate, "_TREND", _NOWHERE),
    "rows": (Group, "alike", property(_alone)),
    "climb": (climb, "_STEPS", 0),
    "opinion": (suggest, "_thought_best", _blind),
}
"""Ingredient to what is replaced to leave it out: an object, its attribute, the value."""


class _Without:
    """The optimiser with an ingredient replaced while it is asked."""

    def __init__(self, optimizer: autopeft.Optimizer, ingredient: str) -> None:
        self._optimizer = optimizer
        self._ingredient = ingredient

    @contextlib.contextmanager
    def _replaced(self) -> Iterator[None]:
        holder, name, value = WITHOUT[self._ingredient]
        with patch.object(holder, name, value):
            yield

    def ask(self, n: int) -> list[Configuration]:
        """As `Optimizer.ask`."""
        with self._replaced():
            return self._optimizer.ask(n)

    def tell(self, configuration: Configuration, values: Mapping[str, float]) -> None:
        """As `Optimizer.tell`."""
        self._optimizer.tell(configuration, values)
