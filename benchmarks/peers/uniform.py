"""Random search: every configuration inside the budget is equally likely, and none comes twice."""

import random
from collections.abc import Mapping

from autopeft.dsl import BoundSpace
from autopeft.nouns import Configuration
from peers.lattice import Lattice


class Uniform:
    """Draws without replacement."""

    def __init__(self, space: BoundSpace, seed: int) -> None:
        self._lattice = Lattice(space)
        self._rng = random.Random(seed)
        self._asked: set[str] = set()

    def ask(self, n: int) -> list[Configuration]:
        """See `Peer`."""
        found: list[Configuration] = []
        while len(found) < n:
            assignment = self._lattice.assignment(self._lattice.draw(self._rng))
            configuration = self._lattice.space.configuration(assignment)
            if configuration.key not in self._asked:
                self._asked.add(configuration.key)
                found.append(configuration)
        return found

    def tell(self, configuration: Configuration, values: Mapping[str, float]) -> None:
        """See `Peer`; nothing is learnt."""


def make(space: BoundSpace, seed: int, evaluations: int) -> Uniform:
    return Uniform(space, seed)
