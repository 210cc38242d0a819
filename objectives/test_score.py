"""The task's metric on the test split. Measured once, never searched by."""

from autopeft.registry import Objective

OBJECTIVE = Objective(name="test_score", direction="maximize", title="Test score", searchable=False)
