"""A search without training: recorded curves instead of workers, and a clock of its own.

Suggester and stopping rule are those of a real search (`Suggester`, `autopeft.optimize.halving.goes_on`); what is
simulated is the machine. A suggestion takes no simulated time. Thousands of epochs take as long as their suggestions.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autopeft.dsl import BoundSpace
from autopeft.errors import UsedUpError
from autopeft.nouns import Configuration, Trial, TrialKind, TrialStatus
from autopeft.optimize import Suggester, halving


@dataclass(frozen=True)
class Recorded:
    """One training that was recorded.

    Attributes:
        scores: Validation score after each epoch, for all the epochs of a full training.
        seconds: From its start to the end of each epoch.
    """

    scores: Sequence[float]
    seconds: Sequence[float]


@dataclass(frozen=True)
class Ended:
    """A trial has come to its end.

    Attributes:
        trial: As it ended: complete or stopped.
        epochs: Epochs that all trials together have been trained for by then.
        seconds: On the simulated clock.
    """

    trial: Trial
    epochs: int
    seconds: float


def simulate(
    space: BoundSpace,
    suggester: Suggester,
    train: Callable[[Configuration], Recorded],
    *,
    rungs: Sequence[int],
    workers: int,
    epochs: int,
    seed: int,
) -> list[Ended]:
    """Search until so many epochs have been trained; what is under way then is finished.

    Args:
        space: The space.
        suggester: Proposes configurations.
        train: What training a configuration gives.
        rungs: Epochs after which a weak trial is stopped, as `halving.rungs` says them; none to train all to the end.
        workers: Trials at the same time.
        epochs: After so many no trial is started.
        seed: Of the suggester.

    Returns:
        The trials in the order in which they ended.
    """
    trials: list[Trial] = []
    recorded: dict[int, tuple[Recorded, float]] = {}  # by number, with the second at which it began
    due: list[tuple[float, int]] = []  # when a trial reports its next epoch, and its number: a heap
    ended: list[Ended] = []
    spent, clock, used_up = 0, 0.0, False

    while True:
        while len(due) < workers and spent < epochs and not used_up:
            try:
                configuration = suggester(space, list(trials), seed)
            except UsedUpError:
                used_up = True
                break
            trial = _running(space, configuration, len(trials), seed)
            recorded[trial.number] = train(configuration), clock
            trials.append(trial)
            heapq.heappush(due, (clock + recorded[trial.number][0].seconds[0], trial.number))
        if not due:
            return ended
        clock, number = heapq.heappop(due)
        curve, began = recorded[number]
        epoch = len(trials[number].scores) + 1
        spent += 1
        trial = replace(trials[number], scores={**trials[number].scores, epoch: curve.scores[epoch - 1]})
        if epoch == len(curve.scores):
            trial = replace(trial, status=TrialStatus.COMPLETE)
        elif not halving.goes_on(trial, epoch, trials, rungs):
            trial = replace(trial, status=TrialStatus.STOPPED)
        else:
            heapq.heappush(due, (began + curve.seconds[epoch], number))
        trials[number] = trial
        if trial.status.final:
            ended.append(Ended(trial, spent, clock))


def _running(space: BoundSpace, configuration: Configuration, number: int, seed: int) -> Trial:
    return Trial(
        id=number,
        number=number,
        kind=TrialKind.SEARCH,
        configuration=configuration,
        trainable=space.cost(space.assignment(configuration)),
        seed=seed,
        status=TrialStatus.RUNNING,
        attempt=1,
    )
