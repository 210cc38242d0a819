"""Content by name: search spaces and objectives are found here, never imported by the engine."""

import importlib
import inspect
import logging
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata, resources
from typing import Any, Literal

from autopeft.errors import InputError, nearest, unknown_name

logger = logging.getLogger(__name__)

ENTRY_POINTS = "autopeft.objectives"
"""The group of entry points by which an installed package brings objectives of its own."""

TRADE_OFF = ("score", "trainable")
"""What a search is for where nothing else is said."""

_MEANING = ("direction", "unit", "title", "short", "log")

FEWEST_OBJECTIVES, MOST_OBJECTIVES = 2, 4
"""Of a search: of one alone there is no front, and of five nearly every trial is on it."""


def _no_objection(backbone: Any, task: Any) -> str:
    return ""


@dataclass(frozen=True)
class Objective:
    """A quantity of a trial, with a direction and a unit.

    It is known before training (`compute`, or `function` for spaces without a backbone), or measured on the trained
    trial (`measure`). What has none of these is reported by every trial anyway, as the score is.

    Attributes:
        name: As it stands in the database and in `--json`.
        direction: Which way is better.
        unit: For people; empty where the number speaks for itself.
        title: For tables.
        short: As a person types it; the name where it is empty.
        log: Whether ratios count rather than differences: of quantities above 0 that span orders of magnitude.
        function: What computes it of a point alone, exactly and in no time.
        compute: What computes it of (configuration, shape of the backbone), exactly and in microseconds.
        measure: What measures it on an `autopeft.train.trained.Trained`, after the last epoch, modules still on.
        prepare: What it needs of the bare backbone: called with the `autopeft.train.Workbench` once a worker, before any
            module is on; the answer is the trained trial's `prepared`.
        objection: Why it cannot be had of (`autopeft.backbones.Backbone`, `autopeft.tasks.task.TaskSettings`); empty if it
            can.
        searchable: Whether a search may be for it. What is only recorded, or what nothing may be chosen by, is not.
        about: How it is computed or measured; by default the docstring of the module that defines it.

    >>> Objective("joules", "minimize", function=lambda point: 2.0 * point["depth"]).known
    True
    """

    name: str
    direction: Literal["maximize", "minimize"]
    unit: str = ""
    title: str = ""
    short: str = ""
    log: bool = False
    function: Callable[[Any], float] | None = None
    compute: Callable[[Any, Any], float] | None = None
    measure: Callable[[Any], float] | None = None
    prepare: Callable[[Any], Any] | None = None
    objection: Callable[[Any, Any], str] = _no_objection
    searchable: bool = True
    about: str = ""

    @property
    def computed(self) -> bool:
        """Whether a space that is bound to a backbone knows it of each point by itself."""
        return self.compute is not None

    @property
    def known(self) -> bool:
        """Whether it is known exactly before anything is measured."""
        return self.computed or self.function is not None

    @property
    def typed(self) -> str:
        """The name by which a person asks for it."""
        return self.short or self.name

    def described(self) -> dict[str, Any]:
        """What it is, as plain JSON: `name`, `short` (as it is typed), `title`, `unit`, `direction`."""
        return {
            "name": self.name,
            "short": self.typed,
            "title": self.title or self.name,
            "unit": self.unit,
            "direction": self.direction,
        }

    def value(self, configuration: Any, shape: Any) -> float:
        """What is known of a configuration on a backbone, in its unit."""
        if self.function is not None:
            return float(self.function(configuration))
        assert self.compute is not None
        return float(self.compute(configuration, shape))

    def coordinate(self, value: float) -> float:
        """A value as points are compared: larger is better, on a log scale where ratios count.

        What is computed counts something, and nothing counts as one there. NaN where a value has no logarithm.

        >>> Objective("joules", "minimize", log=True).coordinate(1.0)
        -0.0
        """
        if self.log:
            least = max(value, 1.0) if self.computed else value
            value = math.log(least) if least > 0 else math.nan
        return value if self.direction == "maximize" else -value

    def natural(self, coordinate: float) -> float:
        """The value, in its unit, of a coordinate."""
        value = coordinate if self.direction == "maximize" else -coordinate
        return math.exp(value) if self.log else value


@cache
def objectives() -> dict[str, Objective]:
    """Every objective, by name: one module each in `objectives/`, then those of installed packages.

    A package's objective that cannot be loaded, or bears a name that is taken, is left out with a warning.
    """
    package = importlib.import_module("autopeft.objectives")
    modules = sorted(m.name for m in pkgutil.iter_modules(package.__path__))
    found = {o.name: o for o in (_load(f"autopeft.objectives.{name}", "OBJECTIVE") for name in modules)}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            objective = _load(point.module, point.attr)
        except Exception as error:  # whatever a package does, the others can still be used
            logger.warning("the objective '%s' of '%s' cannot be used: %s", point.name, point.module, error)
            continue
        if objective.name in found or objective.typed in {o.typed for o in found.values()}:
            logger.warning(
                "the objective '%s' of '%s' is left out: the name is taken", objective.name, point.module
            )
            continue
        found[objective.name] = objective
    return found


def find_objective(reference: str) -> Objective:
    """The objective that a name, a short name, or the path of one's own in Python (`my_package.energy:JOULES`) means.

    Raises:
        UnknownNameError: There is none of this name, or none that a search may be for.
        InputError: There is nothing at this path, or no objective that can be had.
    """
    if ":" in reference:
        module, _, attribute = reference.partition(":")
        return _load(module, attribute)
    known = [objective for objective in objectives().values() if objective.searchable]
    for objective in known:
        if reference in (objective.name, objective.typed):
            return objective
    raise unknown_name("objective", reference, [objective.typed for objective in known])


def find_objectives(references: str | Sequence[str]) -> tuple[tuple[str, ...], tuple[Objective, ...]]:
    """What a search is for: two to four objectives, score and trainable first, then the others by name.

    The order in which they are named has no meaning.

    Args:
        references: As `find_objective` takes each of them; a text has commas between them.

    Returns:
        (how another process finds each of them: its name, or its path in Python; the objectives).

    Raises:
        InputError: There are too few or too many, one twice, or none that has to be measured.
    """
    listed = references.split(",") if isinstance(references, str) else references
    found: dict[str, tuple[str, Objective]] = {}
    for reference in (one.strip() for one in listed):
        objective = find_objective(reference)
        if objective.name in found:
            raise InputError(f"the objective '{objective.typed}' is there twice: leave one out.")
        found[objective.name] = (reference if ":" in reference else objective.name, objective)
    if not FEWEST_OBJECTIVES <= len(found) <= MOST_OBJECTIVES:
        raise InputError(
            f"a search is for {FEWEST_OBJECTIVES} to {MOST_OBJECTIVES} objectives, not {len(found)}: "
            "--objectives score,trainable,memory names three."
        )
    if all(objective.known for _, objective in found.values()):
        raise InputError(
            "every one of these objectives is known before training, so that there is nothing to search for: add score."
        )
    names = [*(name for name in TRADE_OFF if name in found), *sorted(set(found) - set(TRADE_OFF))]
    return tuple(found[name][0] for name in names), tuple(found[name][1] for name in names)


def recorded(reference: str, objective: Objective) -> dict[str, Any]:
    """An objective as a study's settings hold it: how it is found, and what its values mean without it; JSON."""
    meaning = {name: getattr(objective, name) for name in _MEANING}
    return {"reference": reference, "name": objective.name, **meaning}


def objectives_of(settings: Mapping[str, Any]) -> tuple[Objective, ...]:
    """The objectives of a study, by its settings: score and trainable, unless they say others.

    Values mean what they meant when the study was made; of an objective that is not to be found any more they can still be
    read, and no more measured.
    """
    if "objectives" not in settings:
        return tuple(find_objective(name) for name in TRADE_OFF)
    found = []
    for one in settings["objectives"]:
        meaning = {name: one[name] for name in _MEANING}
        try:
            found.append(replace(find_objective(one["reference"]), name=one["name"], **meaning))
        except InputError:
            found.append(Objective(one["name"], **meaning))
    return tuple(found)


def objectives_among(objectives: Sequence[Objective], wanted: Sequence[str]) -> tuple[Objective, ...]:
    """Those of a study's objectives that somebody names, by their names or as they are typed, in the study's order.

    Raises:
        InputError: The study has none of such a name, or fewer than two are named.
    """
    known = {name: one for one in objectives for name in (one.name, one.typed)}
    for name in wanted:
        if name not in known:
            raise unknown_name("objective of the study", name, [one.typed for one in objectives])
    found = tuple(one for one in objectives if any(known[name] is one for name in wanted))
    if len(found) < FEWEST_OBJECTIVES:
        raise InputError(
            f"of {', '.join(wanted)} alone there is no front: name at least {FEWEST_OBJECTIVES} objectives, with commas."
        )
    return found


def _load(module: str, attribute: str) -> Objective:
    """The objective that stands in a module, with the module's docstring to say how it comes about."""
    path = f"{module}:{attribute}"
    try:
        content = importlib.import_module(module)
        found = getattr(content, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = (
            "Put its folder on PYTHONPATH, or install it." if isinstance(error, ModuleNotFoundError) else ""
        )
        raise InputError(f"there is no objective at '{path}': {error}.", hint) from None
    if not isinstance(found, Objective):
        raise InputError(f"what is at '{path}' is no autopeft.Objective, but a {type(found).__name__}.")
    if found.direction not in ("maximize", "minimize"):
        raise InputError(
            f"the direction of '{found.name}' is '{found.direction}': allowed are maximize, minimize.",
            nearest(str(found.direction), ("maximize", "minimize")),
        )
    ours = module.startswith("autopeft.objectives.")
    if not (ours or found.known or found.measure):
        raise InputError(
            f"the objective '{found.name}' says neither how it is computed nor how it is measured."
        )
    return found if found.about else replace(found, about=inspect.getdoc(content) or "")


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
