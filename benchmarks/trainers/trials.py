"""The trials that are trained, and what they share."""

import random
from dataclasses import dataclass, field
from typing import Any

from autopeft.backbones import Layout
from autopeft.nouns import Configuration, Module

RANKS = (1, 2, 4, 8)
SITES = ("q", "k", "v", "o", "up", "down")


@dataclass(frozen=True)
class Setting:
    """What all trials of a backbone share.

    Attributes:
        model: Folder of the backbone.
        overrides: Fields of its configuration that are changed.
        head: Paths of the modules of its head.
        modality: `text` or `image`.
        num_labels: Classes.
        folder: Holds `data/train.parquet` and `data/validation.parquet`.
        max_length: Most tokens of a text.
        epochs, batch_size: Of every trial.
    """

    model: str
    overrides: dict[str, Any]
    head: tuple[str, ...]
    modality: str
    num_labels: int
    folder: str
    max_length: int = 128
    epochs: int = 3
    batch_size: int = 32


@dataclass(frozen=True)
class Trial:
    """LoRA of one rank at some linear maps of some layers: what every trainer here can do.

    Attributes:
        layers, sites: Where.
        rank: Of all of them; alpha is twice that.
        learning_rate: Of modules and head.
    """

    layers: tuple[int, ...]
    sites: tuple[str, ...]
    rank: int
    learning_rate: float

    @property
    def configuration(self) -> Configuration:
        """As ours take it."""
        options = (("alpha", 2.0 * self.rank), ("sites", self.sites))
        return Configuration.of([Module("lora", self.rank, self.layers, options)], self.learning_rate)

    def paths(self, layout: Layout) -> list[str]:
        """The linear maps, as peft takes them."""
        return [layout.layers[layer].sites[site] for layer in self.layers for site in self.sites]


def sample(layers: int, trials: int) -> list[Trial]:
    """Random trials: each layer on or off, each site on or off, as a search draws them."""
    rng = random.Random(0)
    found: list[Trial] = []
    while len(found) < trials:
        on = tuple(layer for layer in range(layers) if rng.random() < 0.5)
        sites = tuple(site for site in SITES if rng.random() < 0.5)
        rank, rate = rng.choice(RANKS), 10 ** rng.uniform(-3, -1.5)
        if on and sites:
            found.append(Trial(on, sites, rank, round(rate, 5)))
    return found


@dataclass(frozen=True)
class Row:
    """What one way of training has done.

    Attributes:
        name: `peer`, `trainer`, `solo`, `prefix`, `packed` or `bound`.
        backbone: `starter` or `minilm`.
        seconds: Wall time of all trials, the first worker's start among it.
        steps: Optimiser steps of all trials.
        peak_bytes: Largest resident memory of a process that trained, or what the GPU's allocator held.
        scores: Of each trial on validation; empty for `bound`.
        busy_seconds: That a worker had a trial, where they are one after another; the rest is the engine's, and its start.
        between_seconds: From the end of a trial to the start of the next, the median, where they are one after another.
        device: Where.
    """

    name: str
    backbone: str
    seconds: float
    steps: int
    peak_bytes: int
    scores: tuple[float, ...] = field(default=())
    busy_seconds: float | None = None
    between_seconds: float | None = None
    device: str = "cpu"
