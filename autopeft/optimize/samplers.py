"""The suggesters by name."""

import functools
from collections.abc import Callable, Sequence

from autopeft.dsl import Assignment, BoundSpace
from autopeft.errors import unknown_name
from autopeft.nouns import Configuration, Trial
from autopeft.optimize.observation import Observation, observations
from autopeft.optimize.probed import probed
from autopeft.optimize.suggest import Suggester, propose, propose_random, suggest_botorch
from autopeft.optimize.surrogate import Belief

SAMPLERS = ("botorch", "random", "optuna:tpe", "optuna:nsgaii", "optuna:gp")

Proposer = Callable[[BoundSpace, Sequence[Observation], int], Assignment]
"""(space, observations, seed) to a point that is not known."""


def find_proposer(name: str, beliefs: Sequence[Belief] = ()) -> Proposer:
    """The way to the next point with this name.

    Args:
        name: One of `SAMPLERS`.
        beliefs: What is thought of points beforehand; for `botorch` only, no other learns from it.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    if name == "random":
        return propose_random
    if name == "botorch":
        return functools.partial(propose, beliefs=beliefs)
    # Optuna takes a second to import. And here rather than at the first suggestion, in the background: imports of two
    # threads at once can see each other's half-loaded modules.
    from autopeft.optimize.optuna import propose_optuna

    return functools.partial(propose_optuna, name.partition(":")[2])


def find_suggester(name: str, beliefs: Sequence[Belief] = ()) -> Suggester:
    """The suggester with this name, for one study; see `find_proposer`."""
    if name == "botorch":
        of_probe: list[Belief] = []  # once it is complete: it remembers what it was asked

        def suggest_with_beliefs(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
            if not of_probe:
                of_probe.extend(probed(space, trials))
            return suggest_botorch(space, trials, seed, beliefs=[*beliefs, *of_probe])

        return suggest_with_beliefs
    proposer = find_proposer(name, beliefs)

    def suggest(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
        return space.configuration(proposer(space, observations(space, trials), seed))

    return suggest
