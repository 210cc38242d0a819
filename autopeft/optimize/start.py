"""Points before there is a surrogate: random ones, and a start that is spread over what matters most."""

import itertools
import random
from collections.abc import Collection, Sequence

from autopeft.dsl import Assignment, BoundSpace, SearchSpace
from autopeft.errors import UsedUpError
from autopeft.optimize.observation import Observation

_MISSES = 1_000  # known samples in a row after which a space counts as used up
# Steps of the start through cost and learning rate. Multiples of the golden ratio and of the root of three keep
# apart on either axis; together no two of the first fifteen points are closer than 0.15.
_STEPS = ((5**0.5 - 1) / 2, 3**0.5 - 1)


def generator(seed: int, count: int) -> random.Random:
    """The generator for the next suggestion: a function of the seed and of how many observations there are."""
    return random.Random(f"{seed}/{count}")


def start_size(space: SearchSpace) -> int:
    """Points of the space-filling start: three, and one for every second decision."""
    return 3 + len(space.decisions) // 2


def fresh(space: SearchSpace, known: Collection[Assignment], rng: random.Random, n: int) -> list[Assignment]:
    """Up to n canonical samples that are not known and differ from each other; at least one.

    Raises:
        UsedUpError: So many samples in a row were all known, and all neighbours of what is known, that the space is used up.
    """
    found: dict[Assignment, None] = {}
    misses = 0
    while len(found) < n and misses < _MISSES:
        assignment = space.canonical(space.sample(rng, 1)[0])
        if assignment in known or assignment in found:
            misses += 1
        else:
            found[assignment] = None
            misses = 0
    if not found:  # the last points of a space are seldom drawn, and those with a prior of 0 never
        near = (space.canonical(n) for one in sorted(known, key=repr) for n in space.neighbours(one))
        found = dict.fromkeys(itertools.islice((point for point in near if point not in known), n))
    if not found:
        raise UsedUpError("every configuration of the space has been tried.")
    return list(found)


def start(
    space: BoundSpace,
    seen: Sequence[Observation],
    seed: int,
    rates: tuple[float, float] = (0.0, 1.0),
) -> Assignment:
    """The next point of a start that is spread over cost and learning rate, the two that matter most.

    With k observations there, both come from point k of a Kronecker sequence whose origin the seed draws: the first
    n points are evenly spread whatever n is, and no state is needed. All other decisions are a random sample at that
    cost. A point that is already known gives way to a random one.

    Args:
        space: The space.
        seen: The observations there are.
        seed: The study's.
        rates: The part of the learning rate's range to spread over, as places in [0, 1].

    References:
        Kuipers and Niederreiter (1974), "Uniform distribution of sequences", chapter 2, section 3: multiples of
        numbers with bounded partial quotients have low discrepancy.
    """
    place, rate = spread(space, seen, seed, rates)
    rng = generator(seed, len(seen))
    known = {one.assignment for one in seen}
    assignment = space.canonical((*space.sample_at(rng, place)[:-1], rate))
    return assignment if assignment not in known else fresh(space, known, rng, 1)[0]


def spread(
    space: BoundSpace, seen: Sequence[Observation], seed: int, rates: tuple[float, float]
) -> tuple[float, float]:
    """Where the next point of the start lies: the place of its cost in [0, 1], and its learning rate."""
    origin = random.Random(f"{seed}/start")
    place, rate_place = ((origin.random() + len(seen) * step) % 1.0 for step in _STEPS)
    low, high = rates
    return place, space.decisions[-1].at(low + rate_place * (high - low))
