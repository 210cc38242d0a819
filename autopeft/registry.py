"""Content by name: search spaces and objectives are found here, never imported by the engine."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from autopeft.errors import unknown_name


@dataclass(frozen=True)
class Objective:
    """A quantity of a trial, with a direction and a unit.

    Attributes:
        name: As it stands in the database and in `--json`.
        direction: Which way is better.
        unit: For people; empty where the number speaks for itself.
        computed: True if known exactly before training, by the space itself; False if measured, or if there is a function.
        title: For tables.
        function: What computes it of a point, exactly and in no time; None where it is computed by the space or measured.

    >>> Objective("joules", "minimize", function=lambda point: 2.0 * point["depth"]).known
    True
    """

    name: str
    direction: Literal["maximize", "minimize"]
    unit: str = ""
    computed: bool = False
    title: str = ""
    function: Callable[[Any], float] | None = None

    @property
    def known(self) -> bool:
        """Whether it is known exactly before anything is measured."""
        return self.computed or self.function is not None


@cache
def objectives() -> dict[str, Objective]:
    """Every objective, by name: one module each in `objectives/`."""
    package = importlib.import_module("autopeft.objectives")
    modules = [m.name for m in pkgutil.iter_modules(package.__path__)]
    found = [importlib.import_module(f"autopeft.objectives.{name}").OBJECTIVE for name in sorted(modules)]
    return {objective.name: objective for objective in found}


def space_names() -> list[str]:
    """Names of the search spaces that ship with autopeft."""
    folder = resources.files("autopeft.search_spaces")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def space_text(name: str) -> str:
    """The YAML text of a shipped search space.

    Raises:
        UnknownNameError: No such space ships with autopeft.
    """
    known = space_names()
    if name not in known:
        raise unknown_name("search space", name, known)
    return (resources.files("autopeft.search_spaces") / f"{name}.yaml").read_text(encoding="utf-8")
