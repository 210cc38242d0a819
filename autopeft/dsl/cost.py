"""Exact computed objectives of a configuration, by arithmetic alone.

`autopeft.adapters` asserts that what it builds has exactly these counts; `BoundSpace.cost` is the same from tables.
"""

from autopeft.dsl.types import MODULE_TYPES, options_of
from autopeft.nouns import BackboneShape, Configuration

_BYTES_EACH = 4  # adapters are trained and saved in float32


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
    ) * _BYTES_EACH


def _counted(configuration: Configuration, shape: BackboneShape, *, stored: bool) -> int:
    total = 0
    once = set()
    for module in configuration.modules:
        known = MODULE_TYPES[module.type]
        options = options_of(module)
        count, shared = (known.stored, known.stored_shared) if stored else (known.trainable, known.shared)
        places = [shape.place(layer, site) for layer in module.layers for site in module.sites]
        total += sum(count(module.size, options, place) for place in places if place is not None)
        # One module of a configuration may stand as several where sizes or sites differ.
        further = tuple((name, value) for name, value in module.options if name != "sites")
        if any(place is not None for place in places) and (module.type, module.size, further) not in once:
            once.add((module.type, module.size, further))
            total += shared(module.size, options, shape)
    return total
