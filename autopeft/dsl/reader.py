"""The grammar of a search space: a parsed document to a `Space`, or an error with file, line and column."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autopeft.dsl import tree
from autopeft.dsl.check import check_space
from autopeft.dsl.document import Node, parse
from autopeft.dsl.expression import NAMES, evaluate, is_expression
from autopeft.dsl.extending import extended
from autopeft.dsl.leaves import leaves
from autopeft.dsl.module_type import Field, ModuleType
from autopeft.dsl.space import Space, parse_bound
from autopeft.dsl.types import MODULE_TYPES, TRAINING, sites_of, size_field
from autopeft.dsl.writer import write_space
from autopeft.errors import BudgetError, nearest

FIELDS = ("name", "source", "extends", "layers", "modules", "training", "constraints")
DOMAINS = ("choice", "integer", "float", "tied", "per")
COMPARISON = re.compile(r"^(<=|>=|<|>)\s*(\S.*)$")
CONSTRAINT = re.compile(r"^\s*(\w+)\s*(<=|>=)\s*(\S+(?:\s+\S+)?)\s*$")
MEASURES = ("trainable", "adapter_bytes", "sites")
NAME = re.compile(r"^[a-z][a-z0-9_-]*$")
_MOST_VALUES = 10_000  # of a choice, or steps of an interval
_MOST_MODULES = 100

# Forms of a domain that cannot be at some places.
_NOT_WHERE_SHARED = {"per": "the module's places share parameters, so that it is the same at all of them"}
_NOT_IN_PER = {
    "per": "one 'per' can name both: [layer, site]",
    "tied": "what is tied leaves nothing to choose",
}
_NOT_IN_TRAINING = {
    "per": "training is the same for all layers and sites",
    "tied": "training is tied to no field",
}


def read_space(text: str, file: str) -> Space:
    """Read a search space.

    Args:
        text: YAML; the grammar is in `docs/search-space.md`.
        file: The file's name, for errors; what it extends is looked for beside it.

    Raises:
        SpaceError: With file, line, column, what was found and what is allowed.
    """
    root = parse(text, file)
    root.mapping(FIELDS, ("name",))
    whole = extended(root, file)
    fields = whole.mapping(FIELDS, ("name", "modules", "training"))
    name = fields["name"]
    if not isinstance(name.value, str) or not NAME.match(name.value):
        raise name.error(f"found {name.shown()}, expected a name of lower-case letters, digits, '-' and '_'")
    space = Space(
        name=name.value,
        modules=_modules(fields["modules"]),
        training=_training(fields["training"]),
        layers=_selection(fields["layers"], None) if "layers" in fields else tree.Members(where=whole.where),
        source=_text(fields["source"]) if "source" in fields else "",
        constraints=_constraints(fields["constraints"]) if "constraints" in fields else (),
    )
    if len(leaves(space.modules)[1]) > _MOST_MODULES:
        raise fields["modules"].error(f"more than {_MOST_MODULES} modules")
    check_space(space)
    # What a study records must not change when the space that this one extends does.
    return replace(space, text=text if whole is root else write_space(space))


def build_space(
    name: str,
    modules: Mapping[str, tree.Entry],
    training: Mapping[str, tree.Domain | int | float],
    *,
    layers: tree.Selection | None = None,
    source: str = "",
    constraints: Iterable[str] = (),
) -> Space:
    """A space written in Python, checked as strictly as a file.

    Args:
        name: Its name.
        modules: Entries by name: `ModuleSpec`, or `OneOf` several.
        training: Domains of training fields; `learning_rate` must be there.
        layers: Which layers carry modules; all of them by default.
        source: Where it is from.
        constraints: Such as `trainable <= 0.5%`.

    Raises:
        SpaceError: With line and column in the space's YAML form, `write_space`.

    >>> build_space("tiny", {"a": tree.ModuleSpec("lora", sites=["q"], rank=2)}, {"learning_rate": 0.01}).name
    'tiny'
    """
    domains = {
        key: value if not isinstance(value, int | float) else tree.Value(value)
        for key, value in training.items()
    }
    space = Space(name, modules, domains, layers or tree.Members(), source)
    found = [_constraint(Node(text, f"<{name}>", "constraints")) for text in constraints]
    return read_space(write_space(replace(space, constraints=tuple(found))), f"<{name}>")


def _text(node: Node) -> str:
    if isinstance(node.value, dict | list) or node.value is None:
        raise node.error(f"found {node.shown()}, expected a text")
    return str(node.value)


# -- modules -----------------------------------------------------------------------------------------------------


def _modules(node: Node) -> dict[str, tree.Entry]:
    if not isinstance(node.value, dict) or not node.value:
        raise node.error(f"found {node.shown()}, expected modules such as 'adapter: {{type: lora, rank: 8}}'")
    found = {}
    for name, child in node.value.items():
        if not NAME.match(name):
            raise child.error(
                f"'{name}' is no module name: use lower-case letters, digits, '-' and '_'", key=True
            )
        found[name] = _entry(child)
    return found


def _entry(node: Node) -> tree.Entry:
    if not isinstance(node.value, dict):
        raise node.error(
            f"found {node.shown()}, expected a module such as {{type: lora, rank: 8}}, or one_of several"
        )
    if "one_of" in node.value:
        fields = node.mapping(("one_of", "priors", "when"))
        options = tuple(
            _alternative(child) for child in fields["one_of"].items("[{type: ia3}, {type: lora, ...}]")
        )
        return tree.OneOf(options, _priors(fields, len(options)), _when(fields), node.where)
    if "type" not in node.value:
        for name, child in node.value.items():
            if hint := nearest(name, ("type", "one_of")):
                raise child.error(
                    f"unknown field '{name}': a module has a type, or is one_of several", hint, key=True
                )
        raise node.error(f"the field 'type' is missing: allowed are {', '.join(MODULE_TYPES)}")
    return _module(node)


def _alternative(node: Node) -> tree.Entry:
    if isinstance(node.value, dict) and "modules" in node.value:
        fields = node.mapping(("modules", "when"))
        return tree.SubSpace(_modules(fields["modules"]), _when(fields), node.where)
    return _entry(node)


def _module(node: Node) -> tree.ModuleSpec:
    assert isinstance(node.value, dict)
    kind = node.value["type"]
    if not isinstance(kind.value, str) or kind.value not in MODULE_TYPES:
        raise kind.error(
            f"unknown module type {kind.shown()}: allowed are {', '.join(MODULE_TYPES)}",
            nearest(str(kind.value), MODULE_TYPES),
        )
    known = MODULE_TYPES[kind.value]
    if reason := known.refusal():
        raise kind.error(f"{kind.value} cannot be used here: {reason}")
    fields = node.mapping(allowed_fields(known), required_fields(known))
    refused = _NOT_WHERE_SHARED if known.alone else {}
    domains: dict[str, Any] = {}
    if known.size:
        domains[known.size] = _domain(fields[known.size], size_field(known), refused, size=True)
    for name, field in known.fields.items():
        if name in fields:
            domains[name] = _domain(fields[name], field, refused)
    sites = sites_of(known)
    return tree.ModuleSpec(
        kind.value,
        sites=_selection(fields["sites"], sites) if "sites" in fields else None,
        layers=_selection(fields["layers"], None) if "layers" in fields else None,
        when=_when(fields),
        where=node.where,
        **domains,
    )


def allowed_fields(known: ModuleType) -> tuple[str, ...]:
    """The fields that a module of this type may have, in the order in which they are listed."""
    if known.at == "input":
        return tuple(name for name in ("type", known.size, *known.fields, "when") if name)
    where = ("sites", "layers") if len(sites_of(known)) > 1 else ("layers",)
    return tuple(name for name in ("type", known.size, *where, *known.fields, "when") if name)


def required_fields(known: ModuleType) -> tuple[str, ...]:
    """The fields that a module of this type must have."""
    required = [name for name, f in known.fields.items() if f.default is None and f.times_size is None]
    if not known.sites and known.at != "input" and len(sites_of(known)) > 1:
        required.insert(0, "sites")
    return tuple([known.size, *required] if known.size else required)


# -- domains -----------------------------------------------------------------------------------------------------


def _domain(node: Node, field: Field, refused: Mapping[str, str], *, size: bool = False) -> tree.Domain:
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
    numbers = field.kind in ("integer", "float")
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
    number = "a whole number" if field.kind == "integer" else "a number"
    bounds = f" from {field.low:g}" + (f" to {field.high:g}" if field.high < 1e9 else "")
    expression = f", or an expression (+ - * / //) over {', '.join(NAMES)}" if field.kind == "integer" else ""
    return f"{number}{bounds}{expression}"


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
    return next((nearest(word, NAMES) for word in re.findall(r"[a-z_]+", value) if word not in NAMES), "")


def _value(value: Any, field: Field) -> tree.Scalar | None:
    # The value as the tree holds it; None if the field cannot have it.
    if field.kind == "boolean":
        return value if isinstance(value, bool) else None
    if field.kind == "word":
        word = str(value).lower() if isinstance(value, bool) else value
        return word if isinstance(word, str) and word in field.words else None
    if isinstance(value, str):
        return value if is_expression(value) else None
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
    return tree.Choice(values, _priors(fields, len(values)), _when(fields), fields["choice"].where)


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
    kind = Field("integer" if form == "integer" else "float", low=field.low, high=field.high)
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
        return tree.Integer(low, high, log, int(step or 1), _when(fields), fields[form].where)
    if step is not None and not isinstance(low, str) and not isinstance(high, str):  # noqa: SIM102
        if (float(high) - float(low)) / step > _MOST_VALUES:
            raise fields["step"].error(f"more than {_MOST_VALUES:,} steps: make it larger, or leave it out")
    return tree.Float(low, high, log, step, _when(fields), fields[form].where)


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
    of = _domain(fields["of"], field, _NOT_IN_PER, size=size)
    if not isinstance(of, tree.Choice | tree.Integer | tree.Float):
        raise fields["of"].error(
            f"found {fields['of'].shown()}, expected something to choose from, such as {{choice: {_example(field)}}}"
        )
    ordered: tuple[Any, ...] = tuple(axis for axis in ("layer", "site") if axis in over)
    return tree.Per(ordered, of, fields["per"].where)


def _priors(fields: dict[str, Node], count: int) -> tuple[float, ...]:
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


# -- conditions and selections -------------------------------------------------------------------------------------


def _when(fields: dict[str, Node]) -> tuple[tree.Condition, ...]:
    if "when" not in fields:
        return ()
    node = fields["when"]
    if not isinstance(node.value, dict) or not node.value:
        raise node.error(f"found {node.shown()}, expected conditions such as {{init: [pissa, olora]}}")
    return tuple(_condition(path, child) for path, child in node.value.items())


def _condition(path: str, node: Node) -> tree.Condition:
    where = node.key_where
    if isinstance(node.value, str) and (match := COMPARISON.match(node.value)):
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


def _selection(node: Node, known: tuple[str, ...] | None) -> tree.Selection:
    if not isinstance(node.value, dict):
        return tree.Members(_members(node, known), node.where)
    fields = node.mapping(("subset", "min", "max", "contiguous"), ("subset",))
    of = _members(fields["subset"], known)
    most = len(of) if of is not None else None
    minimum = _count(fields["min"], 1, most) if "min" in fields else 1
    maximum = _count(fields["max"], minimum, most) if "max" in fields else None
    contiguous = fields["contiguous"].value if "contiguous" in fields else False
    if not isinstance(contiguous, bool):
        raise fields["contiguous"].error(f"found {fields['contiguous'].shown()}, expected true or false")
    return tree.Subset(of, minimum, maximum, contiguous, node.where)


def _count(node: Node, least: int, most: int | None) -> int:
    value = node.value
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < least
        or (most is not None and value > most)
    ):
        upper = f" to {most}" if most is not None else ""
        raise node.error(f"found {node.shown()}, expected a whole number from {least}{upper}")
    return value


def _members(node: Node, known: tuple[str, ...] | None) -> tuple[str | int, ...] | None:
    if node.value == "all":
        return None
    members: list[str | int] = []
    for child in node.items(
        "[0, 1] or the word all" if known is None else f"[{', '.join(known[:2])}] or the word all"
    ):
        value = child.value
        if known is None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise child.error(f"found {child.shown()}, expected a layer's number from 0")
        elif value not in known:
            raise child.error(
                f"unknown site {child.shown()}: allowed are {', '.join(known)}", nearest(str(value), known)
            )
        if value in members:
            raise child.error(f"{child.shown()} is there twice")
        members.append(value)
    return tuple(members)


# -- training and constraints ----------------------------------------------------------------------------------------


def _training(node: Node) -> dict[str, tree.Domain]:
    fields = node.mapping(tuple(TRAINING), ("learning_rate",))
    return {name: _domain(child, TRAINING[name], _NOT_IN_TRAINING) for name, child in fields.items()}


def _constraints(node: Node) -> tuple[tree.Constraint, ...]:
    return tuple(_constraint(child) for child in node.items("[trainable <= 0.5%]"))


def _constraint(node: Node) -> tree.Constraint:
    match = CONSTRAINT.match(str(node.value)) if isinstance(node.value, str) else None
    if match is None:
        raise node.error(f"found {node.shown()}, expected a constraint such as 'trainable <= 0.5%'")
    measure, test, value = match.groups()
    if measure not in MEASURES:
        raise node.error(
            f"'{measure}' is not known before training: constraints are on {', '.join(MEASURES)}",
            nearest(measure, MEASURES),
        )
    found = tree.Constraint(measure, test, value, node.where)  # type: ignore[arg-type]
    try:
        parse_bound(found)
    except BudgetError as error:
        raise node.error(error.message.rstrip("."), error.hint) from None
    return found
