"""From scores and a budget to a decision: the rules that allocators share. Ties have an answer, everywhere the same."""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

Key = TypeVar("Key")


def top(scores: Mapping[Key, float], count: int) -> tuple[Key, ...]:
    """The keys of so many of the largest scores, in the mapping's order; of equal ones the first.

    >>> top({"a": 1.0, "b": 3.0, "c": 1.0}, 2)
    ('a', 'b')
    """
    ranked = sorted(scores, key=lambda key: -scores[key])[:count]
    return tuple(key for key in scores if key in ranked)


def knapsack(
    values: Sequence[Sequence[float]], costs: Sequence[Sequence[int]], limit: int
) -> tuple[int, ...]:
    """Exactly one option of each unit, of the largest value together that costs no more than the limit.

    A mixed-integer programme (Bercovich et al. 2025, 2411.19146, section 3), solved exactly: x is 1 for what is chosen,

        max v.x   subject to   sum of each unit's x = 1,   c.x <= limit

    Args:
        values: Of each option of each unit.
        costs: Likewise.
        limit: Of the sum of costs.

    Returns:
        The index of each unit's option.

    Raises:
        ValueError: Not even the cheapest options fit.

    >>> knapsack([[0.0, 5.0], [0.0, 4.0, 6.0]], [[0, 3], [0, 2, 4]], 5)
    (1, 1)
    """
    if sum(min(one) for one in costs) > limit:
        raise ValueError("not even the cheapest options fit in the limit")
    flat_values = np.array([value for one in values for value in one], dtype=float)
    flat_costs = np.array([cost for one in costs for cost in one], dtype=float)
    owner = np.repeat(np.arange(len(values)), [len(one) for one in values])
    each = csr_matrix((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    scale = float(np.abs(flat_values).max()) or 1.0
    found = milp(
        -flat_values / scale,
        integrality=np.ones(len(owner)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(each, 1, 1), LinearConstraint(flat_costs[None], -np.inf, limit)],
        options={"mip_rel_gap": 1e-9},
    )
    if found.x is None:
        raise ValueError(f"the solver found no answer: {found.message}")
    chosen = found.x.round().astype(bool)
    starts = np.cumsum([0, *(len(one) for one in values)])
    return tuple(int(chosen[a:b].argmax()) for a, b in itertools.pairwise(starts))


def draw(weights: Sequence[float], count: int, rng: random.Random) -> tuple[int, ...]:
    """So many indices without repetition, one after another, each with a chance as its weight; ascending.

    Once nothing of a weight above 0 is left, all others are alike.
    """
    left = dict(enumerate(weights))
    found = []
    for _ in range(min(count, len(left))):
        every = list(left.values())
        keys = list(left)
        (key,) = rng.choices(keys, every) if sum(every) > 0 else [rng.choice(keys)]
        found.append(key)
        del left[key]
    return tuple(sorted(found))
