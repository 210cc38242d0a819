"""The task's metric on the validation examples that the search chooses by, after the last epoch."""

from autopeft.registry import Objective

OBJECTIVE = Objective(name="score", direction="maximize", title="Score")
