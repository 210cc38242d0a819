"""The task's metric on the examples that the search never sees, measured by confirming trials only."""

from autopeft.registry import Objective

OBJECTIVE = Objective(
    name="confirmation_score", direction="maximize", title="Confirmed score", searchable=False
)
