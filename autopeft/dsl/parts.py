"""The modules of a bound space, and what they cost at every place.

Costs are sums over rows: what a part of one size and one set of options costs in each layer. Rows are made when they
are first needed, so a configuration's cost is a handful of look-ups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from autopeft.dsl.choosers import Chooser, Slot
from autopeft.dsl.cost import BYTES_EACH
from autopeft.dsl.decisions import Needs, met
from autopeft.dsl.module_type import ModuleType
from autopeft.nouns import BackboneShape, Module, Size

MEASURES = ("trainable", "adapter_bytes", "sites")
TRAINABLE, BYTES, SITES = range(3)


@dataclass(frozen=True)
class Role:
    """What a decision is about.

    Attributes:
        kind: `layers` and `own layers` choose layers, `sites` sites, `gate` an alternative.
        part: Index of the part; -1 for what is shared.
        key: Of a size or option that differs from place to place: which layer, site or both.
        over: The axes of the key.
    """

    kind: Literal["layers", "own layers", "sites", "size", "option", "gate", "training"]
    part: int
    key: tuple[Any, ...] = ()
    over: tuple[str, ...] = ()

    def concerns(self, layers: Sequence[int], sites: Sequence[str]) -> bool:
        """Whether its key is among these layers and sites."""
        return all(
            k in (layers if axis == "layer" else sites) for axis, k in zip(self.over, self.key, strict=True)
        )


@dataclass(frozen=True)
class Part:
    """A module of the space, with every field's source.

    Attributes:
        name: As the file calls it.
        type: Its type.
        needs: Conditions under which it is there.
        layers: Which layers; the space's own chooser, or one of its own.
        sites: Which sites.
        size: Its size.
        options: Every further field.
    """

    name: str
    type: ModuleType
    needs: tuple[Needs, ...]
    layers: Chooser
    sites: Chooser
    size: Slot
    options: tuple[tuple[str, Slot], ...]

    @cached_property
    def costly(self) -> tuple[tuple[str, Slot], ...]:
        """The options that cost depends on."""
        return tuple((name, slot) for name, slot in self.options if self.type.fields[name].costs)

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        # What a configuration leaves out. A default that follows the size is written down.
        return {name: self.type.fields[name].default for name, _ in self.options}

    @cached_property
    def uniform(self) -> bool:
        """Whether size and all costly options are the same everywhere."""
        return not self.size.over and not any(slot.over for _, slot in self.costly)

    def there(self, values: Sequence[Any]) -> bool:
        """Whether its conditions hold."""
        return met(self.needs, values)

    def may_be(self, kind: str, layer: int, site: str, options: Mapping[str, Any]) -> bool:
        """Whether a module of this type and with these options can be this part, at a site of a layer."""
        return (
            kind == self.type.name
            and layer in self.layers.of
            and site in self.sites.of
            and all(slot.indices or slot.constant == options[name] for name, slot in self.options)
        )

    def module(self, values: Sequence[Any], layers: tuple[int, ...], sites: tuple[str, ...]) -> Module:
        """The module that it is in an assignment at these sites of these layers, at all of which it is alike."""
        layer, site = layers[0], sites[0]
        valued = [(name, slot.value(values, layer, site)) for name, slot in self.options]
        options = [(name, value) for name, value in valued if value != self._defaults[name]]
        size = self.size.value(values, layer, site)
        return Module(self.type.name, size, layers, tuple(sorted([*options, ("sites", sites)])))


@dataclass(frozen=True)
class Costs:
    """What parts cost on a backbone.

    Attributes:
        shape: The backbone.
        parts: The modules.
    """

    shape: BackboneShape
    parts: tuple[Part, ...]
    _rows: dict[Any, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)
    _grids: dict[Any, list[tuple[int, str, int, dict[Size, int]]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @cached_property
    def there(self) -> tuple[frozenset[str], ...]:
        """The sites that each layer has, `input` at layer 0 among them."""
        return tuple(
            frozenset(layer.places) | ({"input"} if i == 0 and self.shape.input is not None else frozenset())
            for i, layer in enumerate(self.shape.layers)
        )

    def measure(self, assignment: Sequence[Any], measure: int) -> int:
        """A computed objective: an index into `MEASURES`."""
        total = 0
        for index in range(len(self.parts)):
            total += self.of_part(index, assignment, measure)
        return total

    def of_part(self, index: int, values: Sequence[Any], measure: int) -> int:
        """What one part adds to a computed objective."""
        part = self.parts[index]
        if not part.there(values):
            return 0
        layers, sites = part.layers.chosen(values), part.sites.chosen(values)
        if part.uniform:
            size = part.size.value(values)
            if not size:
                return 0
            options = tuple([slot.value(values) for _, slot in part.costly])
            row = self._rows.get((index, measure, size, options, sites))
            if row is None:
                row = self._row(index, measure, size, options, sites)
            total: int = sum([row[layer] for layer in layers])
            if part.type.has_shared and any(self.there[layer].intersection(sites) for layer in layers):
                total += self._shared(part, measure, size, options, sites)
            return total
        if not part.type.has_shared and not any(slot.over for _, slot in part.costly):
            return self._of_sizes(index, values, layers, sites, measure)
        total = 0
        alike: dict[tuple[Size, tuple[Any, ...]], dict[str, None]] = {}  # size and options to their sites
        for layer in layers:
            for site in sites:
                if site in self.there[layer]:
                    total += self.cell(index, values, layer, site, measure)
                    options = tuple([slot.value(values, layer, site) for _, slot in part.costly])
                    alike.setdefault((part.size.value(values, layer, site), options), {})[site] = None
        if part.type.has_shared:
            for (size, options), where in alike.items():
                if size:
                    total += self._shared(part, measure, size, options, tuple(where))
        return total

    def _of_sizes(
        self, index: int, values: Sequence[Any], layers: Sequence[int], sites: tuple[str, ...], measure: int
    ) -> int:
        # A part of which only the size differs from place to place: as few look-ups as its axes allow.
        part = self.parts[index]
        options = tuple([slot.value(values) for _, slot in part.costly]) if part.costly else ()
        total = 0
        if len(part.size.over) == 2:
            whole = part.layers.first < 0 and part.sites.first < 0
            for layer, site, place, costs in self._grid(index, measure, options):
                if (size := values[place]) and (whole or (layer in layers and site in sites)):
                    cost = costs.get(size)
                    if cost is None:
                        cost = costs[size] = self.cell(index, values, layer, site, measure)
                    total += cost
            return total
        by_layer = part.size.over[0] == "layer"
        for key in layers if by_layer else sites:
            at = part.size.indices.get((key,))
            if at is None or not values[at]:  # a layer may have none of the sites
                continue
            size = part.size.value(values, key, key)  # type: ignore[arg-type]  # along one axis only
            group = sites if by_layer else (key,)
            row = self._rows.get((index, measure, size, options, group))
            if row is None:
                row = self._row(index, measure, size, options, group)  # type: ignore[arg-type]
            total += row[key] if by_layer else sum([row[layer] for layer in layers])  # type: ignore[index]
        return total

    def _grid(
        self, index: int, measure: int, options: tuple[Any, ...]
    ) -> list[tuple[int, str, int, dict[Size, int]]]:
        # Of a part with a size for each site of each layer: layer, site, decision, and costs by the decision's value.
        found = self._grids.get((index, measure, options))
        if found is None:
            indices = self.parts[index].size.indices
            found = [(layer, site, at, {}) for (layer, site), at in indices.items()]
            self._grids[index, measure, options] = found
        return found

    def cell(self, index: int, values: Sequence[Any], layer: int, site: str, measure: int) -> int:
        """What one part adds at one place that is there."""
        part = self.parts[index]
        size = part.size.value(values, layer, site)
        if not size:
            return 0
        options = tuple([slot.value(values, layer, site) for _, slot in part.costly]) if part.costly else ()
        row = self._rows.get((index, measure, size, options, (site,)))
        if row is None:
            row = self._row(index, measure, size, options, (site,))
        return row[layer]

    def _row(
        self,
        index: int,
        measure: int,
        size: Size,
        options: tuple[Any, ...],
        sites: tuple[str, ...],
    ) -> tuple[int, ...]:
        # What a part costs in each layer, all these sites together.
        part = self.parts[index]
        named = dict(zip([name for name, _ in part.costly], options, strict=True))
        row = []
        for layer in range(len(self.shape.layers)):
            total = 0
            for site in sites:
                place = self.shape.place(layer, site)
                if place is None:
                    continue
                if measure == SITES:
                    total += 1
                else:
                    total += part.type.trainable(size, named, place)
                    if measure == BYTES:
                        total += part.type.stored(size, named, place)
            row.append(total * BYTES_EACH if measure == BYTES else total)
        found = tuple(row)
        self._rows[index, measure, size, options, sites] = found
        return found

    def _shared(
        self, part: Part, measure: int, size: Size, options: tuple[Any, ...], sites: tuple[str, ...]
    ) -> int:
        if measure == SITES:
            return 0
        named = {"sites": sites, **dict(zip([name for name, _ in part.costly], options, strict=True))}
        total = part.type.shared(size, named, self.shape)
        if measure == BYTES:
            total = (total + part.type.stored_shared(size, named, self.shape)) * BYTES_EACH
        return total
