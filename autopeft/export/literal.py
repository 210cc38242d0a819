"""Values as source: what evaluates to the same value again."""

import dataclasses
import enum
from typing import Any

import peft

from autopeft.export.inline import Import

_WIDTH = 100
# Fields that peft fills in by itself.
_FILLED_IN = ("peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision")
# Fields that a reader looks for, also where they are peft's defaults.
_SHOWN = ("r", "lora_alpha")


def literal(value: Any, imports: set[Import], indent: int = 0) -> str:
    """Source that evaluates to a value: plain data, and peft's configurations by the fields that are not their defaults.

    Args:
        value: What to write; sets are written in order, as lists.
        imports: Gets what the source needs.
        indent: Columns before the lines after the first.

    >>> literal({"q", "k"}, set())
    "['k', 'q']"
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        imports.add(
            Import("peft" if getattr(peft, kind.__name__, None) is kind else kind.__module__, kind.__name__)
        )
        fields = [f"{name}={literal(v, imports, indent + 4)}" for name, v in _told(value).items()]
        return broken(f"{kind.__name__}(", fields, ")", indent)
    if isinstance(value, enum.Enum):
        return literal(value.value, imports, indent)
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list):
        return broken("[", [literal(v, imports, indent + 4) for v in value], "]", indent)
    if isinstance(value, dict):
        items = [f"{literal(k, imports)}: {literal(v, imports, indent + 4)}" for k, v in value.items()]
        return broken("{", items, "}", indent)
    return repr(value)


def broken(start: str, parts: list[str], end: str, indent: int) -> str:
    """Source of a bracket's parts: on one line if it is short enough, else a line for each part.

    >>> broken("f(", ["x", "y=1"], ")", 0)
    'f(x, y=1)'
    """
    line = f"{start}{', '.join(parts)}{end}"
    if indent + len(line) <= _WIDTH and "\n" not in line:
        return line
    inner = "".join(f"{' ' * (indent + 4)}{part},\n" for part in parts)
    return f"{start}\n{inner}{' ' * indent}{end}"


def _told(config: Any) -> dict[str, Any]:
    told = {}
    for field in dataclasses.fields(config):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        value = getattr(config, field.name)
        if field.name not in _FILLED_IN and (value != default or field.name in _SHOWN):
            told[field.name] = value
    return told


def docstring(text: str) -> str:
    """Source of a docstring: whatever is in the text, such as a study's name, stays inside it."""
    shown = text.replace("\\", r"\\").replace('"', r"\"") if '"""' in text else text.replace("\\", r"\\")
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in shown)
    return f'"""{shown}{" " if shown.endswith(chr(34)) else ""}"""'
