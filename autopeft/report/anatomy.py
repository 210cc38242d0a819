"""Where in the network a configuration has its parameters, and where configurations differ."""

from collections.abc import Sequence
from dataclasses import dataclass

from autopeft.dsl.cost import trainable_parameters
from autopeft.dsl.types import MODULE_TYPES, options_of
from autopeft.nouns import SITES, BackboneShape, Configuration, Module, Study

Cell = tuple[int, str]
"""A layer and a site."""


@dataclass(frozen=True)
class Occupant:
    """One module at one place.

    Attributes:
        kind: Its type; of a bottleneck adapter, where it stands: `serial` or `parallel`.
        size: Rank, width, tokens or density; None of a type without a size.
        parameters: Trainable ones at this place; None where the backbone's shape is not known.
    """

    kind: str
    size: float | None
    parameters: int | None


@dataclass(frozen=True)
class Anatomy:
    """A configuration on a backbone, place by place.

    Attributes:
        layers: How many layers the backbone has.
        sites: Sites that are shown, in order.
        there: What stands at each place that has something.
        shared: Trainable parameters that belong to no one place, such as a vector bank.
    """

    layers: int
    sites: tuple[str, ...]
    there: dict[Cell, tuple[Occupant, ...]]
    shared: int = 0

    def parameters(self, layer: int, site: str) -> int:
        """Trainable parameters at a place."""
        return sum(one.parameters or 0 for one in self.there.get((layer, site), ()))


def shape_of(study: Study) -> BackboneShape | None:
    """The study's backbone; None of a study of an early version, or one that was not searched here."""
    recorded = study.settings["backbone"].get("shape")
    return None if recorded is None else BackboneShape.from_json(recorded)


def anatomy(configuration: Configuration, study: Study, beside: Sequence[Configuration] = ()) -> Anatomy:
    """Where a configuration has its modules on the study's backbone.

    Args:
        configuration: The configuration.
        study: Its study.
        beside: Others whose sites are shown too, so that their pictures can be held against this one's.
    """
    shape = shape_of(study)
    layers = int(study.settings["backbone"].get("layers", 0)) or _layers([configuration, *beside])
    there: dict[Cell, list[Occupant]] = {}
    placed = 0
    for module in configuration.modules:
        for layer in module.layers:
            for site in module.sites:
                place = None if shape is None else shape.place(layer, site)
                if shape is not None and place is None:
                    continue
                count = None
                if place is not None:
                    # What the type has once, wherever it stands, is no part of this place.
                    count = MODULE_TYPES[module.type].trainable(module.size, options_of(module), place)
                placed += count or 0
                there.setdefault((layer, site), []).append(_occupant(module, count))
    total = 0 if shape is None else trainable_parameters(configuration, shape)
    return Anatomy(
        layers=layers,
        sites=_sites([configuration, *beside], shape),
        there={place: tuple(found) for place, found in there.items()},
        shared=max(total - placed, 0),
    )


def in_common(configurations: Sequence[Configuration], study: Study) -> tuple[Anatomy, dict[Cell, float]]:
    """What configurations have in common: an empty anatomy with their sites, and the share of them with a module at each place."""
    shape = shape_of(study)
    layers = int(study.settings["backbone"].get("layers", 0)) or _layers(configurations)
    count: dict[Cell, int] = {}
    for configuration in configurations:
        for place in anatomy(configuration, study).there:
            count[place] = count.get(place, 0) + 1
    empty = Anatomy(layers, _sites(configurations, shape), {})
    return empty, {place: n / len(configurations) for place, n in count.items()}


def differing(first: Anatomy, second: Anatomy) -> set[Cell]:
    """Places where not the same stands."""
    return {
        place
        for place in first.there.keys() | second.there.keys()
        if _told(first.there.get(place, ())) != _told(second.there.get(place, ()))
    }


def _told(found: Sequence[Occupant]) -> list[tuple[str, float | None]]:
    return sorted(((one.kind, one.size) for one in found), key=str)


def _occupant(module: Module, parameters: int | None) -> Occupant:
    sized = MODULE_TYPES[module.type].size if module.type in MODULE_TYPES else True
    kind = str(dict(module.options).get("position", module.type))
    return Occupant(kind, float(module.size) if sized else None, parameters)


def _sites(configurations: Sequence[Configuration], shape: BackboneShape | None) -> tuple[str, ...]:
    named = {site for c in configurations for module in c.modules for site in module.sites}
    offered = set() if shape is None else set(shape.sites)
    used = named | offered
    return tuple(site for site in SITES if site in used) + tuple(sorted(named - set(SITES)))


def _layers(configurations: Sequence[Configuration]) -> int:
    return 1 + max((i for c in configurations for m in c.modules for i in m.layers), default=-1)
