"""What allocators deal out: the modules of some types of a configuration; LoRA place by place, as most deal out that alone.

Notation:
    u           a unit: one linear map with a LoRA
    r_u, c_u    its rank in the configuration; parameters of one rank there
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autopeft.dsl.cost import trainable_parameters
from autopeft.nouns import BackboneShape, Configuration, Module, Place, Size

KIND = "lora"


@dataclass(frozen=True, order=True)
class Unit:
    """A linear map.

    Attributes:
        layer, site: Where.
    """

    layer: int
    site: str


@dataclass(frozen=True)
class Dealt:
    """A configuration as allocators see it.

    Attributes:
        configuration: Modules, rate, training; its allocator is not looked at.
        shape: The backbone.
        ranks: Of the LoRA at each unit, by layer and site.
        options: Of that LoRA, as the configuration has them.
        types: Of the modules that are dealt out; others stay as they are.
    """

    configuration: Configuration
    shape: BackboneShape
    ranks: Mapping[Unit, int]
    options: Mapping[Unit, Mapping[str, Any]]
    types: tuple[str, ...] = (KIND,)

    @classmethod
    def of(
        cls, configuration: Configuration, shape: BackboneShape, types: tuple[str, ...] = (KIND,)
    ) -> "Dealt":
        """What there is to deal out of a configuration."""
        ranks: dict[Unit, int] = {}
        options: dict[Unit, Mapping[str, Any]] = {}
        for module in configuration.modules:
            if module.type == KIND:
                for layer in module.layers:
                    for site in module.sites:
                        if shape.place(layer, site) is not None:
                            ranks[Unit(layer, site)] = int(module.size)
                            options[Unit(layer, site)] = dict(module.options)
        return cls(configuration, shape, dict(sorted(ranks.items())), options, types)

    @property
    def units(self) -> tuple[Unit, ...]:
        """By layer and site."""
        return tuple(self.ranks)

    @property
    def cost(self) -> int:
        """Trainable parameters that may be dealt out: those of the modules of `types`."""
        kept = Configuration.of(self.others, 1.0)
        return trainable_parameters(self.configuration, self.shape) - trainable_parameters(kept, self.shape)

    def place(self, unit: Unit) -> Place:
        """What stands there."""
        place = self.shape.place(unit.layer, unit.site)
        assert place is not None
        return place

    def rank_cost(self, unit: Unit) -> int:
        """c_u, with the options that the unit has."""
        return self.lora_cost(unit, 2) - self.lora_cost(unit, 1)

    def lora_cost(self, unit: Unit, rank: int) -> int:
        """Parameters of a LoRA of a rank there, alone."""
        return trainable_parameters(Configuration.of([self.lora(unit, rank)], 1.0), self.shape)

    def lora(self, unit: Unit, rank: int, *, plain_start: bool = False) -> Module:
        """A LoRA of another rank: its alpha keeps its share of the rank, so that its scale is that of the configuration.

        With `plain_start` it says nothing at first (B = 0), whatever `init` the configuration has.
        """
        options = dict(self.options[unit])
        if plain_start:
            options.pop("init", None)
        if "alpha" in options:
            options["alpha"] = options["alpha"] * rank / self.ranks[unit]
        return _module(KIND, rank, unit, options)

    def sparse(self, unit: Unit, density: Size) -> Module:
        """Entries of the weight there, those with the largest score."""
        return _module("sparse", density, unit, {"mask": "sensitivity"})

    def bias(self, unit: Unit) -> Module:
        """All of the bias there."""
        return _module("bias", 1, unit, {})

    def plan(self, modules: Iterable[Module]) -> Configuration:
        """The configuration with these in place of its modules of `types`, and nothing more to deal out."""
        training = dict(self.configuration.training)
        return Configuration.of([*self.others, *modules], self.configuration.learning_rate, training)

    @property
    def others(self) -> list[Module]:
        """Modules of other types."""
        return [module for module in self.configuration.modules if module.type not in self.types]


def _module(kind: str, size: Size, unit: Unit, options: Mapping[str, Any]) -> Module:
    found = {**options, "sites": (unit.site,)}
    return Module(kind, size, (unit.layer,), tuple(sorted(found.items())))
