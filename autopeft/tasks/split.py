"""Holding out a validation split."""

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import DataError
from autopeft.tasks.task import Problem

SMALLEST = 2  # rows that each split must have


def hold_out(
    targets: NDArray[np.int64] | NDArray[np.float64], problem: Problem, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows at random into training and validation: disjoint, together all, the same for the same arguments.

    Stratified for a classification where every class has two members and both parts have room for every class.

    Args:
        targets: ``(n,)``.
        problem: Whether the targets are classes.
        fraction: Share of the rows that become validation, in (0, 1).
        seed: Of the draw.

    Returns:
        Row indices of training and of validation, each ascending.

    Raises:
        DataError: Fewer than four rows.
    """
    from sklearn.model_selection import train_test_split

    n = len(targets)
    if n < 2 * SMALLEST:
        raise DataError(
            f"{n} rows are too few to hold out a validation split: at least {2 * SMALLEST} are needed."
        )
    held_out = min(max(round(n * fraction), SMALLEST), n - SMALLEST)
    stratify = None
    if problem == "classification":
        counts = np.unique(targets, return_counts=True)[1]
        if counts.min() >= 2 and min(held_out, n - held_out) >= len(counts):
            stratify = targets
    train, validation = train_test_split(
        np.arange(n), test_size=held_out, random_state=seed, stratify=stratify
    )
    return np.sort(train), np.sort(validation)
