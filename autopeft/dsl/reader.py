"""The grammar of a search space: a parsed document to a `Space`, or an error with file, line and column."""

import re

from autopeft.budget import Budget
from autopeft.dsl.cost import MODULE_TYPES
from autopeft.dsl.document import Node, parse
from autopeft.dsl.domains import Real
from autopeft.dsl.space import ModuleSpec, Size, Space, SubsetDomain
from autopeft.errors import BudgetError, nearest

_NAME = re.compile(r"^[a-z][a-z0-9_-]*$")
_BOUND_NAMES = ("hidden", "heads", "intermediate", "layers")
_SITES = ("q", "k", "v", "qkv", "o", "up", "gate", "down")
_CONSTRAINT = re.compile(r"^\s*trainable\s*<=\s*(\S+)\s*$")


def read_space(text: str, file: str) -> Space:
    """Read a search space.

    Args:
        text: YAML; the grammar is in `docs/search-space.md`.
        file: The file's name, for errors.

    Raises:
        SpaceError: With file, line, column, what was found and what is allowed.
    """
    root = parse(text, file)
    fields = root.mapping(
        ("name", "source", "layers", "modules", "training", "constraints"), ("name", "modules", "training")
    )
    name = fields["name"]
    if not isinstance(name.value, str) or not _NAME.match(name.value):
        raise name.error(f"found {name.shown()}, expected a name of lower-case letters, digits, '-' and '_'")
    layers = (
        _subset(fields["layers"], None) if "layers" in fields else SubsetDomain(None, True, 1, root.where)
    )
    modules = _modules(fields["modules"])
    training = fields["training"].mapping(("learning_rate",), ("learning_rate",))
    budgets = (
        tuple(_constraint(n) for n in fields["constraints"].items("[trainable <= 0.5%]"))
        if "constraints" in fields
        else ()
    )
    return Space(
        name.value, text, layers, modules, _real("learning_rate", training["learning_rate"]), budgets
    )


def _modules(node: Node) -> tuple[ModuleSpec, ...]:
    if not isinstance(node.value, dict) or not node.value:
        raise node.error(f"found {node.shown()}, expected modules such as 'adapter: {{type: lora, rank: 8}}'")
    specs = []
    for name, child in node.value.items():
        if not _NAME.match(name):
            raise child.error(
                f"'{name}' is no module name: use lower-case letters, digits, '-' and '_'", key=True
            )
        specs.append(_module(name, child))
    kinds: dict[tuple[str, str | None], str] = {}
    for spec in specs:
        other = kinds.setdefault((spec.type, spec.position), spec.name)
        if other != spec.name:
            raise node.value[spec.name].error(
                f"'{spec.name}' is of the same kind as '{other}': one of each is allowed"
            )
    return tuple(specs)


def _module(name: str, node: Node) -> ModuleSpec:
    if not isinstance(node.value, dict):
        raise node.error(f"found {node.shown()}, expected a module with a type: {', '.join(MODULE_TYPES)}")
    if "type" not in node.value:
        raise node.error(f"the field 'type' is missing: allowed are {', '.join(MODULE_TYPES)}")
    kind = node.value["type"]
    if not isinstance(kind.value, str) or kind.value not in MODULE_TYPES:
        raise kind.error(
            f"unknown module type {kind.shown()}: allowed are {', '.join(MODULE_TYPES)}",
            nearest(str(kind.value), MODULE_TYPES),
        )
    known = MODULE_TYPES[kind.value]
    required = tuple(f for f in ("position", "sites") if f in known.fields)
    fields = node.mapping(("type", known.size, *known.fields), (known.size, *required))
    position = None
    if "position" in fields:
        allowed = known.fields["position"] or ()
        if fields["position"].value not in allowed:
            raise fields["position"].error(
                f"unknown position {fields['position'].shown()}: allowed are {', '.join(allowed)}",
                nearest(str(fields["position"].value), allowed),
            )
        position = str(fields["position"].value)
    sites = _subset(fields["sites"], _SITES) if "sites" in fields else None
    alpha, times = _alpha(fields["alpha"], known.size) if "alpha" in fields else (None, None)
    if kind.value == "lora" and "alpha" not in fields:
        times = 2.0  # the usual rule: alpha is twice the rank
    sizes = _sizes(fields[known.size])
    return ModuleSpec(name, kind.value, sizes, position, sites, alpha, times, node.where)


def _sizes(node: Node) -> tuple[Size, ...]:
    if not isinstance(node.value, dict):
        return (_size(node),)
    domain = node.mapping(("choice",), ("choice",))
    sizes = tuple(_size(child) for child in domain["choice"].items())
    if len(set(sizes)) < len(sizes):
        raise domain["choice"].error("the same value is there twice")
    return sizes


def _size(node: Node) -> Size:
    value = node.value
    if isinstance(value, str) and value in _BOUND_NAMES:
        return value  # type: ignore[return-value]  # one of the four names
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        hint = nearest(value, _BOUND_NAMES) if isinstance(value, str) else ""
        raise node.error(
            f"found {node.shown()}, expected a whole number from 0 (absent), one of {', '.join(_BOUND_NAMES)}, "
            "or {choice: [...]} of these",
            hint,
        )
    return value


def _subset(node: Node, known: tuple[str, ...] | None) -> SubsetDomain:
    if isinstance(node.value, dict):
        fields = node.mapping(("subset", "min"), ("subset",))
        of = _subset_members(fields["subset"], known)
        minimum = fields["min"].value if "min" in fields else 1
        most = len(of) if of else None
        if (
            isinstance(minimum, bool)
            or not isinstance(minimum, int)
            or minimum < 1
            or (most and minimum > most)
        ):
            raise fields["min"].error(
                f"found {fields['min'].shown()}, expected a whole number from 1"
                + (f" to {most}" if most else "")
            )
        return SubsetDomain(of, False, minimum, node.where)
    return SubsetDomain(_subset_members(node, known), True, 1, node.where)


def _subset_members(node: Node, known: tuple[str, ...] | None) -> tuple[str | int, ...] | None:
    if node.value == "all":
        return None
    members: list[str | int] = []
    for child in node.items("[0, 1] or the word all" if known is None else "[q, v] or the word all"):
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


def _alpha(node: Node, size: str) -> tuple[float | None, float | None]:
    if isinstance(node.value, dict):
        fields = node.mapping(("tied", "times"), ("tied",))
        if fields["tied"].value != size:
            raise fields["tied"].error(f"found {fields['tied'].shown()}: alpha can be tied to '{size}'")
        return None, _positive(fields["times"]) if "times" in fields else 1.0
    return _positive(node), None


def _positive(node: Node) -> float:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float) or not 0 < node.value < 1e12:
        raise node.error(f"found {node.shown()}, expected a number above 0")
    return float(node.value)


def _real(name: str, node: Node) -> Real:
    if not isinstance(node.value, dict):
        value = _positive(node)
        return Real(name, value, value, True)
    fields = node.mapping(("float", "log"), ("float",))
    bounds = [_positive(child) for child in fields["float"].items("[1.0e-4, 1.0e-2]")]
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise fields["float"].error("expected [lowest, highest]")
    log = fields["log"].value if "log" in fields else False
    if not isinstance(log, bool):
        raise fields["log"].error(f"found {fields['log'].shown()}, expected true or false")
    return Real(name, bounds[0], bounds[1], log)


def _constraint(node: Node) -> Budget:
    match = _CONSTRAINT.match(str(node.value))
    if match is None:
        raise node.error(f"found {node.shown()}, expected a constraint such as 'trainable <= 0.5%'")
    try:
        return Budget.parse(match[1])
    except BudgetError as error:
        raise node.error(error.message.rstrip("."), error.hint) from None
