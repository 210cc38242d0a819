"""The task's metric on the validation split, after the last epoch."""

from autopeft.registry import Objective

OBJECTIVE = Objective(name="score", direction="maximize", unit="", computed=False, title="Score")
