"""Mean training loss over the last epoch."""

from autopeft.registry import Objective

OBJECTIVE = Objective(name="train_loss", direction="minimize", title="Train loss", searchable=False)
