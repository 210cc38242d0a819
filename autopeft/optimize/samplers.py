"""The suggesters by name."""

import functools

from autopeft.errors import unknown_name
from autopeft.optimize.suggest import Suggester, suggest_random

SAMPLERS = ("botorch", "random", "optuna:tpe", "optuna:nsgaii", "optuna:gp")


def find_suggester(name: str) -> Suggester:
    """The suggester with this name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    # Only the one that is needed is imported: each takes seconds. And here rather than at the first suggestion, in the
    # background: imports of two threads at once can see each other's half-loaded modules.
    if name == "random":
        return suggest_random
    if name == "botorch":
        from autopeft.optimize.ehvi import suggest_botorch

        return suggest_botorch
    from autopeft.optimize.optuna import suggest_optuna

    return functools.partial(suggest_optuna, name.partition(":")[2])
