"""Content by name: search spaces and objectives are found here, never imported by the engine."""

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from autopeft.errors import unknown_name


@dataclass(frozen=True)
class Objective:
    """A quantity of a trial, with a direction and a unit.

    Attributes:
        name: As it stands in the database and in `--json`.
        direction: Which way is better.
        unit: For people; empty where the number speaks for itself.
        computed: True if known exactly before training, False if measured.
        title: For tables.
    """

    name: str
    direction: Literal["maximize", "minimize"]
    unit: str
    computed: bool
    title: str


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
