"""How fast ranks grow while a trial is trained, and whose: the laws of IncreLoRA and TriAdaptLoRA.

Both count ranks in their papers; here a rank costs what it costs, because those of a wide map take the room of several others.
"""

from collections.abc import Mapping
from typing import TypeVar

Key = TypeVar("Key")

BEGINS, ENDS = 0.1, 0.6
"""Shares of the training between which ranks grow: the first are trained alone for a while, the last for long enough."""

ROUNDS = 20
"""How many times ranks are dealt out in that time."""


def rounds(steps: int) -> tuple[int, ...]:
    """The steps, counted from 0, after whose gradients ranks grow: as many as there is room for.

    >>> rounds(100)[:3], rounds(100)[-1]
    ((12, 15, 17), 60)
    >>> rounds(3)
    (1,)
    """
    begins, ends = BEGINS * steps, ENDS * steps
    return tuple(
        dict.fromkeys(int(begins + (ends - begins) * i / ROUNDS) for i in range(1, ROUNDS + 1) if steps > 1)
    )


def evenly(progress: float, first: int, limit: int) -> int:
    """Parameters that may be there by now: as many more each round (Zhang et al. 2023, 2308.12043, section 3.2, has so many
    modules grow each round).

    Args:
        progress: Of the rounds, in (0, 1].
        first: Parameters at the beginning.
        limit: At the end.
    """
    return first + int((limit - first) * progress)


def faster(progress: float, there: int, limit: int) -> int:
    """Parameters that may be there by now: of what is missing, the share of the time that is over (Liang et al. 2025,
    2501.08008, linear growth), so slowly at first.

    Args:
        progress: Of the rounds, in (0, 1].
        there: Parameters there are.
        limit: At the end.
    """
    return there + int((limit - there) * progress)


def grown(worth: Mapping[Key, float], prices: Mapping[Key, int], room: int) -> tuple[Key, ...]:
    """Whose rank grows by one: the worthiest first, while there is room; of equal ones the first in the mapping's order.

    Args:
        worth: Of each that can grow.
        prices: Of one rank there.
        room: Parameters.

    >>> grown({"a": 1.0, "b": 3.0, "c": 2.0}, {"a": 2, "b": 4, "c": 4}, 7)
    ('b', 'a')
    """
    found = []
    for key in sorted(worth, key=lambda key: -worth[key]):
        if prices[key] <= room:
            room -= prices[key]
            found.append(key)
    return tuple(found)
