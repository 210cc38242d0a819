"""The grammar of domains: what may be written in place of a value, to the tree's domains."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autopeft.dsl import tree
from autopeft.dsl.document import Node
from autopeft.dsl.expression import NAMES, evaluate, is_expression
from autopeft.dsl.module_type import Field
from autopeft.errors import nearest

DOMAINS = ("choice", "integer", "float", "tied", "per")
_COMPARISON = re.compile(r"^(<=|>=|<|>)\s*(\S.*)$")
_MOST_VALUES = 10_000  # of a choice, or steps of an interval

_NOT_IN_PER = {
    "per": "one 'per' can name both: [layer, site]",
    "tied": "what is tied leaves nothing to choose",
}


def read_domain(node: Node, field: Field, refused: Mapping[str, str], *, size: bool = False) -> tree.Domain:
    """A field's domain.

    Args:
        node: What the file says.
        field: What a value may be.
        refused: Forms that cannot be here, with the reason.
        size: Whether it is a size, of which 0 means absent.
    """
    if not isinstance(node.value, dict):
        if isinstance(node.value, list):
            raise node.error(f"found a list, expected {_expected(field)}, or {{choice: [...]}} of these")
        return tree.Value(_scalar(node, field), (), node.where)
    numbers = field.kind in ("integer", "float", "any")
    possible = tuple(f for f in DOMAINS if f not in refused and (numbers or f in ("choice", "per")))
    forms = [form for form in DOMAINS if form in node.value]
    if len(forms) > 1:
        raise node.value[forms[1]].error(
            f"'{forms[0]}' and '{forms[1]}' cannot be together: leave one out", key=True
        )
    if not forms:
        for name, child in node.value.items():
            if name not in ("priors", "when", "log", "step", "times", "of"):
                raise child.error(
                    f"unknown domain '{name}': allowed are {', '.join(possible)}",
                    nearest(name, possible),
                    key=True,
                )
        raise node.error(f"found {node.shown()} without a domain: allowed are {', '.join(possible)}")
    (form,) = forms
    if form not in possible:
        reason = refused.get(form, f"it makes numbers, and this is {_expected(field)}")
        others = " or ".join(filter(None, (", ".join(possible[:-1]), possible[-1])))
        raise node.value[form].error(f"'{form}' cannot be here: {reason}: use {others}", key=True)
    if form == "choice":
        return _choice(node, field)
    if form == "tied":
        fields = node.mapping(("tied", "times"))
        if not isinstance(fields["tied"].value, str):
            raise fields["tied"].error(
                f"found {fields['tied'].shown()}, expected the name of a field such as rank"
            )
        return tree.Tied(
            fields["tied"].value,
            _positive(fields["times"]) if "times" in fields else 1.0,
            fields["tied"].where,
        )
    if form == "per":
        return _per(node, field, size=size)
    return _interval(node, field, form, size=size)


def _expected(field: Field) -> str:
    if field.kind == "boolean":
        return "true or false"
    if field.kind == "word":
        return f"one of {', '.join(field.words)}"
    if field.kind == "any":
        return "a number, a word, true or false"
    number = "a whole number" if field.kind == "integer" else "a number"
    bounds = f" from {field.low:g}" if field.low > -1e9 else ""
    bounds += f" to {field.high:g}" if field.high < 1e9 else ""
    if field.kind == "integer" and field.expressions:
        bounds += f", or an expression (+ - * / //) over {', '.join(NAMES)}"
    return number + bounds


def _scalar(node: Node, field: Field) -> tree.Scalar:
    value = _value(node.value, field)
    if value is None:
        raise node.error(f"found {node.shown()}, expected {_expected(field)}", _hint(node.value, field))
    return value


def _hint(value: Any, field: Field) -> str:
    if not isinstance(value, str):
        return ""
    if field.kind == "word":
        return nearest(value, field.words)
    if not field.expressions:
        return ""
    return next((nearest(word, NAMES) for word in re.findall(r"[a-z_]+", value) if word not in NAMES), "")


def _value(value: Any, field: Field) -> tree.Scalar | None:
    # The value as the tree holds it; None if the field cannot have it.
    if field.kind == "boolean":
        return value if isinstance(value, bool) else None
    if field.kind == "word":
        word = str(value).lower() if isinstance(value, bool) else value
        return word if isinstance(word, str) and word in field.words else None
    if field.kind == "any" and isinstance(value, str | bool):
        return value
    if isinstance(value, str):
        return value if field.expressions and is_expression(value) else None
    numbers = int if field.kind == "integer" else (int, float)
    if isinstance(value, bool) or not isinstance(value, numbers):
        return None
    return value if field.low <= value <= field.high else None


def _choice(node: Node, field: Field) -> tree.Choice:
    fields = node.mapping(("choice", "priors", "when"))
    values = tuple(_scalar(child, field) for child in fields["choice"].items(_example(field)))
    if len(values) > _MOST_VALUES:
        raise fields["choice"].error(f"{len(values):,} values, at most {_MOST_VALUES:,} are allowed")
    if len({(type(v) is bool, v) for v in values}) < len(values):
        raise fields["choice"].error("the same value is there twice")
    return tree.Choice(values, read_priors(fields, len(values)), read_when(fields), fields["choice"].where)


def _example(field: Field) -> str:
    if field.kind == "word":
        return f"[{', '.join(field.words[:2])}]"
    return "[false, true]" if field.kind == "boolean" else "[1, 2, 4]"


def _interval(node: Node, field: Field, form: str, *, size: bool) -> tree.Integer | tree.Float:
    if form == "float" and field.kind == "integer":
        raise node.mapping(("float", "log", "step", "when"))["float"].error(
            "'float' cannot be here: this is a whole number: use integer or choice", key=True
        )
    fields = node.mapping((form, "log", "step", "when"))
    bounds = fields[form].items("[1, 64]" if form == "integer" else "[1.0e-4, 1.0e-2]")
    if len(bounds) != 2:
        raise fields[form].error(f"found a list of {len(bounds)}, expected [lowest, highest]")
    kind = replace(field, kind="integer" if form == "integer" else "float")
    low, high = (_scalar(child, kind) for child in bounds)
    log = fields["log"].value if "log" in fields else False
    if not isinstance(log, bool):
        raise fields["log"].error(f"found {fields['log'].shown()}, expected true or false")
    if not isinstance(low, str) and not isinstance(high, str) and low > high:
        raise fields[form].error(f"found [{bounds[0].value}, {bounds[1].value}], expected [lowest, highest]")
    if not isinstance(low, str) and low <= 0 and (log or (form == "float" and size)):
        reason = "a log scale has no 0" if log else "0 means absent and is no point of an interval"
        raise bounds[0].error(f"found {bounds[0].shown()}, expected a number above 0: {reason}")
    step = _positive(fields["step"]) if "step" in fields else None
    if step is not None and log:
        raise fields["step"].error("'step' and 'log' cannot be together: use choice", key=True)
    if form == "integer":
        if step is not None and not float(step).is_integer():
            raise fields["step"].error(f"found {fields['step'].shown()}, expected a whole number above 0")
        return tree.Integer(low, high, log, int(step or 1), read_when(fields), fields[form].where)
    if step is not None and not isinstance(low, str) and not isinstance(high, str):  # noqa: SIM102
        if (float(high) - float(low)) / step > _MOST_VALUES:
            raise fields["step"].error(f"more than {_MOST_VALUES:,} steps: make it larger, or leave it out")
    return tree.Float(low, high, log, step, read_when(fields), fields[form].where)


def _per(node: Node, field: Field, *, size: bool) -> tree.Per:
    fields = node.mapping(("per", "of"), ("per", "of"))
    children = fields["per"].value if isinstance(fields["per"].value, list) else [fields["per"]]
    over = tuple(child.value for child in children)
    for child in children:
        if child.value not in ("layer", "site"):
            raise child.error(
                f"found {child.shown()}, expected layer, site or [layer, site]",
                nearest(str(child.value), ("layer", "site")),
            )
    if not over or len(set(over)) < len(over):
        raise fields["per"].error(f"found {fields['per'].shown()}, expected layer, site or [layer, site]")
    of = read_domain(fields["of"], field, _NOT_IN_PER, size=size)
    if not isinstance(of, tree.Choice | tree.Integer | tree.Float):
        raise fields["of"].error(
            f"found {fields['of'].shown()}, expected something to choose from, such as {{choice: {_example(field)}}}"
        )
    ordered: tuple[Any, ...] = tuple(axis for axis in ("layer", "site") if axis in over)
    return tree.Per(ordered, of, fields["per"].where)


def read_priors(fields: dict[str, Node], count: int) -> tuple[float, ...]:
    """The weights of so many values or alternatives; empty where none are given."""
    if "priors" not in fields:
        return ()
    node = fields["priors"]
    weights = []
    for child in node.items("[2, 1, 1]"):
        value = child.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
            raise child.error(f"found {child.shown()}, expected a weight from 0")
        weights.append(float(value))
    if len(weights) != count:
        raise node.error(f"found {len(weights)} weights for {count} values, expected one for each")
    if not sum(weights):
        raise node.error("all weights are 0: nothing could be drawn")
    return tuple(weights)


def _positive(node: Node) -> float:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float) or not 0 < node.value < 1e12:
        raise node.error(f"found {node.shown()}, expected a number above 0")
    return float(node.value)


def read_when(fields: dict[str, Node]) -> tuple[tree.Condition, ...]:
    """The conditions of a field or module; empty where there are none."""
    if "when" not in fields:
        return ()
    node = fields["when"]
    if not isinstance(node.value, dict) or not node.value:
        raise node.error(f"found {node.shown()}, expected conditions such as {{init: [pissa, olora]}}")
    return tuple(_condition(path, child) for path, child in node.value.items())


def _condition(path: str, node: Node) -> tree.Condition:
    where = node.key_where
    if isinstance(node.value, str) and (match := _COMPARISON.match(node.value)):
        try:
            number = evaluate(match[2], {})
        except ValueError:
            raise node.error(f"found {node.shown()}, expected a comparison such as '>= 8'") from None
        return tree.Condition(path, match[1], (_whole(number),), where)  # type: ignore[arg-type]
    children: Sequence[Node] = node.items("[pissa, olora]") if isinstance(node.value, list) else [node]
    values = []
    for child in children:
        if isinstance(child.value, dict | list) or child.value is None:
            raise child.error(f"found {child.shown()}, expected a value, a list of values, or '>= 8'")
        values.append(child.value)
    return tree.Condition(path, "in", tuple(values), where)


def _whole(number: float) -> int | float:
    return int(number) if float(number).is_integer() else number
