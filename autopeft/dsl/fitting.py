"""Sizes and options that some place of a backbone has no room for are refused before anything is trained."""

import itertools
from collections.abc import Iterator
from typing import Any

from autopeft.dsl.build import Build
from autopeft.dsl.check import Reference
from autopeft.dsl.leaves import Leaf
from autopeft.dsl.parts import Part
from autopeft.dsl.types import MODULE_TYPES, size_field
from autopeft.errors import BackboneError
from autopeft.nouns import Size

_MOST_COMBINATIONS = 2_000  # of sizes and options that are tried at every kind of place


def check_places(build: Build, leaf: Leaf, part: Part) -> None:
    """Refuse sizes and options that some place has no room for.

    Raises:
        BackboneError: With the place, and why.
    """
    combinations = list(itertools.islice(_combinations(build, part), _MOST_COMBINATIONS))
    for site in part.sites.of:
        for place in sorted({p for i in part.layers.of if (p := build.shape.place(i, site))}, key=repr):
            for size, options in combinations:
                if reason := part.type.objection(size, options, place):
                    shown = f"{part.type.size} {size}" if part.type.size else part.type.name
                    raise BackboneError(
                        f"{leaf.spec.where}: '{leaf.name}' ({part.type.name}, {shown}) cannot be at the site '{site}' "
                        f"of this backbone: {reason}."
                    )


def _combinations(build: Build, part: Part) -> Iterator[tuple[Size, dict[str, Any]]]:
    names = [name for name, _ in part.options]
    axes = [
        [slot.constant] if slot.times is not None or not slot.indices else build.samples(slot)
        for _, slot in part.options
    ]
    sizes = [s for s in build.samples(part.size) if s > 0] if part.size.indices else [part.size.constant]
    if part.size.times is not None:
        sizes = [s * part.size.times for s in sizes]
    for size in sizes:
        for values in itertools.product(*axes):
            options = dict(zip(names, values, strict=True))
            for name, slot in part.options:  # tied to the size
                if slot.times is not None:
                    options[name] = size * slot.times
            yield size, options


def check_tie(build: Build, leaf: Leaf, name: str, reference: Reference, times: float, where: str) -> None:
    """Refuse a tie that would give a field a number that it cannot have.

    Raises:
        BackboneError: With the number, and what is allowed.
    """
    known = MODULE_TYPES[leaf.spec.type]
    field = known.fields.get(name) or size_field(known)
    slot = build.slots[reference]
    for value in build.samples(slot) if slot.indices else [slot.constant]:
        number = value * times
        absent = not number and reference == (leaf.name, known.size)
        whole = field.kind != "integer" or float(number).is_integer()
        if not absent and not (whole and field.low <= number <= field.high):
            kind = "whole numbers" if field.kind == "integer" else "numbers"
            most = f" to {field.high:g}" if field.high < 1e9 else ""
            raise BackboneError(
                f"{where}: '{leaf.name}.{name}' would be {number:g} where '{'.'.join(reference)}' is {value:g}: "
                f"allowed are {kind} from {field.low:g}{most}."
            )
