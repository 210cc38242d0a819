"""From a configuration back to the decisions that make it."""

from typing import TYPE_CHECKING, Any

from autopeft.dsl.allocators import ALLOCATORS
from autopeft.dsl.decisions import met
from autopeft.dsl.types import options_of
from autopeft.nouns import Configuration, Size

if TYPE_CHECKING:
    from autopeft.dsl.bound import Assignment, BoundSpace

Cell = tuple[Size, dict[str, Any]]  # size and options of a module at one place


def recover(space: "BoundSpace", configuration: Configuration) -> "Assignment":
    """The assignment that means a configuration; decisions without effect take their default.

    Each combination of alternatives is tried in turn: the first that explains every module is the answer, so
    arrangements that two alternatives can make have one canonical assignment.

    Raises:
        ValueError: The configuration is no point of the space.
    """
    for way in space.ways:
        values = [decision.default for decision in space.decisions]
        for index, label in way.items():
            values[index] = label
        try:
            write(space, configuration, values)
            if space.configuration(values) == configuration and space.valid(values):
                return tuple(values)
        except (ValueError, KeyError):
            continue
    raise ValueError(f"{configuration.to_json()} is not a point of the space '{space.name}'")


def write(space: "BoundSpace", configuration: Configuration, values: list[Any]) -> None:
    """Set the decisions that make a configuration, given those between alternatives; whether the values are allowed is not asked.

    Raises:
        ValueError, KeyError: These alternatives cannot make it.
    """
    open_to = [space.open_to(part, values) for part in space.parts]
    cells = _claimed(space, configuration, open_to)
    for part, mine in zip(space.parts, cells, strict=True):
        if mine:
            part.sites.write([site for _, site in mine], values)
            if part.layers != space.layers:
                part.layers.write([layer for layer, _ in mine], values)
        for (layer, site), (size, options) in mine.items():
            for name, slot in (("", part.size), *part.options):
                if slot.indices and slot.times is None and met(slot.needs, values):
                    values[slot.indices[slot.key(layer, site)]] = options[name] if name else size
    shared = [
        layer
        for part, mine in zip(space.parts, cells, strict=True)
        for layer, _ in mine
        if part.layers == space.layers
    ]
    if shared:
        space.layers.write(shared, values)
    further = dict(configuration.training)
    for name, slot in space.training:
        for index in slot.indices.values():
            values[index] = further.get(name, values[index])
    _write_allocation(space, configuration, values)
    values[-1] = configuration.learning_rate
    _write_zeros(space, cells, open_to, values)
    for i in space.in_order:
        decision = space.decisions[i]
        if not met(decision.needs, values):
            values[i] = decision.default


def _write_allocation(space: "BoundSpace", configuration: Configuration, values: list[Any]) -> None:
    # What a configuration says nothing of is at its default.
    given = dict(configuration.allocation)
    kind = given.get("type", "")
    for path, slot in space.allocation:
        owner, _, name = path.partition(".")
        for index in slot.indices.values():
            if owner == kind:
                values[index] = given.get(name, ALLOCATORS[kind].fields[name].default)
            elif path == "type" and kind:
                values[index] = kind


def _claimed(
    space: "BoundSpace", configuration: Configuration, open_to: list[bool]
) -> list[dict[tuple[int, str], Cell]]:
    # For each part, the places where the configuration has it.
    cells: list[dict[tuple[int, str], Cell]] = [{} for _ in space.parts]
    for module in configuration.modules:
        options = options_of(module)
        for layer in module.layers:
            for site in module.sites:
                for part, mine, there in zip(space.parts, cells, open_to, strict=True):
                    if there and (layer, site) not in mine and part.may_be(module.type, layer, site, options):
                        mine[layer, site] = (module.size, options)
                        break
                else:
                    raise ValueError("no part can be there")
    return cells


def _write_zeros(
    space: "BoundSpace",
    cells: list[dict[tuple[int, str], Cell]],
    open_to: list[bool],
    values: list[Any],
) -> None:
    # A size is 0 where its part could be, but is not.
    for part, mine, there in zip(space.parts, cells, open_to, strict=True):
        if not there or part.size.times is not None:
            continue
        taken = part.layers.chosen(values), part.sites.chosen(values)
        used = {part.size.key(layer, site) for layer, site in mine}
        for key, index in part.size.indices.items():
            if key not in used and space.roles[index].concerns(*taken) and space.decisions[index].holds(0):
                values[index] = 0
