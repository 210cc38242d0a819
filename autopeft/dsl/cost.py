"""Exact computed objectives of a configuration, by arithmetic alone.

`autopeft.adapters` asserts that what it builds has exactly these counts; `BoundSpace.cost` is the same from tables.
"""

from typing import Any

from autopeft.dsl.types import MODULE_TYPES, options_of
from autopeft.nouns import BackboneShape, Configuration, Module

BYTES_EACH = 4  # adapters are trained and saved in float32


def trainable_parameters(configuration: Configuration, shape: BackboneShape) -> int:
    """Trainable parameters of a configuration on a backbone, without the task head.

    >>> trainable_parameters(Configuration.of([], 1e-3), BackboneShape(100, 8, 2, 32, ()))
    0
    """
    return _counted(configuration, shape, stored=False)


def adapter_bytes(configuration: Configuration, shape: BackboneShape) -> int:
    """Bytes of the tensors that are saved with an adapter, without the task head and the files' headers."""
    return (
        _counted(configuration, shape, stored=False) + _counted(configuration, shape, stored=True)
    ) * BYTES_EACH


def _counted(configuration: Configuration, shape: BackboneShape, *, stored: bool) -> int:
    total = 0
    # One adapter may stand as several modules, where layers have it at different sites: what it has once counts once.
    once: dict[tuple[Any, ...], tuple[Module, dict[str, None]]] = {}
    for module in configuration.modules:
        known, options = MODULE_TYPES[module.type], options_of(module)
        count = known.stored if stored else known.trainable
        further = tuple((name, value) for name, value in module.options if name != "sites")
        for layer in module.layers:
            for site in module.sites:
                place = shape.place(layer, site)
                if place is not None:
                    total += count(module.size, options, place)
                    once.setdefault((module.type, module.size, further), (module, {}))[1][site] = None
    for module, sites in once.values():
        known = MODULE_TYPES[module.type]
        shared = known.stored_shared if stored else known.shared
        total += shared(module.size, {**options_of(module), "sites": tuple(sites)}, shape)
    return total
