"""The suggesters by name."""

import functools
from collections.abc import Sequence

from autopeft.dsl import BoundSpace
from autopeft.errors import unknown_name
from autopeft.nouns import Configuration, Trial
from autopeft.optimize.suggest import Suggester, suggest_random

SAMPLERS = ("botorch", "random", "optuna:tpe", "optuna:nsgaii", "optuna:gp")


def find_suggester(name: str) -> Suggester:
    """The suggester with this name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    if name == "random":
        return suggest_random
    if name == "botorch":
        return _suggest_botorch
    return functools.partial(_suggest_optuna, name.partition(":")[2])


# Imported at the first suggestion, in the driver's background thread: each library takes seconds, and a worker need
# not wait for it.
def _suggest_botorch(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
    from autopeft.optimize.ehvi import suggest_botorch

    return suggest_botorch(space, trials, seed)


def _suggest_optuna(sampler: str, space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
    from autopeft.optimize.optuna import suggest_optuna

    return suggest_optuna(sampler, space, trials, seed)
