"""What the grammar alone cannot see: references between decisions, and modules that get in each other's way."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autopeft.dsl import tree
from autopeft.dsl.allocators import ALLOCATORS, UNIFORM, deals_out
from autopeft.dsl.decisions import Needs
from autopeft.dsl.leaves import Gate, Leaf, leaves
from autopeft.dsl.mixing import check_together
from autopeft.dsl.types import MODULE_TYPES, TRAINING
from autopeft.errors import SpaceError, nearest

if TYPE_CHECKING:
    from autopeft.dsl.space import Space

_MOST_LISTED = 20  # decisions in an error
_MOST_COMBINATIONS = 2_000  # of alternatives: a bound space goes through them all

Reference = tuple[str, str]
"""(module, field), or (gate, "") for the alternative of a one_of."""


def check_space(space: "Space") -> None:
    """Check what is between the parts of a space.

    Raises:
        SpaceError: A reference that leads nowhere or in a circle, or two modules that cannot be together.
    """
    combinations = math.prod(_combinations(entry) for entry in space.modules.values())
    if combinations > _MOST_COMBINATIONS:
        first = next(entry for entry in space.modules.values() if _combinations(entry) > 1)
        raise SpaceError(
            f"{first.where}: the alternatives of all one_of together have {combinations:,} combinations: at most "
            f"{_MOST_COMBINATIONS:,} are allowed."
        )
    gates, found = leaves(space.modules)
    for leaf in found:
        _check_references(leaf, gates, found)
    for gate in gates:
        for condition in gate.when:
            _check_condition(condition, None, gate.inside, gates, found)
    for name, domain in space.training.items():
        required = TRAINING[name].default is None and name == "learning_rate"
        for condition in when_of(domain):
            if required:
                raise SpaceError(
                    f"{condition.where}: '{name}' is always needed: it cannot depend on a condition."
                )
            _check_condition(condition, None, (), gates, found)
        if isinstance(domain, tree.Tied | tree.Per):
            raise SpaceError(f"{domain.where}: '{name}' can be a value, a choice, an integer or a float.")
    _check_circles(gates, found)
    check_together(found)
    _check_allocation(space, found)


def _check_allocation(space: "Space", found: Sequence[Leaf]) -> None:
    there = dict.fromkeys(leaf.spec.type for leaf in found)
    for one in space.allocation.options if space.allocation else ():
        if one.type != UNIFORM and not any(deals_out(one.type, name) for name in there):
            raise SpaceError(
                f"{one.where}: '{one.type}' deals out {', '.join(ALLOCATORS[one.type].types)}, and the space has "
                f"{', '.join(there)}."
            )


def _combinations(entry: tree.Entry) -> int:
    if isinstance(entry, tree.OneOf):
        return sum(_combinations(option) for option in entry.options)
    if isinstance(entry, tree.SubSpace):
        return math.prod(_combinations(child) for child in entry.modules.values())
    return 1


def when_of(domain: tree.Domain) -> tuple[tree.Condition, ...]:
    """The conditions of a domain."""
    if isinstance(domain, tree.Per):
        return domain.of.when
    return () if isinstance(domain, tree.Tied) else domain.when


def resolve(path: str, leaf: Leaf | None, gates: Iterable[Gate], found: Iterable[Leaf]) -> Reference | None:
    """What a path names, seen from a module; None if nothing."""
    if leaf is not None and path in leaf.spec.fields:
        return leaf.name, path
    if any(gate.name == path for gate in gates):
        return path, ""
    module, _, field = path.rpartition(".")
    for other in found:
        if other.name == module and field in other.spec.fields:
            return module, field
    return None


def _resolved(
    path: str, where: str, leaf: Leaf | None, gates: Sequence[Gate], found: Sequence[Leaf]
) -> Reference:
    reference = resolve(path, leaf, gates, found)
    if reference is None:
        own = list(leaf.spec.fields) if leaf is not None else []
        others = [f"{f.name}.{name}" for f in found if f is not leaf for name in f.spec.fields]
        known = [*own, *(g.name for g in gates), *others]
        listed = ", ".join(known[:_MOST_LISTED]) + (", ..." if len(known) > _MOST_LISTED else "")
        raise SpaceError(f"{where}: there is no decision '{path}': there are {listed}.", nearest(path, known))
    return reference


def _domain(reference: Reference, found: Iterable[Leaf]) -> tree.Domain:
    module, field = reference
    return next(leaf.spec.fields[field] for leaf in found if leaf.name == module)


def _check_references(leaf: Leaf, gates: Sequence[Gate], found: Sequence[Leaf]) -> None:
    known = MODULE_TYPES[leaf.spec.type]
    for condition in leaf.when:
        _check_condition(
            condition, None if condition not in leaf.spec.when else leaf, leaf.inside, gates, found
        )
    for name, domain in leaf.spec.fields.items():
        field = known.fields.get(name)
        for condition in when_of(domain):
            if field is None or (field.default is None and field.times_size is None):
                raise SpaceError(
                    f"{condition.where}: '{name}' is always needed: put the condition on the module instead."
                )
            _check_condition(condition, leaf, leaf.inside, gates, found)
        if isinstance(domain, tree.Tied):
            _check_tie(name, domain, leaf, gates, found)


def _check_tie(
    name: str, domain: tree.Tied, leaf: Leaf, gates: Sequence[Gate], found: Sequence[Leaf]
) -> None:
    reference = _resolved(domain.to, domain.where, leaf, gates, found)
    numbers = [
        f
        for other in found
        for f in other.spec.fields
        if other.name == reference[0]
        and (
            f == MODULE_TYPES[other.spec.type].size
            or MODULE_TYPES[other.spec.type].fields[f].kind in ("integer", "float")
        )
    ]
    if reference[1] not in numbers:
        raise SpaceError(f"{domain.where}: '{name}' can be tied to a number, and '{domain.to}' is none.")
    if reference[0] != leaf.name:
        if isinstance(_domain(reference, found), tree.Per):
            raise SpaceError(
                f"{domain.where}: '{domain.to}' differs from place to place: only fields of its own module can be "
                "tied to it."
            )
        if any(o.name == reference[0] and set(o.inside) - set(leaf.inside) for o in found):
            raise SpaceError(
                f"{domain.where}: '{domain.to}' is there in one alternative only, so '{name}' cannot be tied to it."
            )


def _check_condition(
    condition: tree.Condition,
    leaf: Leaf | None,
    inside: Sequence[tuple[str, str]],
    gates: Sequence[Gate],
    found: Sequence[Leaf],
) -> None:
    # `leaf`: whose fields a short path means; `inside`: the alternatives that what has the condition is in.
    reference = _resolved(condition.path, condition.where, leaf, gates, found)
    everything: list[Gate | Leaf] = [*gates, *found]
    owner = next(one for one in everything if one.name == reference[0])
    above = dict(inside)
    if any(above.get(gate, label) != label for gate, label in owner.inside):
        raise SpaceError(
            f"{condition.where}: '{condition.path}' is in another alternative of a one_of, so this is never true."
        )
    if isinstance(owner, Gate):
        _check_values(condition, [above[owner.name]] if owner.name in above else owner.labels)
        return
    domain = owner.spec.fields[reference[1]]
    if isinstance(domain, tree.Per):
        raise SpaceError(
            f"{condition.where}: '{condition.path}' differs from place to place, so that a condition on it has no one answer: name a decision that is one."
        )
    if isinstance(domain, tree.Tied):
        raise SpaceError(
            f"{condition.where}: '{condition.path}' is no decision but tied to '{domain.to}': name that."
        )
    check_possible(condition, domain, words=_is_word(reference, found))


def check_possible(
    condition: tree.Condition, domain: tree.Value | tree.Choice | tree.Integer | tree.Float, *, words: bool
) -> None:
    """Check that a condition can hold.

    Args:
        condition: On a decision.
        domain: What that decision may be.
        words: Whether its values are no numbers.

    Raises:
        SpaceError: No value passes, or what is no number is compared.
    """
    if not words:
        _check_numbers(condition, domain)
        return
    if condition.test != "in":
        raise SpaceError(f"{condition.where}: '{condition.path}' is no number: name the values it may have.")
    assert isinstance(domain, tree.Value | tree.Choice)
    _check_values(condition, domain.values if isinstance(domain, tree.Choice) else [domain.value])


def _check_numbers(
    condition: tree.Condition, domain: tree.Value | tree.Choice | tree.Integer | tree.Float
) -> None:
    # Expressions are known to a backbone only: where there are any, nothing is said.
    if isinstance(domain, tree.Integer | tree.Float):
        low, high = domain.low, domain.high
        if isinstance(low, str) or isinstance(high, str):
            return
        if condition.test == "in":
            possible = any(isinstance(v, int | float) and low <= v <= high for v in condition.values)
        else:
            possible = _passes(condition, low) or _passes(condition, high)
        if not possible:
            raise SpaceError(
                f"{condition.where}: '{condition.path}' is never {_test(condition)}: it is from {low} to {high}."
            )
        return
    values = domain.values if isinstance(domain, tree.Choice) else (domain.value,)
    if any(isinstance(value, str) for value in values):
        return
    if condition.test == "in":
        _check_values(condition, values)
    elif not any(_passes(condition, value) for value in values):
        listed = ", ".join(map(str, values))
        raise SpaceError(
            f"{condition.where}: '{condition.path}' is never {_test(condition)}: it can be {listed}."
        )


def _passes(condition: tree.Condition, value: tree.Scalar) -> bool:
    return Needs(0, condition.test, condition.values).holds(value)


def _test(condition: tree.Condition) -> str:
    if condition.test == "in":
        return " or ".join(f"'{value}'" for value in condition.values)
    return f"{condition.test} {condition.values[0]}"


def _is_word(reference: Reference, found: Iterable[Leaf]) -> bool:
    spec = next(leaf.spec for leaf in found if leaf.name == reference[0])
    field = MODULE_TYPES[spec.type].fields.get(reference[1])
    return field is not None and field.kind in ("word", "boolean")


def _check_values(condition: tree.Condition, values: Sequence[tree.Scalar]) -> None:
    for value in condition.values:
        if not any(isinstance(value, bool) == isinstance(v, bool) and value == v for v in values):
            listed = ", ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in values)
            raise SpaceError(
                f"{condition.where}: '{condition.path}' is never '{value}': it can be {listed}.",
                nearest(str(value), map(str, values)),
            )


def _check_circles(gates: Sequence[Gate], found: Sequence[Leaf]) -> None:
    needs: dict[Reference, list[tuple[Reference, str]]] = {}

    def conditions(whens: Iterable[tree.Condition], leaf: Leaf | None) -> list[tuple[Reference, str]]:
        resolved = [(resolve(c.path, leaf, gates, found), c.where) for c in whens]
        return [(reference, where) for reference, where in resolved if reference is not None]

    for gate in gates:
        above: list[tuple[Reference, str]] = [((name, ""), gate.where) for name, _ in gate.inside]
        needs[gate.name, ""] = [*above, *conditions(gate.when, None)]
    for leaf in found:
        above = [((name, ""), leaf.spec.where) for name, _ in leaf.inside]
        for name, domain in leaf.spec.fields.items():
            own = [*above, *conditions(leaf.when, leaf), *conditions(when_of(domain), leaf)]
            if isinstance(domain, tree.Tied):
                target = resolve(domain.to, leaf, gates, found)
                assert target is not None
                own.append((target, domain.where))
            needs[leaf.name, name] = own

    done: set[Reference] = set()

    def visit(reference: Reference, path: tuple[Reference, ...]) -> None:
        for target, where in needs.get(reference, []):
            if target in (*path, reference):
                circle = (*path, reference)[(*path, reference).index(target) :]
                way = " -> ".join(".".join(filter(None, one)) for one in (*circle, target))
                raise SpaceError(
                    f"{where}: what is decided depends on itself ({way}): take one of these conditions or ties away."
                )
            if target not in done:
                visit(target, (*path, reference))
        done.add(reference)

    for reference in needs:
        visit(reference, ())
