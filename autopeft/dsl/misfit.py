"""Why a configuration is no point of a space: in a sentence, by the decision that does not fit."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autopeft.dsl.cost import trainable_parameters
from autopeft.dsl.decisions import Levels
from autopeft.dsl.recovering import write
from autopeft.dsl.types import options_of
from autopeft.nouns import Configuration, Module

if TYPE_CHECKING:
    from autopeft.dsl.bound import BoundSpace


def misfit(space: "BoundSpace", configuration: Configuration) -> str:
    """Which decision keeps a configuration out of a space, as a clause; empty where it is a point of it.

    >>> misfit(space, configuration)                                    # doctest: +SKIP
    "its lora.rank is 5, and allowed are 1, 2, 4, 8, 16, 32"
    """
    if _is_point(space, configuration):
        return ""
    if _is_point(replace(space, limit=sys.maxsize, upper={}, lower={}), configuration):
        cost = trainable_parameters(configuration, space.shape)
        if cost > space.limit:
            return f"it trains {cost:,} parameters, and the budget, or the space, allows {space.limit:,}"
        return "it is outside of the space's constraints"
    for module in configuration.modules:
        if found := _module(space, module):
            return found
    if found := _values(space, configuration):
        return found
    for name, value in configuration.training:
        if name not in dict(space.training):
            return f"its {name} is {value:g}, and the space leaves {name} as the search has it"
        slot = dict(space.training)[name]
        if not slot.indices and slot.constant != value:
            return f"its {name} is {value:g}, and the space has {slot.constant:g}"
    if configuration.allocation and not space.allocation:
        return f"it is dealt out by {dict(configuration.allocation)['type']}, and the space has no allocation"
    return "its modules are together as the space's layers and sites do not allow"


def _is_point(space: "BoundSpace", configuration: Configuration) -> bool:
    try:
        space.assignment(configuration)
    except ValueError:
        return False
    return True


def _module(space: "BoundSpace", module: Module) -> str:
    parts = [part for part in space.parts if part.type.name == module.type]
    if not parts:
        return (
            f"it has a {module.type}, and the space has {_listed({part.type.name for part in space.parts})}"
        )
    layers = set().union(*(part.layers.of for part in parts))
    if wrong := sorted(set(module.layers) - layers):
        return f"its {module.type} is in layer {wrong[0]}, and the space's layers are {_listed(layers)}"
    sites = set().union(*(part.sites.of for part in parts))
    if wrong_sites := [site for site in module.sites if site not in sites]:
        return f"its {module.type} is on {wrong_sites[0]}, and the space's sites are {_listed(sites)}"
    options = options_of(module)
    for name, value in options.items():
        constants = [dict(part.options)[name] for part in parts if name in dict(part.options)]
        if constants and all(not slot.indices and slot.constant != value for slot in constants):
            known = {slot.constant for slot in constants}
            if all(slot.times is None for slot in constants):
                return f"its {module.type} has {name} {value}, and the space has {_listed(known)}"
    return ""


def _values(space: "BoundSpace", configuration: Configuration) -> str:
    """What no decision can be, in the combination of alternatives that comes nearest."""
    told: list[tuple[int, str]] = []
    for way in space.ways:
        values: list[Any] = [decision.default for decision in space.decisions]
        for index, label in way.items():
            values[index] = label
        try:
            write(space, configuration, values)
        except (ValueError, KeyError):
            continue
        wrong = [
            (decision, value)
            for decision, value in zip(space.decisions, values, strict=True)
            if not decision.holds(value)
        ]
        if wrong:
            decision, value = wrong[0]
            allowed = (
                f"allowed are {_listed(decision.values)}"
                if isinstance(decision, Levels)
                else f"allowed is {decision.low:g} to {decision.high:g}"
            )
            told.append((len(wrong), f"its {decision.name} is {value}, and {allowed}"))
        elif tied := _tied(configuration, space.configuration(values)):
            told.append((0, tied))
    return min(told, default=(0, ""))[1]


def _tied(configuration: Configuration, made: Configuration) -> str:
    """An option that the space settles by another decision, and that the configuration has otherwise."""
    for module in configuration.modules:
        if module in made.modules:
            continue
        for other in (one for one in made.modules if one not in configuration.modules):
            if (module.type, module.layers, module.sites) == (other.type, other.layers, other.sites):
                own, theirs = options_of(module), options_of(other)
                for name in own:
                    if own[name] != theirs[name]:
                        return f"its {module.type} has {name} {own[name]}, and the space has {theirs[name]} there"
    return ""


def _listed(values: Sequence[Any] | set[Any]) -> str:
    ordered = sorted(values, key=str) if isinstance(values, set) else list(values)
    if all(isinstance(value, int) for value in ordered):
        ordered = sorted(ordered)
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in ordered)
