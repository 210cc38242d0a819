"""A trained trial as objectives measure it, and their measuring."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from autopeft.adapters import Attached
from autopeft.errors import TrialError
from autopeft.nouns import Configuration
from autopeft.registry import Objective
from autopeft.tasks.batches import evaluation_order
from autopeft.train.loop import Training

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench


@dataclass(frozen=True)
class Trained:
    """A configuration after its last epoch, its modules still on the backbone. Nothing of it may be changed.

    Attributes:
        bench: Backbone and data, shared by all trials of the worker.
        attached: The modules; `attached.runner` takes a batch.
        configuration: What was trained.
        training: How.
        training_seconds: Wall time of the passes over the training examples.
        prepared: What the objective's `prepare` answered; None where it has none.
    """

    bench: "Workbench"
    attached: Attached
    configuration: Configuration
    training: Training
    training_seconds: float
    prepared: Any = None

    def example(self) -> dict[str, torch.Tensor]:
        """The validation example of median length, alone in a batch, without its label."""
        order = evaluation_order(self.bench.data["validation"])
        at = order[len(order) // 2 : len(order) // 2 + 1]
        (batch,) = self.bench.batches("validation", at, 1)
        return {name: tensor for name, tensor in batch.items() if name != "labels"}

    def loss(self) -> torch.Tensor:
        """The training loss on the longest training examples, as many as a batch has: a graph to go back through."""
        longest = evaluation_order(self.bench.data["train"])[: self.training.batch_size]
        (batch,) = self.bench.batches("train", longest, self.training.batch_size)
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        loss = self.bench.loss_of(self.bench.run(self.attached.runner, inputs).logits, batch["labels"])
        further = self.attached.penalty()
        return loss if further is None else loss + further


def measured(
    trained: Trained, objectives: Sequence[Objective], prepared: Mapping[str, Any]
) -> dict[str, float]:
    """What is known or measured of a trained trial, by the objectives' names; those that every trial reports are left out.

    Args:
        trained: The trial.
        objectives: What is asked for.
        prepared: What each objective has prepared, by name.

    Raises:
        TrialError: A value is not finite, or not above 0 where ratios count.
    """
    found = {}
    for objective in objectives:
        if objective.known:
            value = objective.value(trained.configuration, trained.bench.backbone.layout.shape)
        elif objective.measure is not None:
            value = float(objective.measure(replace(trained, prepared=prepared.get(objective.name))))
        else:
            continue
        if not math.isfinite(objective.coordinate(value)):
            above = " above 0" if objective.log and not objective.computed else ""
            raise TrialError(
                f"the objective '{objective.name}' is {value}, which is no finite number{above}."
            )
        found[objective.name] = value
    return found
