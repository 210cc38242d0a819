"""Holding out a part of the rows: for validation, or for confirmation."""

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import DataError
from autopeft.nouns import Problem

SMALLEST = 2  # rows that each split must have


def hold_out(
    targets: NDArray[np.int64] | NDArray[np.float64],
    problem: Problem,
    fraction: float,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows at random in two: disjoint, together all, the same for the same arguments.

    Stratified for a classification where every class has two members and both parts have room for every class.

    Args:
        targets: ``(n,)``.
        problem: Whether the targets are classes.
        fraction: Share of the rows that are held out, in (0, 1).
        seed: Of the draw.
        groups: ``(n,)``: rows with one number stay together, and `fraction` is of the groups; a group has the target
            of its first row. None: every row for itself.

    Returns:
        Row indices of the part that is kept and of the part that is held out, each ascending.

    Raises:
        DataError: Fewer than four rows, or groups.
    """
    if groups is not None:
        names, first = np.unique(groups, return_index=True)
        kept, out = hold_out(targets[first], problem, fraction, seed)
        return np.flatnonzero(np.isin(groups, names[kept])), np.flatnonzero(np.isin(groups, names[out]))
    from sklearn.model_selection import train_test_split

    n = len(targets)
    held_out = _size(n, fraction)
    stratify = None
    if problem == "classification":
        counts = np.unique(targets, return_counts=True)[1]
        if counts.min() >= 2 and min(held_out, n - held_out) >= len(counts):
            stratify = targets
    kept, out = train_test_split(np.arange(n), test_size=held_out, random_state=seed, stratify=stratify)
    return np.sort(kept), np.sort(out)


def hold_out_end(n: int, fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split n rows in two, the last of them held out: what follows one another stays together. See `hold_out`."""
    held_out = _size(n, fraction)
    return np.arange(n - held_out), np.arange(n - held_out, n)


def _size(n: int, fraction: float) -> int:
    if n < 2 * SMALLEST:
        raise DataError(
            f"{n} rows are too few to hold out a part of them: at least {2 * SMALLEST} are needed."
        )
    return min(max(round(n * fraction), SMALLEST), n - SMALLEST)
