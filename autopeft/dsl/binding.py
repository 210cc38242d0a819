"""A space's tree meets a backbone: every name becomes a number, every domain a decision."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from autopeft.dsl import tree
from autopeft.dsl.allocators import ALLOCATORS, UNIFORM
from autopeft.dsl.bound import BoundSpace
from autopeft.dsl.build import Build
from autopeft.dsl.choosers import Chooser, Slot
from autopeft.dsl.conditions import add_needs, leaf_needs
from autopeft.dsl.decisions import Decision, Interval, Levels, Needs
from autopeft.dsl.expression import evaluate
from autopeft.dsl.fitting import check_places
from autopeft.dsl.leaves import Gate, Leaf, leaves
from autopeft.dsl.module_type import Field
from autopeft.dsl.parts import Part, Role
from autopeft.dsl.types import MODULE_TYPES, TRAINING, sites_of, size_field
from autopeft.errors import BackboneError, nearest
from autopeft.nouns import BackboneShape, Place, Size, plain

Growth = Literal["", "grows", "falls"]
"""Of a size: whether cost grows or falls with it; empty for what is no size."""

_MOST_LEVELS = 1_000  # a longer range of whole numbers is an interval


def bind(
    name: str,
    layers: tree.Selection,
    modules: Mapping[str, tree.Entry],
    training: Mapping[str, tree.Domain],
    allocation: tree.Allocation | None,
    shape: BackboneShape,
    limit: int,
    upper: Mapping[str, int],
    lower: Mapping[str, int],
) -> BoundSpace:
    """Tie a checked tree to a backbone; see `Space.bind`.

    Args:
        name: The space's name.
        layers: Which layers carry modules.
        modules: Entries, by name.
        training: Domains, by name.
        allocation: Allocators, of which one is chosen.
        shape: The backbone.
        limit: Most trainable parameters.
        upper: Further greatest values, by measure.
        lower: Least values, by measure.
    """
    gates, found = leaves(modules)
    names = {
        "hidden": shape.hidden,
        "heads": shape.heads,
        "intermediate": shape.intermediate,
        "layers": len(shape.layers),
    }
    build = Build(shape, names, gates, found, [], [], {}, {})
    shared = _layers(build, layers, "layers", Role("layers", -1))
    drafts: list[tuple[Leaf, Part]] = []
    for item in _declared(gates, found):
        if isinstance(item, Gate):
            levels = Levels(item.name, item.labels, item.priors, ordered=False, default=item.labels[0])
            build.at[item.name, ""] = build.add(levels, Role("gate", -1))
        elif item.spec.type != "frozen":
            drafts.append((item, _part(build, item, len(drafts), shared)))
    dealt = _allocation(build, allocation) if allocation is not None else ()
    _training(build, training)
    add_needs(build, training)
    parts = tuple(_finished(build, leaf, part) for leaf, part in drafts)
    for (leaf, _), part in zip(drafts, parts, strict=True):
        check_places(build, leaf, part)
    frozen = tuple(tuple(leaf_needs(build, leaf)) for leaf in found if leaf.spec.type == "frozen")
    return BoundSpace(
        name=name,
        shape=shape,
        limit=limit,
        layers=shared,
        parts=parts,
        decisions=tuple(build.decisions),
        roles=tuple(build.roles),
        training=tuple((n, build.slots["training", n]) for n in training if n != "learning_rate"),
        allocation=dealt,
        frozen=frozen,
        upper=dict(upper),
        lower=dict(lower),
    )


def _declared(gates: Sequence[Gate], found: Sequence[Leaf]) -> Iterator[Gate | Leaf]:
    # Each gate just before the first module inside it.
    left = list(gates)
    for leaf in found:
        inside = {name for name, _ in leaf.inside}
        for gate in [g for g in left if g.name in inside]:
            left.remove(gate)
            yield gate
        yield leaf


# -- layers and sites ----------------------------------------------------------------------------------------------


def _layers(build: Build, selection: tree.Selection, name: str, role: Role) -> Chooser:
    count = len(build.shape.layers)
    wanted = tuple(range(count)) if selection.of is None else selection.of
    for layer in wanted:
        if not isinstance(layer, int) or not 0 <= layer < count:
            raise BackboneError(
                f"{selection.where}: the space names layer '{layer}'; the backbone has the layers 0 to {count - 1}."
            )
    return _chooser(build, selection, tuple(wanted), name, role, "layers", f"the backbone has {count}")


def _sites(build: Build, leaf: Leaf, role: Role) -> Chooser:
    known, selection = MODULE_TYPES[leaf.spec.type], leaf.spec.sites
    there = [s for s in sites_of(known) if _places(build.shape, s)]
    if known.at == "bias":  # all the sites that there are, of those with a bias
        there = [s for s in there if any(p.bias for p in _places(build.shape, s))]
    given = selection.of if selection is not None else (known.sites or None)
    where = selection.where if selection is not None else leaf.spec.where
    wanted = tuple(there) if given is None else tuple(map(str, given))
    for site in wanted:
        if reason := build.shape.refused.get(site):
            raise BackboneError(
                f"{where}: nothing can be put at the site '{site}' of this backbone: {reason}."
            )
    if not there or not wanted:
        raise BackboneError(
            f"{where}: this backbone has no place for '{leaf.name}' ({leaf.spec.type}): "
            f"it goes to {', '.join(sites_of(known))}."
        )
    for site in wanted:
        if site not in there:
            raise BackboneError(
                f"{where}: unknown site '{site}' for '{leaf.name}': this backbone has {', '.join(there)}.",
                nearest(site, there),
            )
    if selection is None:
        return Chooser(wanted)
    return _chooser(
        build,
        selection,
        wanted,
        f"{leaf.name}.sites",
        role,
        "sites",
        f"this backbone has {', '.join(wanted)}",
    )


def _chooser(
    build: Build,
    selection: tree.Selection,
    of: tuple[Any, ...],
    name: str,
    role: Role,
    what: str,
    there: str,
) -> Chooser:
    if isinstance(selection, tree.Members):
        return Chooser(of)
    if selection.min > len(of):
        raise BackboneError(
            f"{selection.where}: the space asks for at least {selection.min} {what}; {there}."
        )
    maximum = min(selection.max or len(of), len(of))
    chooser = Chooser(of, len(build.decisions), selection.min, maximum, selection.contiguous)
    for decision in chooser.decisions(name):
        build.add(decision, role)
    return chooser


def _places(shape: BackboneShape, site: str) -> set[Place]:
    found = (shape.place(i, site) for i in range(len(shape.layers)))
    return {place for place in found if place is not None}


# -- modules -------------------------------------------------------------------------------------------------------


def _part(build: Build, leaf: Leaf, index: int, shared: Chooser) -> Part:
    spec, known = leaf.spec, MODULE_TYPES[leaf.spec.type]
    if known.at == "input":
        layers = Chooser((0,))
    elif spec.layers is not None:
        layers = _layers(build, spec.layers, f"{leaf.name}.layers", Role("own layers", index))
    else:
        layers = shared
    sites = _sites(build, leaf, Role("sites", index))
    names = [known.size] if known.size else []
    for name in [*names, *(n for n in known.fields if n in spec.fields)]:
        field = known.fields.get(name) or size_field(known)
        role = Role("size" if name == known.size else "option", index)
        build.slots[leaf.name, name] = _slot(build, leaf, name, field, role, layers, sites)
    return Part(leaf.name, known, (), layers, sites, Slot(1), ())


def _slot(
    build: Build, leaf: Leaf, name: str, field: Field, role: Role, layers: Chooser, sites: Chooser
) -> Slot:
    domain = leaf.spec.fields[name]
    if isinstance(domain, tree.Tied):
        return Slot()  # once all decisions are laid out
    if isinstance(domain, tree.Value):
        return Slot(_scalar(build, domain.value, field, domain.where))
    path = f"{leaf.name}.{name}"
    if not isinstance(domain, tree.Per):
        decision = _decision(build, path, domain, field, size=_growth(leaf, role))
        build.at[leaf.name, name] = index = build.add(decision, role)
        return Slot(indices={(): index})
    axes = [layers.of if axis == "layer" else sites.of for axis in domain.over]
    indices = {}
    for key in itertools.product(*axes):
        if not _somewhere(build.shape, domain.over, key, layers, sites):
            continue
        decision = _decision(
            build, f"{path}.{'.'.join(map(str, key))}", domain.of, field, size=_growth(leaf, role)
        )
        indices[key] = build.add(decision, replace(role, key=key, over=domain.over))
    return Slot(over=domain.over, indices=indices)


def _somewhere(
    shape: BackboneShape, over: Sequence[str], key: tuple[Any, ...], layers: Chooser, sites: Chooser
) -> bool:
    # Whether any place belongs to a key: a layer may lack the site.
    fixed = dict(zip(over, key, strict=True))
    return any(
        shape.place(layer, site) is not None
        for layer in ([fixed["layer"]] if "layer" in fixed else layers.of)
        for site in ([fixed["site"]] if "site" in fixed else sites.of)
    )


def _scalar(build: Build, value: tree.Scalar, field: Field, where: str) -> Any:
    """A plain value; an expression becomes a number, rounded down where a whole one is needed."""
    if field.kind in ("word", "boolean"):
        return value
    try:
        number = evaluate(value, build.names) if isinstance(value, str) else float(value)
    except ValueError as error:
        raise BackboneError(f"{where}: '{value}' has no value on this backbone: {error}.") from None
    if field.kind == "integer":
        number = math.floor(number)
    if not field.low <= number <= field.high:
        raise BackboneError(
            f"{where}: '{value}' is {number:g} on this backbone; allowed is {field.low:g} to {field.high:g}."
        )
    return plain(float(number))


def _growth(leaf: Leaf, role: Role) -> Growth:
    if role.kind != "size":
        return ""
    return "falls" if MODULE_TYPES[leaf.spec.type].falls else "grows"


def _decision(
    build: Build, name: str, domain: tree.Choice | tree.Integer | tree.Float, field: Field, *, size: Growth
) -> Decision:
    if isinstance(domain, tree.Choice):
        values = [_scalar(build, value, field, domain.where) for value in domain.values]
        weights = domain.priors or (1.0,) * len(values)
        joined: dict[Any, float] = {}
        for value, weight in zip(values, weights, strict=True):
            joined[value] = joined.get(value, 0.0) + weight  # equal on this backbone: one value
        if field.kind == "word":
            return Levels(
                name,
                tuple(joined),
                tuple(joined.values()) if domain.priors else (),
                ordered=False,
                default=values[0],
            )
        joined = dict(sorted(joined.items()))
        return Levels(
            name,
            tuple(joined),
            tuple(joined.values()) if domain.priors else (),
            default=_least(tuple(joined), size) if size else values[0],
        )
    kind = Field("integer" if isinstance(domain, tree.Integer) else "float", low=field.low, high=field.high)
    low, high = (_scalar(build, bound, kind, domain.where) for bound in (domain.low, domain.high))
    if low > high:
        raise BackboneError(
            f"{domain.where}: from {low:g} to {high:g} on this backbone: nothing lies between."
        )
    if isinstance(domain, tree.Float) and domain.step is not None:
        count = math.floor((high - low) / domain.step + 1e-9) + 1
        levels = tuple(float(f"{low + i * domain.step:.3g}") for i in range(count))
        levels = tuple(dict.fromkeys(levels))
        return Levels(name, levels, default=_least(levels, size) if size else levels[0])
    if isinstance(domain, tree.Float):
        if low <= 0 and domain.log:
            raise BackboneError(f"{domain.where}: a log scale cannot begin at {low:g}.")
        return Interval(name, low, high, domain.log, falls=size == "falls")
    if (high - low) / domain.step + 1 > _MOST_LEVELS:
        if low < 1 and (size or domain.log):
            raise BackboneError(f"{domain.where}: so long a range must begin above 0, which means absent.")
        return Interval(name, low, high, domain.log, whole=True, falls=size == "falls")
    numbers = tuple(range(low, high + 1, domain.step))
    weights = tuple(math.log1p(1 / n) for n in numbers) if domain.log else ()
    return Levels(
        name, numbers, weights, log=domain.log, default=_least(numbers, size) if size else numbers[0]
    )


def _least(sizes: Sequence[Size], growth: Growth) -> Size:
    # What is without effect stands at the cheapest size that would have one, so that one step brings it in.
    ascending = sizes if growth == "grows" else tuple(reversed(sizes))
    return next((size for size in ascending if size > 0), sizes[0])


def _allocation(build: Build, allocation: tree.Allocation) -> tuple[tuple[str, Slot], ...]:
    """Where the allocator's `type` comes from, and every field of each, as `spt.threshold`."""
    labels, role = tuple(one.type for one in allocation.options), Role("training", -1)
    kind = Slot(labels[0])
    needs: dict[str, tuple[Needs, ...]] = dict.fromkeys(labels, ())
    if len(labels) > 1:
        default = UNIFORM if UNIFORM in labels else labels[0]
        gate = build.add(
            Levels("allocation", labels, allocation.priors, ordered=False, default=default), role
        )
        kind = Slot(indices={(): gate})
        needs = {label: (Needs(gate, "in", (label,)),) for label in labels}
    found = [("type", kind)]
    for one in allocation.options:
        for name, domain in one.fields.items():
            field, path = ALLOCATORS[one.type].fields[name], f"{one.type}.{name}"
            if isinstance(domain, tree.Value):
                found.append((path, Slot(_scalar(build, domain.value, field, domain.where))))
                continue
            decision = _decision(build, f"allocation.{path}", domain, field, size="")
            index = build.add(replace(decision, needs=needs[one.type]), role)
            found.append((path, Slot(indices={(): index}, needs=needs[one.type])))
    return tuple(found)


def _training(build: Build, training: Mapping[str, tree.Domain]) -> None:
    # The learning rate is the last decision of every space, fixed or not.
    ordered = [n for n in TRAINING if n in training and n != "learning_rate"]
    for name in (*ordered, "learning_rate"):
        domain = training[name]
        if isinstance(domain, tree.Value):
            value = _scalar(build, domain.value, TRAINING[name], domain.where)
            build.slots["training", name] = Slot(value)
            if name == "learning_rate":
                build.add(Interval(name, value, value, True), Role("training", -1))
        else:
            assert isinstance(domain, tree.Choice | tree.Integer | tree.Float)
            decision = _decision(build, name, domain, TRAINING[name], size="")
            index = build.add(decision, Role("training", -1))
            build.at["training", name] = index
            build.slots["training", name] = Slot(indices={(): index})


def _finished(build: Build, leaf: Leaf, part: Part) -> Part:
    known = part.type
    size = build.slots[leaf.name, known.size] if known.size else Slot(1)
    options = []
    for name, field in known.fields.items():
        slot = build.slots.get((leaf.name, name))
        if slot is None and field.times_size is not None:
            slot = (
                Slot(plain(size.constant * field.times_size))
                if not size.indices
                else replace(size, times=(size.times or 1.0) * field.times_size)
            )
        options.append((name, slot if slot is not None else Slot(field.default)))
    needs = tuple(dict.fromkeys(leaf_needs(build, leaf)))
    return replace(part, needs=needs, size=size, options=tuple(options))
