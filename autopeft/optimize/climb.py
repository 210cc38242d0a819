"""The best point of an acquisition function, by local search over a space's neighbours."""

import random
from collections.abc import Collection, Iterable

from autopeft.dsl import Assignment, SearchSpace
from autopeft.optimize.ehvi import Acquisition
from autopeft.optimize.start import fresh

_POOL = 8  # random points scored before the local search; each costs milliseconds to draw
_STEPS = 8
_NEAR = 24  # neighbours looked at in a step, of each start: a random part where there are more
_CHUNK = 256
_BEST = 8  # points that are made canonical at a time


def climb(
    space: SearchSpace,
    acquisition: Acquisition,
    known: Collection[Assignment],
    origins: Iterable[Assignment],
    rng: random.Random,
    starts: int = 3,
) -> Assignment:
    """The point with the greatest value found: random points and neighbours of good ones first, then uphill from the best.

    Whatever is returned is the very point that was scored, is inside the budget, and is not known.

    Args:
        space: The space.
        acquisition: What is maximised.
        known: Points that are not proposed again.
        origins: Points that are among the first, with their neighbours: the front's members.
        rng: The source of chance.
        starts: From how many points it goes uphill.

    Raises:
        UsedUpError: Everything is known.
    """
    values: dict[Assignment, float] = {}

    def score(points: Iterable[Assignment]) -> None:
        new = [p for p in dict.fromkeys(points) if p not in known and p not in values]
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            values.update(zip(chunk, acquisition(chunk).tolist(), strict=True))

    score(fresh(space, known, rng, _POOL))
    for origin in origins:
        score([origin, *space.near(origin, rng, _NEAR)])
    current = _best(values)[:starts]
    for _ in range(_STEPS):
        around = {point: space.near(point, rng, _NEAR) for point in current}
        score(near for nears in around.values() for near in nears)
        climbed = [
            max([point, *(n for n in nears if n in values)], key=values.__getitem__)
            for point, nears in around.items()
        ]
        if climbed == current:
            break
        current = list(dict.fromkeys(climbed))
    # Neighbours are seldom other than canonical, and finding out takes longer than scoring them.
    ranked = _best(values)
    for start in range(0, len(ranked), _BEST):
        canonical = {space.canonical(point): None for point in ranked[start : start + _BEST]}
        score(canonical)
        if there := [point for point in canonical if point not in known]:
            return max(there, key=values.__getitem__)
    return fresh(space, known, rng, 1)[0]


def _best(values: dict[Assignment, float]) -> list[Assignment]:
    return sorted(values, key=values.__getitem__, reverse=True)
