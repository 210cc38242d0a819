"""The searchers that are compared, ours among them, behind one interface: the product's ask and tell.

Each module says where the settings that it uses are documented. `METHODS` names them all; a method's module is imported
when the method is made, because some need packages that the others do not.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from autopeft.dsl import BoundSpace
from autopeft.nouns import Configuration


class Peer(Protocol):
    """A searcher; the cost of a configuration is computed from the space, so only the score is told."""

    def ask(self, n: int) -> list[Configuration]:
        """Up to n configurations to evaluate next."""
        ...

    def tell(self, configuration: Configuration, values: Mapping[str, float]) -> None:
        """What was measured, `{"score": ...}`, at a point that was asked for or at another one."""
        ...


@dataclass(frozen=True)
class Method:
    """A searcher with its settings.

    Attributes:
        name: For the command line and the results.
        title: For tables and plots.
        maker: `module:function` of this package; the function takes (space, seed, evaluations) and `settings`.
        settings: Further arguments of the maker.
        standard: Whether it is in the standard set, which two cores run in half an hour.
        trains_again: Whether it pays for what it has asked before. All others are told what is known, and pay nothing.
        preparation: Evaluations that what it does before its first one costs: nothing is found by them.
        evaluations: How many it needs at least; more than the others where it begins with very many at random.
    """

    name: str
    title: str
    maker: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    standard: bool = True
    trains_again: bool = False
    preparation: int = 0
    evaluations: int = 0

    def make(self, space: BoundSpace, seed: int, evaluations: int) -> Peer:
        """A fresh searcher.

        Raises:
            ModuleNotFoundError: It needs a package that is not installed.
        """
        module, _, function = self.maker.partition(":")
        make: Callable[..., Any] = getattr(importlib.import_module(f"peers.{module}"), function)
        return cast(Peer, make(space, seed, evaluations, **self.settings))


_ALL = (
    Method("autopeft", "autopeft (ours)", "ours:make", preparation=1),
    Method("random", "random", "uniform:make"),
    Method("optuna-tpe", "Optuna TPE", "optuna_samplers:make", {"sampler": "tpe"}),
    Method("optuna-nsgaii", "Optuna NSGA-II", "optuna_samplers:make", {"sampler": "nsgaii"}),
    Method("optuna-gp", "Optuna GP", "optuna_samplers:make", {"sampler": "gp"}),
    Method("botorch", "BoTorch qLogNEHVI", "botorch_nehvi:make", standard=False),
    Method("autopeft-paper", "AutoPEFT (MAP-SAAS)", "zhou2024:make", standard=False),
    Method(
        "autopeft-code",
        "AutoPEFT, as its code runs (MAP-SAAS)",
        "zhou2024:make",
        {"as_code": True},
        standard=False,
        trains_again=True,
    ),
    Method(
        "optuna-tpe-multivariate",
        "Optuna TPE, multivariate",
        "optuna_samplers:make",
        {"sampler": "tpe-multivariate"},
        standard=False,
    ),
    Method(
        "optuna-nsgaii-50",
        "Optuna NSGA-II, population 50",
        "optuna_samplers:make",
        {"sampler": "nsgaii-50"},
        standard=False,
    ),
    Method("autopeft-paper-nuts", "AutoPEFT (SAAS by NUTS)", "zhou2024:make", {"nuts": True}, standard=False),
    Method(
        "autopeft-paper-100",
        "AutoPEFT (MAP-SAAS), 100 at random first",
        "zhou2024:make",
        {"start": 100},
        standard=False,
        evaluations=200,
    ),
    Method("smac", "SMAC3 (ParEGO)", "smac_facade:make", standard=False),
)


def _ours(name: str, title: str, **settings: Any) -> Method:
    preparation = int(settings.get("probe", True))
    return Method(f"autopeft-{name}", f"ours, {title}", "ours:make", settings, False, preparation=preparation)


ABLATION = (
    _ours("no-probe", "without the probe", probe=False),
    _ours("no-opinion", "probe not used by the start", without="opinion"),
    _ours("no-alone", "without the terms of single decisions", without="alone"),
    _ours("no-together", "without the term of all together", without="together"),
    _ours("no-trend", "without the trends", without="trend"),
    _ours("no-rows", "layers not in a row", without="rows"),
    _ours("no-climb", "without the local search", without="climb"),
)
"""Ours with one ingredient left out, each."""

METHODS = {method.name: method for method in (*_ALL, *ABLATION)}
