"""What an allocator has decided for a trial."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from autopeft.allocate.units import Unit
from autopeft.dsl.cost import trainable_parameters
from autopeft.nouns import BackboneShape, Configuration

Scores = Callable[[str], torch.Tensor]


@dataclass(frozen=True)
class Allocated:
    """What an allocator has decided.

    Attributes:
        plan: The modules that are trained, in place of the configuration's.
        seconds: That it took.
        ledger: What it thought of each place: how much it is worth. Empty where it did not look at places.
        scores: Of masks: path of a linear map to the scores of its weight's entries.
        shared: Groups of places; the LoRA of each group is one pair of matrices while it is trained.
    """

    plan: Configuration
    seconds: float = 0.0
    ledger: Mapping[Unit, float] = field(default_factory=dict)
    scores: Scores | None = None
    shared: tuple[tuple[Unit, ...], ...] = ()

    def to_json(self, shape: BackboneShape) -> dict[str, Any]:
        """For the trial's record."""
        return {
            "plan": self.plan.to_json(),
            "trainable": trainable_parameters(self.plan, shape),
            "seconds": round(self.seconds, 3),
            "ledger": [[unit.layer, unit.site, float(f"{v:.4g}")] for unit, v in self.ledger.items()],
        }
