"""The keys that a trainer's recipe may have, with what their values may be, asked of the trainer itself.

    python tests/export/known_keys.py TRAINER > autopeft/export/known/TRAINER.json

in an environment that has the trainer (`tests/export/trainers.py`).
"""

import collections.abc
import dataclasses
import importlib
import importlib.metadata
import json
import sys
import types
import typing
from typing import Any

# Trainer -> distribution, and the classes whose fields are its keys.
CLASSES = {
    "trl": (
        "trl",
        ["trl:ScriptArguments", "trl:SFTConfig", "trl:ModelConfig", "trl:DatasetMixtureConfig"],
    ),
    "axolotl": ("axolotl", ["axolotl.utils.schemas.config:AxolotlInputConfig"]),
    "llamafactory": (
        "llamafactory",
        [
            f"llamafactory.hparams:{name}Arguments"
            for name in ("Model", "Data", "Training", "Finetuning", "Generating")
        ],
    ),
    "adapters": ("adapters", ["adapters:BnConfig"]),
    "training-arguments": ("transformers", ["transformers:TrainingArguments"]),  # as adapters has them
}
_PLAIN = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}


def values_of(annotation: Any) -> set[str]:
    """What a value may be: `bool`, `int`, `float`, `str`, `null`, `list`, `dict`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return values_of(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return set().union(*(values_of(one) for one in typing.get_args(annotation)))
    if origin is typing.Literal:
        return {_PLAIN[type(one)] for one in typing.get_args(annotation)}
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        return {"dict"}
    if isinstance(origin, type) and issubclass(origin, collections.abc.Sequence | collections.abc.Set):
        return {"list"}
    if annotation in _PLAIN:
        return {_PLAIN[annotation]}
    if isinstance(annotation, type) and issubclass(annotation, str):
        return {"str"}
    return {"dict", "list", "str"} if annotation is Any else {"dict"}


def known(trainer: str) -> dict[str, Any]:
    """The content of a trainer's file."""
    distribution, classes = CLASSES[trainer]
    keys: dict[str, list[str]] = {}
    for name in classes:
        module, _, attribute = name.partition(":")
        cls = getattr(importlib.import_module(module), attribute)
        if dataclasses.is_dataclass(cls):
            hints = typing.get_type_hints(cls)
            fields = {field.name: hints.get(field.name, field.type) for field in dataclasses.fields(cls)}
        else:
            fields = {key: field.annotation for key, field in cls.model_fields.items()}
        keys |= {key: sorted(values_of(annotation)) for key, annotation in fields.items()}
    version = importlib.metadata.version(distribution)
    source = f"fields of {', '.join(classes)}"
    if trainer in ("trl", "llamafactory"):
        source += f" beside transformers {importlib.metadata.version('transformers')}"
    return {
        "trainer": trainer,
        "version": version,
        "source": source,
        "keys": dict(sorted(keys.items())),
    }


def text_of(found: dict[str, Any]) -> str:
    """A trainer's file."""
    lines = [f"    {json.dumps(key)}: {json.dumps(values)}" for key, values in found.pop("keys").items()]
    head = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
    return f'{{\n{head},\n  "keys": {{\n' + ",\n".join(lines) + "\n  }\n}\n"


if __name__ == "__main__":
    sys.stdout.write(text_of(known(sys.argv[1])))
