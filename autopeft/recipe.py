"""Our own recipe of one trial: a JSON file with all that training it again takes, and the score that has to come back.

It needs no database. The data and the backbone are not in it: where they are, and the data's fingerprint, are. Reading is
strict, because a field that is passed over in silence is another training than the one that the score is of.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopeft.dsl.allocators import ALLOCATORS
from autopeft.dsl.module_type import Field
from autopeft.dsl.types import MODULE_TYPES, TRAINING, sites_of, size_field
from autopeft.errors import InputError, nearest, unknown_name
from autopeft.nouns import Configuration, Module

FORMAT, VERSION = "autopeft recipe", 1
"""What the files say that they are, and the version of their fields that is written and read here."""

NAME = "recipe.json"
"""The file in a folder."""

TOLERANCE = 0.01
"""How far a score may be from the recipe's and count as the same, as a share of it where it is above 1. On the machine, thread
count and versions of the search it is the same to the last digit on a CPU; elsewhere sums are added in another order."""


@dataclass(frozen=True)
class Recipe:
    """One trial, to be trained again.

    Attributes:
        description: The configuration in a line.
        found: Where it is from: `study`, `trial`, `space`, `budget`; for people.
        backbone: `model` as it was named, the `path` that is loaded, `overrides` of its configuration, `sites` named by hand,
            `storage` of its weights, `parameters` without the head.
        task: As `autopeft.tasks.task.TaskSettings` writes itself.
        configuration: What is trained; with an allocator, what it deals out.
        plan: What the allocator made of it; None without one.
        training: Fields of `autopeft.train.Training`.
        seed: Of head, modules and batch order.
        metric: What the scores are.
        score: On validation after the last epoch, the metric's own value.
        tolerance: What counts as the same, as `TOLERANCE`.
        trainable: Trainable parameters, the head not counted.
        further: Other scores: `test_score`, and what `confirmed` seeds came to; for people.
        environment: Versions and the device of the trial, and its `threads`.
    """

    description: str
    found: Mapping[str, Any]
    backbone: Mapping[str, Any]
    task: Mapping[str, Any]
    configuration: Configuration
    plan: Configuration | None
    training: Mapping[str, Any]
    seed: int
    metric: str
    score: float
    tolerance: float
    trainable: int
    further: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    def came_back(self, score: float) -> bool:
        """Whether a score of the metric is the recipe's, within its tolerance."""
        return abs(score - self.score) <= self.within

    @property
    def within(self) -> float:
        """The tolerance in the metric's own unit."""
        return self.tolerance * max(1.0, abs(self.score))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; `from_json` reads it back."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "description": self.description,
            "found": dict(self.found),
            "backbone": dict(self.backbone),
            "task": dict(self.task),
            "configuration": self.configuration.to_json(),
            **({} if self.plan is None else {"plan": self.plan.to_json()}),
            "training": dict(self.training),
            "seed": self.seed,
            "result": {
                "metric": self.metric,
                "score": self.score,
                "tolerance": self.tolerance,
                "trainable": self.trainable,
                **self.further,
            },
            "environment": dict(self.environment),
        }

    @classmethod
    def from_json(cls, data: Any) -> "Recipe":
        """Read what `to_json` wrote.

        Raises:
            InputError: It is no recipe, of another version, lacks a field, or has one that is unknown or of the wrong kind.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InputError(f"it is no recipe of autopeft: its 'format' is not '{FORMAT}'.")
        if data.get("version") != VERSION:
            raise InputError(
                f"it is a recipe of version {data.get('version')!r}, and this autopeft reads version {VERSION}.",
                "Use the autopeft that wrote it, or a newer one.",
            )
        _check("", data, _FIELDS)
        for part, fields in (("backbone", _BACKBONE), ("result", _RESULT)):
            _check(f"{part}.", data[part], fields)
        result = dict(data["result"])
        return cls(
            description=data["description"],
            found=data["found"],
            backbone=data["backbone"],
            task=data["task"],
            configuration=_configuration("configuration", data["configuration"]),
            plan=_plan(data["plan"]) if "plan" in data else None,
            training=data["training"],
            seed=data["seed"],
            metric=result.pop("metric"),
            score=float(result.pop("score")),
            tolerance=float(result.pop("tolerance")),
            trainable=result.pop("trainable"),
            further=result,
            environment=data["environment"],
        )


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a file, or in a folder that holds one.

    Raises:
        InputError: There is none, or it cannot be used.
    """
    file = Path(path)
    if file.is_dir():
        file = file / NAME
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"there is no recipe '{file}'.", "`autopeft export STUDY DIR --to autopeft` writes one."
        ) from None
    except (OSError, ValueError) as error:  # a decoder's errors are ValueErrors
        raise InputError(f"cannot read the recipe '{file}': {error}.") from None
    try:
        return Recipe.from_json(content)
    except InputError as error:
        raise InputError(f"cannot use '{file}': {error.message}", error.hint) from None


def write_recipe(recipe: Recipe, place: Path) -> Path:
    """Write a recipe to a file, if its name ends in `.json`, else into a folder; both are made. Answers with the file."""
    file = place if place.suffix == ".json" else place / NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(recipe.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return file


# -- strict reading ----------------------------------------------------------------------------------------------------

_Kinds = tuple[type, ...]
_NUMBER: _Kinds = (int, float)

# Each field, what it is in JSON, and whether it may be left out.
_FIELDS: dict[str, tuple[_Kinds, bool]] = {
    "format": ((str,), False),
    "version": ((int,), False),
    "description": ((str,), False),
    "found": ((dict,), False),
    "backbone": ((dict,), False),
    "task": ((dict,), False),
    "configuration": ((dict,), False),
    "plan": ((dict,), True),
    "training": ((dict,), False),
    "seed": ((int,), False),
    "result": ((dict,), False),
    "environment": ((dict,), False),
}
_BACKBONE: dict[str, tuple[_Kinds, bool]] = {
    "model": ((str,), False),
    "path": ((str,), False),
    "overrides": ((dict,), False),
    "sites": ((dict,), True),
    "storage": ((dict,), True),
    "parameters": ((int,), False),
}
_RESULT: dict[str, tuple[_Kinds, bool]] = {
    "metric": ((str,), False),
    "score": (_NUMBER, False),
    "tolerance": (_NUMBER, False),
    "trainable": ((int,), False),
    "test_score": (_NUMBER, True),
    "confirmed": ((dict,), True),
}
_MODULE: dict[str, tuple[_Kinds, bool]] = {
    "type": ((str,), False),
    "size": (_NUMBER, False),
    "layers": ((list,), False),
    "sites": ((list,), False),
}
_WORDS = {str: "a text", int: "a whole number", float: "a number", dict: "an object", list: "a list"}


def _check(where: str, data: Mapping[str, Any], fields: Mapping[str, tuple[_Kinds, bool]]) -> None:
    for name, (kinds, optional) in fields.items():
        if name not in data:
            if not optional:
                raise InputError(f"it has no '{where}{name}'.")
            continue
        value = data[name]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise InputError(f"its '{where}{name}' is {_short(value)}, and not {_WORDS[kinds[-1]]}.")
    for name in data:
        if name not in fields:
            raise InputError(f"it has an unknown field '{where}{name}'.", nearest(name, fields))


def _configuration(where: str, data: Mapping[str, Any]) -> Configuration:
    """A configuration every field of which is known, and within what its type allows."""
    fields: dict[str, tuple[_Kinds, bool]] = {
        "modules": ((list,), False),
        "learning_rate": (_NUMBER, False),
        "allocation": ((dict,), True),
        **{name: (_NUMBER, True) for name in TRAINING if name != "learning_rate"},
    }
    _check(f"{where}.", data, fields)
    for name, known in TRAINING.items():
        if name in data:
            _check_value(f"{where}.{name}", data[name], known)
    for number, module in enumerate(data["modules"]):
        _check_module(f"{where}.modules[{number}]", module)
    if "allocation" in data:
        given = dict(data["allocation"])
        kind = given.pop("type", None)
        if kind not in ALLOCATORS:
            raise unknown_name("allocator", str(kind), ALLOCATORS)
        _check_options(f"{where}.allocation", given, ALLOCATORS[kind].fields)
    return Configuration.of(
        [Module.from_json(module) for module in data["modules"]],
        data["learning_rate"],
        {name: data[name] for name in TRAINING if name != "learning_rate" and name in data},
        data.get("allocation"),
    )


def _plan(data: Mapping[str, Any]) -> Configuration:
    """What an allocator made, which may have values that no space can name; it is for people, and not what is trained."""
    try:
        return Configuration.from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError("its 'plan' is no configuration.") from None


def _check_module(where: str, module: Any) -> None:
    if not isinstance(module, dict):
        raise InputError(f"its '{where}' is {_short(module)}, and not an object.")
    _check(f"{where}.", {name: v for name, v in module.items() if name in _MODULE}, _MODULE)
    if module["type"] not in MODULE_TYPES:
        raise unknown_name("module type", module["type"], MODULE_TYPES)
    known = MODULE_TYPES[module["type"]]
    if not all(
        isinstance(layer, int) and not isinstance(layer, bool) and layer >= 0 for layer in module["layers"]
    ):
        raise InputError(f"its '{where}.layers' are not whole numbers from 0.")
    for site in module["sites"]:
        if site not in sites_of(known):
            raise unknown_name(f"site of {known.name}", str(site), sites_of(known))
    if known.size:
        _check_value(f"{where}.size", module["size"], size_field(known))
    _check_options(where, {n: v for n, v in module.items() if n not in _MODULE}, known.fields)


def _check_options(where: str, given: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    for name, value in given.items():
        if name not in fields:
            raise InputError(f"it has an unknown field '{where}.{name}'.", nearest(name, fields))
        _check_value(f"{where}.{name}", value, fields[name])


def _check_value(where: str, value: Any, known: Field) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    right = {
        "integer": number and float(value).is_integer(),
        "float": number,
        "boolean": isinstance(value, bool),
        "word": value in known.words,
        "any": number or isinstance(value, bool | str),
    }[known.kind]
    if not right:
        wanted = {"integer": "a whole number", "float": "a number", "boolean": "true or false"}
        said = wanted.get(known.kind) or f"one of {', '.join(known.words)}"
        raise InputError(f"its '{where}' is {_short(value)}, and not {said}.")
    if known.kind in ("integer", "float") and not known.low <= value <= known.high:
        raise InputError(f"its '{where}' is {_short(value)}: allowed are {known.low:g} to {known.high:g}.")


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
