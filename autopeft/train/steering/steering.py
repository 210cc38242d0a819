"""What an allocator that decides while a trial is trained is given, and what it answers."""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from autopeft.adapters import Attached
from autopeft.backbones import Layout
from autopeft.nouns import Configuration


@dataclass(frozen=True)
class Steered:
    """A trial, as an allocator sees it.

    Attributes:
        configuration: As the space has it: what may be trained.
        attached: The modules that are on: those of the configuration, or of the allocator's wider plan.
        optimizer: Of what the trial trains; an allocator may add parameters of its own.
        layout: Of the backbone.
        steps: Of the whole training.
        seed: Of all draws.
        loss: Of some training examples that a generator draws, without gradients.
        max_grad_norm: Gradients are clipped to this norm.
    """

    configuration: Configuration
    attached: Attached
    optimizer: torch.optim.Optimizer
    layout: Layout
    steps: int
    seed: int
    loss: Callable[[random.Random], float]
    max_grad_norm: float = math.inf


@dataclass(frozen=True)
class Settled:
    """What is left at the end of training.

    Attributes:
        plan: The modules, with the allocator, because training them without it is another training.
        put_on: Makes the modules that are on the model these, with what they have learnt; others are not touched.
    """

    plan: Configuration
    put_on: Callable[[], None] = lambda: None


class Steering(Protocol):
    """An allocator at work on one trial."""

    def before(self, step: int) -> None:
        """Before the gradients of a step, counted from 0, are computed."""

    def gradients(self, step: int) -> None:
        """The step's gradients are there: what is not to move loses its own, or its part of it."""

    def parts(self) -> Iterable[Settled]:
        """After the last step, before `finish`: what the training can hand out besides, as configurations of their own."""

    def finish(self) -> Settled | None:
        """After the last step; None where the modules that are on stay as they are."""

    def to_json(self) -> dict[str, Any]:
        """What it has found, for the trial's record."""
