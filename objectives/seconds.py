"""Wall time of the trial on its worker: building, training and scoring."""

from autopeft.registry import Objective

OBJECTIVE = Objective(name="seconds", direction="minimize", unit="s", title="Seconds", searchable=False)
