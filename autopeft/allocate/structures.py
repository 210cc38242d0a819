"""What stands at a place of a backbone, or does not: a LoRA at a linear map, bottlenecks at a block, a whole bias.

The linear maps of a block are those of its attention, to itself and to an encoder, or of its feed-forward part.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl.cost import trainable_parameters
from autopeft.nouns import Configuration, Module

_OF_BLOCK = {
    "attention": ("qkv", "q", "k", "v", "o", "cross_q", "cross_k", "cross_v", "cross_o"),
    "ffn": ("gate", "up", "down"),
}


@dataclass(frozen=True)
class Structure:
    """Modules that are in a plan together or not at all.

    Attributes:
        modules: The LoRA of a linear map, or all bottlenecks of a block.
        maps: Linear maps whose single entries they take the place of.
        price: Their parameters.
    """

    modules: tuple[Module, ...]
    maps: tuple[Unit, ...]
    price: int


def structures(dealt: Dealt, times: float) -> tuple[Structure, ...]:
    """Every structure of a configuration. No map is in two of them.

    A map where the configuration has a LoRA is that LoRA's; the others of a block are its bottlenecks'. Bottlenecks of a
    block without such a map are in no structure.

    Args:
        dealt: What there is to deal out.
        times: The rank or width of a module, in those that it has in the configuration. No rank is larger than its map
            has use for.
    """
    found = []
    for unit, rank in dealt.ranks.items():
        place = dealt.place(unit)
        most = min(place.inputs, place.outputs)
        found.append(_structure(dealt, [dealt.lora(unit, min(_times(rank, times), most))], [unit]))
    for block, modules in _bottlenecks(dealt).items():
        maps = [map_ for map_ in _maps_of_block(dealt, block) if map_ not in dealt.ranks]
        if maps:
            wide = [replace(module, size=_times(int(module.size), times)) for module in modules]
            found.append(_structure(dealt, wide, maps))
    return tuple(found)


def maps_of_structures(dealt: Dealt) -> tuple[Unit, ...]:
    """The linear maps of all structures, by layer and site."""
    return tuple(sorted(unit for one in structures(dealt, 1.0) for unit in one.maps))


def biases(dealt: Dealt) -> dict[Unit, int]:
    """Numbers in the bias of each map of a structure that has one which the configuration does not train in any case."""
    trained = {
        Unit(layer, site)
        for module in dealt.others
        if module.type == "bias"
        for layer in module.layers
        for site in module.sites
    }
    lengths = {unit: dealt.place(unit).bias for unit in maps_of_structures(dealt) if unit not in trained}
    return {unit: length for unit, length in lengths.items() if length}


def _structure(dealt: Dealt, modules: list[Module], maps: list[Unit]) -> Structure:
    price = trainable_parameters(Configuration.of(modules, 1.0), dealt.shape)
    return Structure(tuple(modules), tuple(maps), price)


def _times(size: int, times: float) -> int:
    return max(1, round(size * times))


def _bottlenecks(dealt: Dealt) -> dict[Unit, list[Module]]:
    found: dict[Unit, list[Module]] = {}
    for module in dealt.configuration.modules:
        if module.type == "bottleneck" and module.type in dealt.types:
            for layer in module.layers:
                for block in module.sites:
                    if dealt.shape.place(layer, block) is not None:
                        options = tuple(sorted({**dict(module.options), "sites": (block,)}.items()))
                        one = replace(module, layers=(layer,), options=options)
                        found.setdefault(Unit(layer, block), []).append(one)
    return dict(sorted(found.items()))


def _maps_of_block(dealt: Dealt, block: Unit) -> Iterator[Unit]:
    for site in _OF_BLOCK[block.site]:
        if dealt.shape.place(block.layer, site) is not None:
            yield Unit(block.layer, site)
