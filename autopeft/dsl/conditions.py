"""Under which conditions each decision has an effect, and each field its value."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from autopeft.dsl import tree
from autopeft.dsl.build import Build
from autopeft.dsl.check import Reference, resolve, when_of
from autopeft.dsl.choosers import Slot
from autopeft.dsl.decisions import Needs
from autopeft.dsl.fitting import check_tie
from autopeft.dsl.leaves import Gate, Leaf
from autopeft.dsl.types import MODULE_TYPES
from autopeft.nouns import plain


def add_needs(build: Build, training: Mapping[str, tree.Domain]) -> None:
    """Give every decision and slot its conditions, each with the conditions of what it refers to."""
    for gate in build.gates:
        index = build.at[gate.name, ""]
        build.decisions[index] = replace(build.decisions[index], needs=tuple(_gate_needs(build, gate)))
    for leaf in build.leaves:
        base = tuple(leaf_needs(build, leaf))
        known = MODULE_TYPES[leaf.spec.type]
        for name, domain in leaf.spec.fields.items():
            slot = build.slots[leaf.name, name]
            own = tuple(_condition_needs(build, when_of(domain), leaf))
            for index in slot.indices.values():
                build.decisions[index] = replace(
                    build.decisions[index], needs=tuple(dict.fromkeys((*base, *own)))
                )
            if isinstance(domain, tree.Tied):
                slot = _tied(build, leaf, name, domain)
            if own:
                slot = replace(slot, needs=own, otherwise=known.fields[name].default)
            build.slots[leaf.name, name] = slot
        for index, role in enumerate(build.roles):
            if role.kind in ("sites", "own layers") and build.decisions[index].name.startswith(
                f"{leaf.name}."
            ):
                owner = build.decisions[index].name.removeprefix(f"{leaf.name}.").partition(".")[0]
                if owner in ("sites", "layers"):
                    build.decisions[index] = replace(build.decisions[index], needs=base)
    for name, domain in training.items():
        own = tuple(_condition_needs(build, when_of(domain), None))
        if own:
            slot = build.slots["training", name]
            for index in slot.indices.values():
                build.decisions[index] = replace(build.decisions[index], needs=own)
            build.slots["training", name] = replace(slot, needs=own, otherwise=None)


def _tied(build: Build, owner: Leaf, name: str, domain: tree.Tied) -> Slot:
    leaf, where, times = owner, domain.where, domain.times
    while True:  # a tie to a tie is a tie to its end; there are no circles
        reference = resolve(domain.to, leaf, build.gates, build.leaves)
        assert reference is not None
        leaf = next(one for one in build.leaves if one.name == reference[0])
        target = leaf.spec.fields[reference[1]]
        if not isinstance(target, tree.Tied):
            break
        domain, times = target, times * target.times
    slot = build.slots[reference]
    check_tie(build, owner, name, reference, times, where)
    if not slot.indices:
        return Slot(plain(slot.constant * times))
    return replace(slot, times=times)


def _gate_needs(build: Build, gate: Gate) -> tuple[Needs, ...]:
    return _once(
        build,
        (gate.name, ""),
        lambda: [*_inside(build, gate.inside), *_condition_needs(build, gate.when, None)],
    )


def leaf_needs(build: Build, leaf: Leaf) -> tuple[Needs, ...]:
    """The conditions under which a module is there."""
    return _once(
        build,
        (leaf.name, ""),
        lambda: [*_inside(build, leaf.inside), *_condition_needs(build, leaf.when, leaf)],
    )


def _field_needs(build: Build, leaf: Leaf, name: str) -> tuple[Needs, ...]:
    whens = when_of(leaf.spec.fields[name])
    return _once(build, (leaf.name, name), lambda: _condition_needs(build, whens, leaf))


def _once(build: Build, reference: Reference, find: Callable[[], Iterable[Needs]]) -> tuple[Needs, ...]:
    # Conditions on what has conditions itself: without a memory, the work doubles with each link of a chain.
    if reference not in build.needs:
        build.needs[reference] = tuple(dict.fromkeys(find()))
    return build.needs[reference]


def _inside(build: Build, inside: Iterable[tuple[str, str]]) -> Iterable[Needs]:
    for name, label in inside:
        gate = next(g for g in build.gates if g.name == name)
        yield from _gate_needs(build, gate)
        yield Needs(build.at[name, ""], "in", (label,))


def _condition_needs(
    build: Build, conditions: Iterable[tree.Condition], leaf: Leaf | None
) -> Iterable[Needs]:
    for condition in conditions:
        reference = resolve(condition.path, leaf, build.gates, build.leaves)
        assert reference is not None
        if not reference[1]:
            gate = next(g for g in build.gates if g.name == reference[0])
            yield from _gate_needs(build, gate)
            yield Needs(build.at[reference], "in", condition.values)
            continue
        owner = next(one for one in build.leaves if one.name == reference[0])
        if owner is not leaf:
            yield from leaf_needs(build, owner)
        yield from _field_needs(build, owner, reference[1])
        if reference in build.at:
            yield Needs(build.at[reference], condition.test, condition.values)
        elif not Needs(0, condition.test, condition.values).holds(build.slots[reference].constant):
            yield Needs(0, "in", ())  # a fixed value that never passes
