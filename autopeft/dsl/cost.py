"""Exact trainable parameters of modules, by arithmetic alone.

Notation:
    h           width of the residual stream
    m           size of a module: bottleneck width, prefix length or rank
    (i, o)      inputs and outputs of a linear site

`autopeft.adapters` asserts that what it builds has exactly these counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autopeft.nouns import BackboneShape, Configuration, LayerShape


@dataclass(frozen=True)
class ModuleType:
    """What the language knows of a type of module.

    Attributes:
        size: The field that holds the module's size.
        fields: Further fields that a space may set, with the constant values allowed (None: any).
        trainable: (size, chosen sites, layer, h) to trainable parameters in that layer.
    """

    size: str
    fields: dict[str, tuple[str, ...] | None]
    trainable: Callable[[int, Sequence[str], LayerShape, int], int]


def _bottleneck(m: int, sites: Sequence[str], layer: LayerShape, h: int) -> int:
    return 2 * h * m + m + h  # down and up projection, with biases


def _prefix(m: int, sites: Sequence[str], layer: LayerShape, h: int) -> int:
    return 2 * m * layer.prefix_width  # keys and values


def _lora(m: int, sites: Sequence[str], layer: LayerShape, h: int) -> int:
    return sum(m * (i + o) for i, o in (layer.linears[site] for site in sites))


MODULE_TYPES: dict[str, ModuleType] = {
    "bottleneck": ModuleType("size", {"position": ("serial", "parallel")}, _bottleneck),
    "prefix": ModuleType("size", {}, _prefix),
    "lora": ModuleType("rank", {"sites": None, "alpha": None}, _lora),
}


def trainable_parameters(configuration: Configuration, shape: BackboneShape) -> int:
    """Trainable parameters of a configuration on a backbone, without the task head.

    >>> trainable_parameters(Configuration.of([], 1e-3), BackboneShape(100, 8, 2, 32, ()))
    0
    """
    total = 0
    for module in configuration.modules:
        count = MODULE_TYPES[module.type].trainable
        sites = dict(module.options).get("sites", ())
        total += sum(count(module.size, sites, shape.layers[i], shape.hidden) for i in module.layers)
    return total
