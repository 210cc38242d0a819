"""The keys that each trainer's recipe may have: one file a trainer, made by asking its release.

Trainers drop unknown keys without a word, or check no types. So nothing is written that is not in these files.
"""

import functools
import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

_MINUS_ONE = ("pissa_iter",)  # where that means: exactly


@functools.cache
def known(trainer: str) -> Mapping[str, Any]:
    """The file of a trainer: `trainer`, `version`, `source`, and `keys`, each with what its values may be."""
    text = resources.files(__package__).joinpath(f"{trainer}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def check_known(trainer: str, content: Mapping[str, Any]) -> None:
    """That a recipe holds no key that the trainer does not know, and no value that it does not take.

    Raises:
        AssertionError: It does: what writes it is wrong, and not the person.

    >>> check_known("trl", {"lora_r": 4})
    >>> check_known("trl", {"lora_r": 4.5})
    Traceback (most recent call last):
    AssertionError: trl 1.16.0 takes no float for lora_r: int
    """
    file = known(trainer)
    for key, value in content.items():
        if key not in file["keys"]:
            raise AssertionError(f"{trainer} {file['version']} knows no key {key}")
        kinds = file["keys"][key]
        kind = _kind(value)
        if kind not in kinds and not (kind == "int" and "float" in kinds):
            raise AssertionError(f"{trainer} {file['version']} takes no {kind} for {key}: {', '.join(kinds)}")
        least = -1 if key in _MINUS_ONE else 0
        if kind in ("int", "float") and not (math.isfinite(value) and value >= least):
            raise AssertionError(f"{key} is {value}")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict"}
    return names[type(value)]
