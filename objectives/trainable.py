"""Trainable parameters, the new task head not counted; exact before training, by arithmetic over the backbone's shape."""

from autopeft.dsl.cost import trainable_parameters
from autopeft.registry import Objective

OBJECTIVE = Objective(
    name="trainable",
    direction="minimize",
    unit="parameters",
    title="Trainable",
    log=True,
    compute=trainable_parameters,
)
