"""Places where the configurations of a space can share weights, and what a configuration takes of them.

A smaller module is the first part of a larger one: the first w units of a bottleneck, the first tokens of a prefix, the
first ranks of a LoRA.
"""

import itertools
from typing import Any, NamedTuple

from autopeft.dsl.types import options_of
from autopeft.nouns import BackboneShape, Configuration

# The field of each such type that only multiplies a module's output; a prefix has none.
FACTORS = {"bottleneck": "scaling", "prefix": "", "lora": "alpha"}


class Spot(NamedTuple):
    """Where weights are shared: modules of a type with these options at a site of a layer.

    Attributes:
        type: The module's type.
        options: All of its options but sites and factor.
        layer, site: Where it is.
    """

    type: str
    options: tuple[tuple[str, Any], ...]
    layer: int
    site: str

    @property
    def kind(self) -> str:
        """The kind of module and its site, such as `bottleneck parallel ffn`."""
        position = dict(self.options).get("position", "")
        return " ".join(filter(None, (self.type, str(position), self.site)))


class Cut(NamedTuple):
    """What a configuration takes of a spot.

    Attributes:
        size: The first so many units, tokens or ranks; 0 for nothing.
        factor: Of the output: a bottleneck's scaling or a LoRA's alpha; 1 for a prefix.
    """

    size: int
    factor: float


def cuts(configuration: Configuration, shape: BackboneShape) -> dict[Spot, Cut]:
    """What a configuration takes of each spot where it has a module; of types in `FACTORS` only."""
    found = {}
    for module in configuration.modules:
        options = options_of(module)
        factor = float(options.get(FACTORS[module.type], 1.0))
        shared = tuple(sorted((n, v) for n, v in options.items() if n not in ("sites", FACTORS[module.type])))
        for layer, site in itertools.product(module.layers, module.sites):
            if shape.place(layer, site) is not None:
                found[Spot(module.type, shared, layer, site)] = Cut(int(module.size), factor)
    return found


def scale(spot: Spot, cut: Cut) -> float:
    """What the module's output is multiplied with."""
    if spot.type != "lora":
        return cut.factor
    rslora = dict(spot.options)["rslora"]
    power = 0.5 if rslora else 1.0
    return cut.factor / float(max(1, cut.size) ** power)  # Kalajdzievski 2023; Hu et al. 2022
