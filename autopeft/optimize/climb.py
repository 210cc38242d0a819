"""The best point of an acquisition function, by local search over a space's neighbours."""

import random
from collections.abc import Collection, Iterable, Sequence

from autopeft.dsl import Assignment, SearchSpace
from autopeft.optimize.ehvi import Acquisition
from autopeft.optimize.start import fresh

_POOL = 48  # random points scored before the local search; each costs milliseconds to draw
_STARTS = 5
_STEPS = 30
_NEAR = 96  # neighbours looked at in a step, of each start: a random part where there are more
_CHUNK = 256


def climb(
    space: SearchSpace,
    acquisition: Acquisition,
    known: Collection[Assignment],
    origins: Iterable[Assignment],
    rng: random.Random,
) -> Assignment:
    """The point with the greatest value found: random points and neighbours of good ones first, then uphill from the best.

    Whatever is returned is the very point that was scored, is inside the budget, and is not known.

    Args:
        space: The space.
        acquisition: What is maximised.
        known: Points that are not proposed again.
        origins: Points that are among the first, with their neighbours: the front's members.
        rng: The source of chance.

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
        score([origin, *_near(space, origin, rng)])
    current = _best(values, _STARTS)
    for _ in range(_STEPS):
        around = {point: _near(space, point, rng) for point in current}
        score(near for nears in around.values() for near in nears)
        climbed = [
            max([point, *(n for n in nears if n in values)], key=values.__getitem__)
            for point, nears in around.items()
        ]
        if climbed == current:
            break
        current = list(dict.fromkeys(climbed))
    return _best(values, 1)[0]


def _best(values: dict[Assignment, float], n: int) -> list[Assignment]:
    return sorted(values, key=values.__getitem__, reverse=True)[:n]


def _near(space: SearchSpace, point: Assignment, rng: random.Random) -> Sequence[Assignment]:
    near = space.neighbours(point)
    return [space.canonical(n) for n in (rng.sample(near, _NEAR) if len(near) > _NEAR else near)]
