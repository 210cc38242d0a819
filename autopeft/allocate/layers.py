"""What the importance of layers means for a configuration: which layers to train, or how large modules should be in each.

Training by importance (`autopeft.train.steering.layers`) leaves a module in every layer; the paper (Yao et al. 2024, 2410.11772) has no
read-out, and neither of these two is from it.

Notation:
    i_l         importance of layer l, from 0 to 1
    m_l         its multiplier, i_l / mean of all i: 1 on average
    r           size of a module in the configuration: rank or width
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from autopeft.allocate.rules import top
from autopeft.dsl.allocators import deals_out, fields_of
from autopeft.dsl.cost import trainable_parameters
from autopeft.dsl.types import MODULE_TYPES, options_of
from autopeft.nouns import BackboneShape, Configuration, Module

_ALMOST = 1e-9  # of a size: 3 - 1e-15 is 3


def layer_set(importance: Mapping[int, float], count: int) -> tuple[int, ...]:
    """The most important layers, so many, ascending; of equally important ones the first.

    >>> layer_set({0: 0.2, 1: 0.9, 2: 0.5, 3: 0.5}, 2)
    (1, 2)
    """
    return top(dict(sorted(importance.items())), count)


def multipliers(importance: Mapping[int, float]) -> dict[int, float]:
    """m_l of each layer; 1 for all where no layer has any importance.

    >>> multipliers({0: 0.25, 1: 0.75})
    {0: 0.5, 1: 1.5}
    """
    mean = math.fsum(importance.values()) / max(1, len(importance))
    return {layer: value / mean if mean else 1.0 for layer, value in importance.items()}


def within(configuration: Configuration, layers: Collection[int]) -> Configuration:
    """The same modules in these layers only, without the allocator. Modules that it does not deal out stay where they are."""
    kind, _ = fields_of(configuration)
    modules = [
        replace(module, layers=tuple(layer for layer in module.layers if layer in layers))
        if deals_out(kind, module.type)
        else module
        for module in configuration.modules
    ]
    return _plain(configuration, modules)


def scaled(configuration: Configuration, factors: Mapping[int, float], shape: BackboneShape) -> Configuration:
    """The same modules, each as large in a layer as r m_l says, without the allocator, for no more parameters in all.

    Sizes are rounded down, after all were made smaller alike where they cost more together (wide layers were important). What
    is left of the parameters makes modules that lost by rounding larger by one, those first that lost most, of equal ones that in the first
    layer. A module that comes to 0 is not there. What a size is scaled by (alpha) keeps its share of the size. Modules that the
    allocator does not deal out stay as they are.

    Args:
        configuration: With its allocator.
        factors: m_l; a layer that is not there has 1.
        shape: The backbone.
    """
    kind, _ = fields_of(configuration)
    cells = sorted(
        (layer, number)
        for number, module in enumerate(configuration.modules)
        if deals_out(kind, module.type)
        for layer in module.layers
    )

    def cost(layer: int, number: int, size: int) -> int:
        one = _resized(configuration.modules[number], layer, size)
        return trainable_parameters(Configuration.of([one], 1.0), shape)

    had = {cell: int(configuration.modules[cell[1]].size) for cell in cells}
    each = {cell: cost(*cell, 2) - cost(*cell, 1) for cell in cells}
    wanted = {cell: had[cell] * factors.get(cell[0], 1.0) for cell in cells}
    asked = math.fsum(each[cell] * wanted[cell] for cell in cells)
    less = min(1.0, sum(each[cell] * had[cell] for cell in cells) / asked) if asked else 1.0
    sizes = {cell: math.floor(less * wanted[cell] + _ALMOST) for cell in cells}
    for cell in cells:
        while not _can_be(configuration.modules[cell[1]], cell[0], sizes[cell], shape):
            sizes[cell] -= 1
    left = sum(cost(*cell, had[cell]) - cost(*cell, sizes[cell]) for cell in cells)
    lost = {cell: less * wanted[cell] - sizes[cell] for cell in cells}
    for cell in sorted((cell for cell in cells if lost[cell] > _ALMOST), key=lambda cell: -lost[cell]):
        more = cost(*cell, sizes[cell] + 1) - cost(*cell, sizes[cell])
        if more <= left and _can_be(configuration.modules[cell[1]], cell[0], sizes[cell] + 1, shape):
            sizes[cell] += 1
            left -= more
    others = [module for module in configuration.modules if not deals_out(kind, module.type)]
    dealt = [_resized(configuration.modules[number], layer, sizes[layer, number]) for layer, number in cells]
    return _plain(configuration, [*others, *dealt])


def _plain(configuration: Configuration, modules: list[Module]) -> Configuration:
    there = [module for module in modules if module.layers]
    return Configuration.of(there, configuration.learning_rate, dict(configuration.training))


def _resized(module: Module, layer: int, size: int) -> Module:
    fields = MODULE_TYPES[module.type].fields
    options = {
        name: value * size / module.size if name in fields and fields[name].times_size is not None else value
        for name, value in module.options
    }
    return Module(module.type, size, (layer,), tuple(sorted(options.items())))


def _can_be(module: Module, layer: int, size: int, shape: BackboneShape) -> bool:
    if size <= 0:
        return True
    options = options_of(_resized(module, layer, size))
    places = [place for site in module.sites if (place := shape.place(layer, site)) is not None]
    return not any(MODULE_TYPES[module.type].objection(size, options, place) for place in places)
