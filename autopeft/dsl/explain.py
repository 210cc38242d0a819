"""A space in plain words: what its parts are, where they go, what may be chosen, and under which conditions."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from autopeft.dsl import tree
from autopeft.dsl.allocators import ALLOCATORS
from autopeft.dsl.check import when_of
from autopeft.dsl.expression import is_expression
from autopeft.dsl.leaves import leaves
from autopeft.dsl.module_type import ModuleType
from autopeft.dsl.space import Space
from autopeft.dsl.types import MODULE_TYPES, TRAINING, sites_of

MEASURES = {
    "trainable": "trainable parameters, the head not counted",
    "adapter_bytes": "bytes of the tensors that are saved with an adapter",
    "sites": "places that have a module",
}
"""What constraints are on, in words."""

_TESTS = {"<": "less than", "<=": "at most", ">": "more than", ">=": "at least"}


class Line(NamedTuple):
    """A line of an explanation; what is deeper belongs to what is above it."""

    depth: int
    text: str


def explain(space: Space) -> list[Line]:
    """A space in short lines of plain words, without YAML.

    >>> from autopeft.dsl.reader import build_space
    >>> mine = build_space("mine", {"a": tree.ModuleSpec("ia3", sites=["k", "v"])}, {"learning_rate": 0.01})
    >>> print("\\n".join(line.text for line in explain(mine)))
    layers: all of them
    a: ia3, factors of a linear map's outputs, or of its inputs
    sites: k, v
    training
    learning_rate (peak rate of modules and head): 0.01
    """
    if space.decisions:
        return [Line(0, f"{name}: {_domain(domain)}") for name, domain in space.decisions.items()]
    lines = [Line(0, f"layers: {_chosen(space.layers, 'layers')}")]
    for name, entry in space.modules.items():
        lines += _entry(name, entry, 0)
    lines.append(Line(0, "training"))
    for name, domain in space.training.items():
        lines.append(Line(1, f"{name} ({TRAINING[name].about}): {_domain(domain)}"))
    if space.allocation is not None:
        lines += _allocation(space.allocation)
    if space.constraints:
        lines.append(Line(0, "constraints"))
        lines += [
            Line(1, f"{c.measure} ({MEASURES[c.measure]}): {_TESTS[c.test]} {c.value}")
            for c in space.constraints
        ]
    return lines


def headline(text: str) -> str:
    """The first sentence of the comment that a space's text begins with; empty where there is none.

    >>> headline("# yaml-language-server: x\\n# LoRA: of which rank,\\n# and where. More.\\nname: lora")
    'LoRA: of which rank, and where.'
    """
    words: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# yaml-language-server:"):
            words += line.removeprefix("#").split()
    sentence, point, _ = " ".join(words).partition(". ")
    return sentence + point.strip()


def count_decisions(space: Space) -> int:
    """How many decisions a space has as it is written, one that differs from place to place counted once."""
    gates, found = leaves(space.modules)
    options = space.allocation.options if space.allocation else ()
    domains = [*space.training.values(), *space.decisions.values()]
    domains += [domain for one in options for domain in one.fields.values()]
    selections = [space.layers, *(s for leaf in found for s in (leaf.spec.sites, leaf.spec.layers))]
    domains += [d for leaf in found for d in leaf.spec.fields.values()]
    return (
        len(gates)
        + (len(options) > 1)
        + sum(isinstance(selection, tree.Subset) for selection in selections)
        + sum(not isinstance(domain, tree.Value | tree.Tied) for domain in domains)
    )


def _allocation(allocation: tree.Allocation) -> Iterator[Line]:
    several, deep = len(allocation.options) > 1, 0
    if several:
        deep = 1
        yield Line(0, f"dealt out by one of {len(allocation.options)}{_weights(allocation.priors)}")
    for one in allocation.options:
        head = "" if several else "dealt out by "
        yield Line(deep, f"{head}{one.type}: {ALLOCATORS[one.type].about}")
        for name, domain in one.fields.items():
            yield Line(deep + 1, f"{name}: {_domain(domain)}")


def _entry(name: str, entry: tree.Entry, depth: int) -> Iterator[Line]:
    if isinstance(entry, tree.ModuleSpec):
        yield from _module(name, entry, depth)
    elif isinstance(entry, tree.SubSpace):
        yield Line(depth, f"{name}: these together")
        yield from _when(entry.when, depth + 1)
        for child, spec in entry.modules.items():
            yield from _entry(child, spec, depth + 1)
    else:
        yield Line(depth, f"{name}: one of {len(entry.options)}{_weights(entry.priors)}")
        yield from _when(entry.when, depth + 1)
        gates, _ = leaves({name: entry})
        for label, option in zip(gates[0].labels, entry.options, strict=True):
            yield from _entry(label, option, depth + 1)


def _module(name: str, spec: tree.ModuleSpec, depth: int) -> Iterator[Line]:
    known = MODULE_TYPES[spec.type]
    yield Line(
        depth, f"{name}: {known.about}" if name == spec.type else f"{name}: {spec.type}, {known.about}"
    )
    yield from _when(spec.when, depth + 1)
    if known.at != "input":
        yield Line(depth + 1, f"sites: {_sites(spec, known)}")
    if spec.layers is not None:
        yield Line(depth + 1, f"layers of its own: {_chosen(spec.layers, 'layers')}")
    for field, domain in spec.fields.items():
        yield Line(depth + 1, f"{field}: {_domain(domain, size=field == known.size)}")


def _sites(spec: tree.ModuleSpec, known: ModuleType) -> str:
    if spec.sites is not None:
        return _chosen(spec.sites, "sites")
    return ", ".join(known.sites) or f"all of {', '.join(sites_of(known))} that are there"


def _chosen(selection: tree.Selection, what: str) -> str:
    of = ", ".join(map(str, selection.of)) if selection.of is not None else ""
    if isinstance(selection, tree.Members):
        return of or "all of them"
    if selection.max is None:
        many = f"at least {selection.min}"
    elif selection.max == selection.min:
        many = f"exactly {selection.min}"
    else:
        many = f"{selection.min} to {selection.max}"
    near = f", neighbouring {what}" if selection.contiguous else ""
    return f"{many} of {of or f'the {what} that are there'}{near}"


def _domain(domain: tree.Domain, *, size: bool = False) -> str:
    if isinstance(domain, tree.Tied):
        return domain.to if domain.times == 1 else f"{domain.times:g} times {domain.to}"
    if isinstance(domain, tree.Per):
        each = domain.over[0] if len(domain.over) == 1 else "site of each layer"
        return f"{_domain(domain.of, size=size)}, for each {each} by itself"
    if isinstance(domain, tree.Value):
        text = _values([domain.value], size=size)
    elif isinstance(domain, tree.Choice):
        text = _values(domain.values, size=size) + _weights(domain.priors)
    else:
        whole = "a whole number " if isinstance(domain, tree.Integer) else ""
        text = f"{whole}from {_shown(domain.low)} to {_shown(domain.high)}"
        text += ", on a log scale" if domain.log else ""
        text += f", in steps of {domain.step:g}" if domain.step not in (None, 1) else ""
    return text + "".join(f", {line.text}" for line in _when(when_of(domain), 0))


def _values(values: Sequence[tree.Scalar], *, size: bool) -> str:
    absent = size and 0 in values
    shown = [_shown(value) for value in values if not (absent and value == 0)] + ["0 for absent"] * absent
    return " or ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _shown(value: tree.Scalar) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and is_expression(value):
        return value.replace("//", "/").replace("*", "times")  # sizes are rounded down in any case
    return str(value)


def _weights(priors: Sequence[float]) -> str:
    return f", drawn {' : '.join(f'{weight:g}' for weight in priors)}" if priors else ""


def _when(conditions: Iterable[tree.Condition], depth: int) -> Iterator[Line]:
    for condition in conditions:
        if condition.test == "in":
            said = " or ".join(map(_shown, condition.values))
        else:
            said = f"{_TESTS[condition.test]} {_shown(condition.values[0])}"
        yield Line(depth, f"only if {condition.path} is {said}")
