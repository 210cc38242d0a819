"""Trainable parameters, the new task head not counted; exact before training."""

from autopeft.registry import Objective

OBJECTIVE = Objective(
    name="trainable", direction="minimize", unit="parameters", computed=True, title="Trainable"
)
