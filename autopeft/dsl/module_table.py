"""The table of module types: what each is, and what its tests found on which families of backbones."""

import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autopeft.dsl.module_type import Field, ModuleType
from autopeft.dsl.own_types import OWN_TYPES
from autopeft.dsl.types import MODULE_TYPES

RECORD = Path(str(importlib.resources.files("autopeft"))) / "adapters" / "tested.json"
"""What `tests/adapters/table.py` found, a row for each form of a type."""

Row = dict[str, Any]

_HEADER = """# Modules

Every type of module that a space may name. Made by `python tests/adapters/table.py`, which puts each form of each type on
tiny random backbones; a test holds every cell against what it finds.

"""

_LEGEND = """
- **identity**: the model's output is unchanged before training.
- **trains**: every parameter gets a gradient within two steps, and the output changes.
- **comes off**: the backbone is what it was, bit for bit: weights, modules, hooks, attributes.
- **loads**: a saved adapter gives the same logits when it is loaded again.
- **peft**: `PeftModel.from_pretrained` reads the same files, with the same logits. Our own types are not peft's.
- **count**: trainable parameters, and bytes saved, are what the arithmetic says; of AdaLoRA, whose pruned ranks are not
  saved, fewer bytes once it is trained.
- **packs**: beside other configurations on one model it trains as it does alone (to 1e-4 in the loss of every step), and they
  as they do. The others train alone: they put tokens before the input, change the backbone's weights, or deal out ranks over
  the whole model.
- **parameters**: in the first family, at two linear maps, both blocks, or all norms of two layers of width 16.

"""

_CHECKS = {
    "identity": "identity",
    "trains": "trains",
    "comes off": "comes off",
    "loads": "loads",
    "loads with peft": "peft",
    "exact": "count",
    "packs": "packs",
}


def recorded() -> list[Row]:
    """The recorded rows."""
    rows: list[Row] = json.loads(RECORD.read_text(encoding="utf-8"))
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The table and the types' fields, as `docs/modules.md` has them."""
    lines = ["| type | form | families | " + " | ".join(_CHECKS.values()) + " | parameters |"]
    lines.append("| --- " * (4 + len(_CHECKS)) + "|")
    for row in rows:
        form = ", ".join(f"{name}: {_shown(value)}" for name, value in row["options"].items())
        cells = [_mark(row, check) for check in _CHECKS]
        lines.append(
            f"| `{row['type']}` | {form} | {', '.join(row['families'])} | {' | '.join(cells)} | {row['parameters']} |"
        )
    described = [_described(known) for known in MODULE_TYPES.values()]
    return _HEADER + "\n".join(lines) + "\n" + _LEGEND + "\n".join(described)


def _mark(row: Row, check: str) -> str:
    if check == "exact":
        return "yes" if row["count exact"] and row["bytes exact"] else "no"
    return "–" if check not in row else "yes" if row[check] else "no"


def _described(known: ModuleType) -> str:
    where = {
        "linear": "linear maps",
        "block": "blocks (`attention`, `ffn`)",
        "norm": "the norms of a layer",
        "attention": "attention",
        "input": "the input",
        "bias": "linear maps and norms that have biases",
    }[known.at]
    owner = "ours" if known.name in OWN_TYPES else "peft's"
    lines = [f"## {known.name}", "", f"{known.about[0].upper()}{known.about[1:]}. At {where}; {owner}."]
    if known.source:
        lines.append(f"Source: {known.source}.")
    lines.append("")
    if known.size:
        kind = "a share" if known.size_kind == "fraction" else "whole"
        lines.append(f"- `{known.size}`: its size, {kind}")
    for name, field in known.fields.items():
        lines.append(f"- `{name}`: {_kind(field)}{_default(known, field)}: {field.about}")
    if known.alone:
        lines.append("- one module of a configuration, because its places share parameters")
    return "\n".join([*lines, ""]) if lines[-1] else "\n".join(lines)


def _kind(field: Field) -> str:
    if field.kind == "word" and len(field.words) > 12:
        return f"{field.words[0]} to {field.words[-1]} ({len(field.words)} words)"
    return " or ".join(field.words) if field.kind == "word" else field.kind


def _default(known: ModuleType, field: Field) -> str:
    if field.times_size is not None:
        return f", by default {field.times_size:g} times the {known.size}"
    return ", must be given" if field.default is None else f", by default {_shown(field.default)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
