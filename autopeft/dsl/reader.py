"""The grammar of a search space: a parsed document to a `Space`, or an error with file, line and column."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from autopeft.dsl import tree
from autopeft.dsl.allocators import ALLOCATORS
from autopeft.dsl.check import check_space
from autopeft.dsl.document import Node, parse
from autopeft.dsl.domain_reader import read_domain, read_priors, read_when
from autopeft.dsl.extending import extended
from autopeft.dsl.leaves import leaves
from autopeft.dsl.module_type import ModuleType
from autopeft.dsl.parts import MEASURES
from autopeft.dsl.plain_reader import read_decisions
from autopeft.dsl.space import Space, parse_bound
from autopeft.dsl.types import MODULE_TYPES, TRAINING, sites_of, size_field
from autopeft.dsl.writer import write_space
from autopeft.errors import BudgetError, SpaceError, nearest

Known = TypeVar("Known")

FIELDS = (
    *("name", "source", "extends", "layers", "modules", "training", "allocation", "constraints"),
    "decisions",
)
CONSTRAINT = re.compile(r"^\s*(\w+)\s*(<=|>=)\s*(\S+(?:\s+\S+)?)\s*$")
NAME = re.compile(r"^[a-z][a-z0-9_-]*$")
_MOST_MODULES = 100

# Forms of a domain that cannot be at some places.
_NOT_WHERE_SHARED = {"per": "the module's places share parameters, so that it is the same at all of them"}
_NOT_IN_ALLOCATION = {
    "per": "an allocator is the same for all layers and sites",
    "tied": "an allocator is tied to no field",
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
    plain = isinstance(whole.value, dict) and "decisions" in whole.value
    fields = whole.mapping(FIELDS, ("name", "decisions") if plain else ("name", "modules", "training"))
    name = fields["name"]
    if not isinstance(name.value, str) or not NAME.match(name.value):
        raise name.error(f"found {name.shown()}, expected a name of lower-case letters, digits, '-' and '_'")
    source = _text(fields["source"]) if "source" in fields else ""
    if plain:
        space = Space(name.value, source=source, decisions=_decisions(fields))
        return replace(space, text=text if whole is root else write_space(space))
    space = Space(
        name=name.value,
        modules=_modules(fields["modules"]),
        training=_training(fields["training"]),
        layers=_selection(fields["layers"], None) if "layers" in fields else tree.Members(where=whole.where),
        source=source,
        constraints=_constraints(fields["constraints"]) if "constraints" in fields else (),
        allocation=_allocation(fields["allocation"]) if "allocation" in fields else None,
    )
    if len(leaves(space.modules)[1]) > _MOST_MODULES:
        raise fields["modules"].error(f"more than {_MOST_MODULES} modules")
    check_space(space)
    # What a study records must not change when the space that this one extends does.
    return replace(space, text=text if whole is root else write_space(space))


def build_space(
    name: str,
    modules: Mapping[str, tree.Entry] | None = None,
    training: Mapping[str, tree.Domain | int | float] | None = None,
    *,
    layers: tree.Selection | None = None,
    source: str = "",
    constraints: Iterable[str] = (),
    allocation: Iterable[tree.AllocatorSpec] = (),
    decisions: Mapping[str, tree.Plain | tree.Scalar] | None = None,
) -> Space:
    """A space written in Python, checked as strictly as a file.

    Args:
        name: Its name.
        modules: Entries by name: `ModuleSpec`, or `OneOf` several; none in a space of decisions.
        training: Domains of training fields; `learning_rate` must be there.
        layers: Which layers carry modules; all of them by default.
        source: Where it is from.
        constraints: Such as `trainable <= 0.5%`.
        allocation: Allocators, of which one is chosen; none by default.
        decisions: Domains or values by name, of a space without modules.

    Raises:
        SpaceError: With line and column in the space's YAML form, `write_space`.

    >>> build_space("tiny", {"a": tree.ModuleSpec("lora", sites=["q"], rank=2)}, {"learning_rate": 0.01}).name
    'tiny'
    >>> build_space("knobs", decisions={"depth": tree.Integer(1, 10), "kind": tree.Choice(["a", "b"])}).plain().cardinality
    20
    """
    if decisions is not None:
        if modules or training or layers or constraints or allocation:
            raise SpaceError(
                f"the space '{name}' has decisions, which stand alone: leave out modules, training, allocation, layers, "
                "constraints."
            )
        if not decisions:
            raise SpaceError(f"the space '{name}' has no decisions: give one at least.")
        plain = {key: tree.Value(v) if isinstance(v, tree.Scalar) else v for key, v in decisions.items()}
        return read_space(write_space(Space(name, source=source, decisions=plain)), f"<{name}>")
    domains = {
        key: value if not isinstance(value, int | float) else tree.Value(value)
        for key, value in (training or {}).items()
    }
    options = tuple(allocation)
    dealt = tree.Allocation(options) if options else None
    space = Space(name, modules or {}, domains, layers or tree.Members(), source, allocation=dealt)
    found = [_constraint(Node(text, f"<{name}>", "constraints")) for text in constraints]
    return read_space(write_space(replace(space, constraints=tuple(found))), f"<{name}>")


def _text(node: Node) -> str:
    if isinstance(node.value, dict | list) or node.value is None:
        raise node.error(f"found {node.shown()}, expected a text")
    return str(node.value)


def _decisions(fields: dict[str, Node]) -> dict[str, tree.Plain]:
    for other in ("modules", "training", "layers", "constraints", "allocation"):
        if other in fields:
            raise fields[other].error(
                f"'{other}' and 'decisions' cannot be together: a space is of modules, or of plain decisions",
                key=True,
            )
    return read_decisions(fields["decisions"])


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
        return tree.OneOf(options, read_priors(fields, len(options)), read_when(fields), node.where)
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
        return tree.SubSpace(_modules(fields["modules"]), read_when(fields), node.where)
    return _entry(node)


def _known(node: Node, what: str, table: Mapping[str, Known]) -> Known:
    if not isinstance(node.value, str) or node.value not in table:
        raise node.error(
            f"unknown {what} {node.shown()}: allowed are {', '.join(table)}", nearest(str(node.value), table)
        )
    return table[node.value]


def _module(node: Node) -> tree.ModuleSpec:
    assert isinstance(node.value, dict)
    kind = node.value["type"]
    known = _known(kind, "module type", MODULE_TYPES)
    if reason := known.refusal():
        raise kind.error(f"{known.name} cannot be used here: {reason}")
    fields = node.mapping(allowed_fields(known), required_fields(known))
    refused = _NOT_WHERE_SHARED if known.alone else {}
    domains: dict[str, Any] = {}
    if known.size:
        domains[known.size] = read_domain(fields[known.size], size_field(known), refused, size=True)
    for name, field in known.fields.items():
        if name in fields:
            domains[name] = read_domain(fields[name], field, refused)
    sites = sites_of(known)
    return tree.ModuleSpec(
        known.name,
        sites=_selection(fields["sites"], sites) if "sites" in fields else None,
        layers=_selection(fields["layers"], None) if "layers" in fields else None,
        when=read_when(fields),
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


# -- layers and sites ---------------------------------------------------------------------------------------------


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
    return {name: read_domain(child, TRAINING[name], _NOT_IN_TRAINING) for name, child in fields.items()}


def _allocation(node: Node) -> tree.Allocation:
    if isinstance(node.value, dict) and "one_of" in node.value:
        fields = node.mapping(("one_of", "priors"))
        options = tuple(
            _allocator(child) for child in fields["one_of"].items("[{type: uniform}, {type: spt}]")
        )
        for i, one in enumerate(options):
            if one.type in [other.type for other in options[:i]]:
                raise SpaceError(
                    f"{one.where}: the allocator '{one.type}' is there twice: give its fields a choice."
                )
        return tree.Allocation(options, read_priors(fields, len(options)), node.where)
    return tree.Allocation((_allocator(node),), (), node.where)


def _allocator(node: Node) -> tree.AllocatorSpec:
    if not isinstance(node.value, dict) or "type" not in node.value:
        raise node.error(
            f"found {node.shown()}, expected an allocator such as {{type: spt}}, or one_of several"
        )
    kind = node.value["type"]
    known = _known(kind, "allocator", ALLOCATORS)
    fields = node.mapping(("type", *known.fields), ("type",))
    domains: dict[str, Any] = {
        name: read_domain(fields[name], field, _NOT_IN_ALLOCATION)
        for name, field in known.fields.items()
        if name in fields
    }
    for domain in domains.values():
        if domain.when:
            raise SpaceError(
                f"{domain.when[0].where}: a field of an allocator has no condition but its allocator."
            )
    return tree.AllocatorSpec(known.name, where=node.where, **domains)


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
