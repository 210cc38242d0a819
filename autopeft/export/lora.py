"""LoRA by the paths of linear maps: what the recipes of trl, Axolotl and LLaMA-Factory have in common."""

from collections.abc import Mapping
from typing import Any

from autopeft.backbones import Layout
from autopeft.export.recipe import Recipe, Schedule, canonical, one_at, path_of, spots, spots_by_path
from autopeft.nouns import Module

Numbers = tuple[int, int]
"""Rank and alpha."""


def lora_places(recipe: Recipe, layout: Layout) -> dict[str, Numbers]:
    """Rank and alpha of LoRA by the path of each linear map, in the order of the model."""
    found = {}
    for module in recipe.modules:
        for spot in spots(module):
            found[path_of(layout, spot)] = (int(module.size), module.option("alpha"))
    return {path: found[path] for path in spots_by_path(layout) if path in found}


def lora_modules(
    places: Mapping[str, Numbers], options: Mapping[str, Any], layout: Layout
) -> tuple[Module, ...]:
    """The reverse of `lora_places`."""
    known = spots_by_path(layout)
    modules = [one_at("lora", r, known[path], {**options, "alpha": a}) for path, (r, a) in places.items()]
    return canonical(modules, layout)


def most_frequent(places: Mapping[str, Numbers]) -> Numbers:
    """The rank and alpha that need the fewest exceptions."""
    numbers = list(places.values())
    return max(dict.fromkeys(numbers), key=numbers.count)


def written_warmup(schedule: Schedule) -> int:
    """Steps in which transformers' `Trainer` raises the rate.

    It begins at a rate of 0, where our first step has its share already: of one step of warm-up nothing would be left.
    """
    return schedule.warmup_steps if schedule.warmup_steps > 1 else 0


def read_warmup(steps: int) -> int:
    """The reverse of `written_warmup`."""
    return steps or 1
