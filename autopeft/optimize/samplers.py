"""The suggesters by name."""

import functools
from collections.abc import Callable, Sequence

from autopeft.dsl import Assignment, BoundSpace
from autopeft.errors import unknown_name
from autopeft.nouns import Configuration, Trial
from autopeft.optimize.observation import Observation, observations, probed
from autopeft.optimize.suggest import Suggester, believe, propose, propose_random, suggest_botorch
from autopeft.optimize.surrogate import Surrogate

SAMPLERS = ("botorch", "random", "optuna:tpe", "optuna:nsgaii", "optuna:gp")

Proposer = Callable[[BoundSpace, Sequence[Observation], int], Assignment]
"""(space, observations, seed) to a point that is not known."""


class _Fitted:
    """Beliefs, fitted once: a suggester is asked again and again, for one space and with the same beliefs."""

    def __init__(self) -> None:
        self._told: list[Sequence[Observation]] = []
        self._fitted: list[Surrogate] = []

    def __call__(self, space: BoundSpace, told: Sequence[Sequence[Observation]]) -> list[Surrogate]:
        if list(told) != self._told:
            self._told, self._fitted = list(told), believe(space, told)
        return self._fitted


def find_proposer(name: str, beliefs: Sequence[Sequence[Observation]] = ()) -> Proposer:
    """The way to the next point with this name.

    Args:
        name: One of `SAMPLERS`.
        beliefs: Sets of observations from elsewhere; for `botorch` only, no other learns from them.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    if name == "random":
        return propose_random
    if name == "botorch":
        fitted = _Fitted()
        return lambda space, seen, seed: propose(space, seen, seed, beliefs=fitted(space, beliefs))
    # Optuna takes a second to import. And here rather than at the first suggestion, in the background: imports of two
    # threads at once can see each other's half-loaded modules.
    from autopeft.optimize.optuna import propose_optuna

    return functools.partial(propose_optuna, name.partition(":")[2])


def find_suggester(name: str, beliefs: Sequence[Sequence[Observation]] = ()) -> Suggester:
    """The suggester with this name; see `find_proposer`."""
    if name == "botorch":
        fitted = _Fitted()

        def suggest_with_beliefs(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
            told = [*beliefs, *probed(space, trials)]
            return suggest_botorch(space, trials, seed, beliefs=fitted(space, told))

        return suggest_with_beliefs
    proposer = find_proposer(name, beliefs)

    def suggest(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
        return space.configuration(proposer(space, observations(space, trials), seed))

    return suggest
