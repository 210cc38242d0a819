"""A space's modules, one by one, with what has to be decided before each is there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autopeft.dsl import tree


@dataclass(frozen=True)
class Gate:
    """The decision of a `one_of`.

    Attributes:
        name: `adapter.type`.
        labels: Names of the alternatives: a module's type, or the names of a sub-space's modules.
        priors: Weights; empty where all are alike.
        inside: The gates above it, outermost first, each with the label that leads here.
        when: Conditions of it and of all that is above it.
        where: Place in the file.
    """

    name: str
    labels: tuple[str, ...]
    priors: tuple[float, ...]
    inside: tuple[tuple[str, str], ...]
    when: tuple[tree.Condition, ...]
    where: str


@dataclass(frozen=True)
class Leaf:
    """One module. Fields as in `Gate`; decisions about it are named `name.field`."""

    name: str
    spec: tree.ModuleSpec
    inside: tuple[tuple[str, str], ...]
    when: tuple[tree.Condition, ...]

    def excludes(self, other: "Leaf") -> bool:
        """Whether the two can never be there together: they are in different alternatives of one gate."""
        mine = dict(self.inside)
        return any(gate in mine and mine[gate] != label for gate, label in other.inside)


def leaves(modules: Mapping[str, tree.Entry]) -> tuple[tuple[Gate, ...], tuple[Leaf, ...]]:
    """All gates and all modules, each gate before what is inside it."""
    gates: list[Gate] = []
    found: list[Leaf] = []
    for name, entry in modules.items():
        for item in _walk(name, entry, (), ()):
            (gates if isinstance(item, Gate) else found).append(item)  # type: ignore[arg-type]
    return tuple(gates), tuple(found)


def _walk(
    name: str,
    entry: tree.Entry,
    inside: tuple[tuple[str, str], ...],
    when: tuple[tree.Condition, ...],
) -> Iterator[Gate | Leaf]:
    when = (*when, *entry.when)
    if isinstance(entry, tree.ModuleSpec):
        yield Leaf(name, entry, inside, when)
    elif isinstance(entry, tree.SubSpace):
        for child, spec in entry.modules.items():
            yield from _walk(f"{name}.{child}", spec, inside, when)
    else:
        labels = _labels(entry)
        gate = Gate(f"{name}.type", labels, entry.priors, inside, when, entry.where)
        yield gate
        for label, option in zip(labels, entry.options, strict=True):
            yield from _walk(f"{name}.{label}", option, (*inside, (gate.name, label)), when)


def _labels(entry: tree.OneOf) -> tuple[str, ...]:
    labels: list[str] = []
    for option in entry.options:
        if isinstance(option, tree.ModuleSpec):
            label = option.type
        elif isinstance(option, tree.SubSpace):
            label = "+".join(option.modules)
        else:
            label = "one_of"
        same = sum(known == label or known.startswith(f"{label}-") for known in labels)
        labels.append(f"{label}-{same + 1}" if same else label)
    return tuple(labels)
