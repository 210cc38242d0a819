"""LoRA on a model, unit by unit."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from autopeft.adapters import Attached
from autopeft.adapters.lora import lora_layers, set_ranks
from autopeft.allocate.units import Dealt, Unit
from autopeft.backbones import Layout
from autopeft.dsl.types import options_of
from autopeft.errors import TrialError
from autopeft.nouns import Configuration
from autopeft.train.steering.steering import Settled, Steered

Factors = tuple[torch.Tensor, torch.Tensor]
"""A, (rank, inputs), and scale B, (outputs, rank): their product is the update of the weight."""


def loras(attached: Attached, layout: Layout, units: Iterable[Unit]) -> dict[Unit, Any]:
    """peft's layer of the LoRA at each unit."""
    there = lora_layers(attached)
    return {unit: there[layout.layers[unit.layer].sites[unit.site]] for unit in units}


def factors_of(layer: Any) -> Factors:
    """Those of a layer, as they are now."""
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    return a.detach().clone(), b.detach() * layer.scaling["default"]


def settled(
    steered: Steered, dealt: Dealt, factors: Mapping[Unit, Factors], allocation: Mapping[str, Any]
) -> Settled:
    """A LoRA of these factors in place of the one that is on, with its allocator's name and fields."""
    modules = {unit: dealt.lora(unit, len(a)) for unit, (a, _) in factors.items()}
    plan = dealt.plan(modules.values())
    kept = Configuration.of(plan.modules, plan.learning_rate, dict(plan.training), allocation)
    layers = steered.layout.layers
    by_path = {
        layers[unit.layer].sites[unit.site]: (*factors[unit], float(options_of(module)["alpha"]))
        for unit, module in modules.items()
    }
    return Settled(kept, lambda: set_ranks(steered.attached, by_path))


def check_plain(kind: str, dealt: Dealt, units: Iterable[Unit]) -> None:
    """Refuse a LoRA whose factors are more than two matrices that begin as they like.

    Raises:
        TrialError: With what is in the way.
    """
    for unit in units:
        options = options_of(dealt.lora(unit, 1))
        if options["dora"] or options["init"] != "default":
            found = "dora" if options["dora"] else f"init {options['init']}"
            raise TrialError(
                f"{kind} trains factors of its own and cannot have {found}: leave it out of the space."
            )
