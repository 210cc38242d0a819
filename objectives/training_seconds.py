"""Wall time of the passes over the training examples, all epochs together.

Neither scoring nor putting modules on is in it: the former takes every configuration the same time. Workers share the
machine's caches and memory, so times of one study compare, those of two machines do not.
"""

from typing import TYPE_CHECKING

from autopeft.registry import Objective

if TYPE_CHECKING:
    from autopeft.train.trained import Trained


def measure(trained: "Trained") -> float:
    """Seconds."""
    return trained.training_seconds


OBJECTIVE = Objective(
    name="training_seconds",
    direction="minimize",
    unit="s",
    title="Training time",
    short="time",
    log=True,
    measure=measure,
)
