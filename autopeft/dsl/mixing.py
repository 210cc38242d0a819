"""Which modules of a space cannot be together, and why."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from autopeft.dsl import tree
from autopeft.dsl.leaves import Leaf
from autopeft.dsl.peft_types import PEFT_TYPES, clash
from autopeft.dsl.types import MODULE_TYPES, sites_of
from autopeft.errors import SpaceError

_MOST_COMBINATIONS = 200  # of a module's words: those that make modules clash are few


def check_together(found: Sequence[Leaf]) -> None:
    """Refuse modules that could be in one configuration but not on one model.

    Raises:
        SpaceError: With both, and the reason.
    """
    for i, leaf in enumerate(found):
        for other in found[:i]:
            if "frozen" in (leaf.spec.type, other.spec.type) or other.excludes(leaf):
                continue
            if MODULE_TYPES[leaf.spec.type].at == MODULE_TYPES[other.spec.type].at == "input":
                raise SpaceError(
                    f"{leaf.spec.where}: '{leaf.name}' and '{other.name}' both put tokens before the input, and only one "
                    "module can: make them alternatives of a one_of."
                )
            shared = [] if _layers_apart(leaf, other) else [s for s in _sites(leaf) if s in _sites(other)]
            if leaf.spec.type == other.spec.type and not _kinds(leaf).isdisjoint(_kinds(other)):
                _check_alike(leaf, other, shared)
            elif shared and leaf.spec.type in PEFT_TYPES and other.spec.type in PEFT_TYPES:
                _check_clash(leaf, other, shared)


def _check_alike(leaf: Leaf, other: Leaf, shared: Sequence[str | int]) -> None:
    if MODULE_TYPES[leaf.spec.type].alone:
        raise SpaceError(
            f"{leaf.spec.where}: '{leaf.name}' and '{other.name}' are both {leaf.spec.type}, whose places share "
            "parameters: one of them is allowed."
        )
    if shared:
        raise SpaceError(
            f"{leaf.spec.where}: '{leaf.name}' is of the same kind as '{other.name}' and can be at the same "
            f"sites ({', '.join(map(str, shared))}): give them different ones, or make them alternatives of a one_of."
        )


def _check_clash(leaf: Leaf, other: Leaf, shared: Sequence[str | int]) -> None:
    for own, others in itertools.product(_words(leaf), _words(other)):
        if reason := clash(other.spec.type, others, leaf.spec.type, own):
            raise SpaceError(
                f"{leaf.spec.where}: '{leaf.name}' and '{other.name}' can be at the same sites "
                f"({', '.join(map(str, shared))}), and {reason}. Give them different sites or layers, or make them "
                "alternatives of a one_of."
            )


def _words(leaf: Leaf) -> Iterator[dict[str, Any]]:
    # Every combination of a module's words and switches; what is no word never makes two modules clash.
    known = MODULE_TYPES[leaf.spec.type]
    axes = {}
    for name, field in known.fields.items():
        domain = leaf.spec.fields.get(name)
        domain = domain.of if isinstance(domain, tree.Per) else domain
        if field.kind in ("word", "boolean") and isinstance(domain, tree.Choice):
            axes[name] = tuple(dict.fromkeys((*domain.values, *([field.default] if domain.when else []))))
        else:
            axes[name] = (domain.value if isinstance(domain, tree.Value) else field.default,)
    for values in itertools.islice(itertools.product(*axes.values()), _MOST_COMBINATIONS):
        yield dict(zip(axes, values, strict=True))


def _kinds(leaf: Leaf) -> set[tree.Scalar]:
    # Serial and parallel bottlenecks are two kinds, and so are two modules that differ in any word that must be given.
    kinds: set[tree.Scalar] = {""}
    for name, field in MODULE_TYPES[leaf.spec.type].fields.items():
        if field.kind == "word" and field.default is None:
            domain = leaf.spec.fields[name]
            kinds = set(domain.values) if isinstance(domain, tree.Choice) else {domain.value}  # type: ignore[union-attr]
    return kinds


def _sites(leaf: Leaf) -> tuple[str | int, ...]:
    known = MODULE_TYPES[leaf.spec.type]
    if leaf.spec.sites is None:
        return known.sites
    return leaf.spec.sites.of if leaf.spec.sites.of is not None else sites_of(known)


def _layers_apart(leaf: Leaf, other: Leaf) -> bool:
    both = [one.spec.layers.of if one.spec.layers is not None else None for one in (leaf, other)]
    return None not in both and not set(both[0] or ()) & set(both[1] or ())
