"""What every search is measured against: trials of each study, beside its space."""

from autopeft.dsl import BoundSpace, trainable_parameters
from autopeft.nouns import BackboneShape, Configuration, Module, TrialKind

# An untuned baseline is no baseline: each is trained at so many rates, over the whole range of the space.
LEARNING_RATES = 6
_RANKS = (8, 4, 2, 1)


def baselines(space: BoundSpace, *, new_head: bool = True) -> list[tuple[TrialKind, Configuration]]:
    """The frozen backbone with its head only, then LoRA on query and value, each at six learning rates.

    LoRA is in every layer, with alpha twice the rank, at the largest of the ranks 8, 4, 2 and 1 that the budget
    allows; at rank 1 where none fits. It is left out where a backbone has no such sites.

    Args:
        space: The space.
        new_head: Whether there is a head to be trained. Else the frozen backbone is what it is at any rate, and is there once.
    """
    rate = space.decisions[-1]
    rates = [rate.at(i / (LEARNING_RATES - 1)) for i in range(LEARNING_RATES)]
    lora = _lora(space.shape, space.limit)
    found = [(TrialKind.HEAD_ONLY, Configuration.of([], r)) for r in (rates if new_head else rates[:1])]
    if lora is not None:
        found += [(TrialKind.LORA_QV, Configuration.of([lora], r)) for r in rates]
    return list(dict.fromkeys(found))  # a space with one fixed rate has each of them once


def _lora(shape: BackboneShape, limit: int) -> Module | None:
    sites = ("q", "v") if {"q", "v"} <= set(shape.sites) else ("qkv",) if "qkv" in shape.sites else None
    if sites is None:
        return None
    layers = tuple(range(len(shape.layers)))
    fitting = [Module("lora", rank, layers, (("alpha", 2.0 * rank), ("sites", sites))) for rank in _RANKS]
    return next(
        (m for m in fitting if trainable_parameters(Configuration.of([m], 1e-3), shape) <= limit), fitting[-1]
    )
