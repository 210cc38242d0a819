"""The allocators that decide while a trial is trained, by name."""

from collections.abc import Callable, Mapping
from typing import Any

from autopeft.dsl.allocators import fields_of
from autopeft.train.steering.entries import find_growing, find_swapping
from autopeft.train.steering.growing import find_increlora, find_triadaptlora
from autopeft.train.steering.layers import find_layers
from autopeft.train.steering.steering import Steered, Steering
from autopeft.train.steering.truncating import find_parts

_KINDS: Mapping[str, Callable[[Steered, Mapping[str, Any]], Steering | None]] = {
    "ist": find_layers,
    "rst": find_layers,
    "increlora": find_increlora,
    "triadaptlora": find_triadaptlora,
    "dylora": find_parts,
    "id3": find_growing,
    "spiel": find_swapping,
}


def find_steering(steered: Steered) -> Steering | None:
    """The allocator of a trial's configuration; None where it has none, or one that decides before training alone."""
    kind, options = fields_of(steered.configuration)
    return _KINDS[kind](steered, options) if kind in _KINDS else None
