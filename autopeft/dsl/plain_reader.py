"""The grammar of plain decisions: spaces that are of no modules, and need no backbone."""

import re
from collections.abc import Mapping

from autopeft.dsl import tree
from autopeft.dsl.check import check_possible, when_of
from autopeft.dsl.document import Node
from autopeft.dsl.domain_reader import read_domain
from autopeft.dsl.module_type import Field
from autopeft.errors import SpaceError, nearest

DECISION_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]*$")
ANY = Field("any", low=-999_999_999_999_999, high=999_999_999_999_999, expressions=False)
"""What a plain decision may be: a number of at most fifteen digits, a text, true or false."""

_MOST_DECISIONS = 1_000
_REFUSED = {
    "per": "these decisions belong to no layers and sites",
    "tied": "a point has decisions only, and what follows from them is yours to compute",
}


def read_decisions(node: Node) -> dict[str, tree.Plain]:
    """The decisions of a space without modules, by name.

    Raises:
        SpaceError: With file, line and column: what is no domain, or a condition that leads nowhere, in a circle, or can
            never hold.
    """
    if not isinstance(node.value, dict) or not node.value:
        raise node.error(f"found {node.shown()}, expected decisions such as 'depth: {{integer: [1, 10]}}'")
    if len(node.value) > _MOST_DECISIONS:
        raise node.error(f"more than {_MOST_DECISIONS:,} decisions")
    found: dict[str, tree.Plain] = {}
    for name, child in node.value.items():
        if not DECISION_NAME.match(name):
            raise child.error(
                f"'{name}' is no name of a decision: use letters, digits, '-', '_' and '.', a letter first",
                key=True,
            )
        domain = read_domain(child, ANY, _REFUSED)
        assert not isinstance(domain, tree.Tied | tree.Per)  # they are refused
        if isinstance(domain, tree.Choice) and {type(v) is bool for v in domain.values} == {True, False}:
            kinds = {type(v) for v in domain.values}
            if kinds & {int, float}:
                raise child.error("true and false cannot be among numbers: as values they equal 1 and 0")
        found[name] = domain
    for domain in found.values():
        for condition in when_of(domain):
            _check_condition(condition, found)
    _check_circles(found)
    return found


def is_word(domain: tree.Plain) -> bool:
    """Whether a domain has values that are no numbers."""
    values: tuple[tree.Scalar, ...] = ()
    if isinstance(domain, tree.Value):
        values = (domain.value,)
    elif isinstance(domain, tree.Choice):
        values = domain.values
    return any(isinstance(value, str | bool) for value in values)


def _check_condition(condition: tree.Condition, found: Mapping[str, tree.Plain]) -> None:
    if condition.path not in found:
        listed = ", ".join(list(found)[:20]) + (", ..." if len(found) > 20 else "")
        raise SpaceError(
            f"{condition.where}: there is no decision '{condition.path}': there are {listed}.",
            nearest(condition.path, found),
        )
    domain = found[condition.path]
    check_possible(condition, domain, words=is_word(domain))


def _check_circles(found: Mapping[str, tree.Plain]) -> None:
    done: set[str] = set()
    for name in found:
        # Depth first without recursion: a chain of conditions may be as long as there are decisions.
        path, left = [name], [list(when_of(found[name]))]
        while path:
            if path[-1] in done or not left[-1]:
                done.add(path.pop())
                left.pop()
                continue
            condition = left[-1].pop()
            if condition.path in path:
                way = " -> ".join([*path[path.index(condition.path) :], condition.path])
                raise SpaceError(
                    f"{condition.where}: what is decided depends on itself ({way}): take one of these conditions away."
                )
            path.append(condition.path)
            left.append(list(when_of(found[condition.path])))
