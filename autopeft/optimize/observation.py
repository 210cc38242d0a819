"""What a suggester knows of one point."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from autopeft.dsl import Assignment, BoundSpace
from autopeft.nouns import Trial, TrialKind
from autopeft.optimize.curves import foretold


@dataclass(frozen=True)
class Observation:
    """One training of one point.

    Attributes:
        assignment: The point, canonical.
        score: What was measured, larger is better; None while it is pending; NaN if it failed.
        variance: Of the score, beyond the noise that all scores share: a score that was foretold from the first
            epochs of a stopped training is less sure than one that was measured.
    """

    assignment: Assignment
    score: float | None
    variance: float = 0.0

    @property
    def measured(self) -> bool:
        """Whether there is a score to learn from."""
        return self.score is not None and math.isfinite(self.score)

    @property
    def pending(self) -> bool:
        """Whether the score is still to come."""
        return self.score is None


def searched(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that are points of the space: all but the baselines."""
    return [trial for trial in trials if trial.kind is TrialKind.SEARCH]


def observations(space: BoundSpace, trials: Iterable[Trial]) -> list[Observation]:
    """The search trials of a study as observations, in their order.

    A trial that was stopped at a rung counts with the score that it would have had at its end, as far as that can be
    foretold; see `autopeft.optimize.curves`.
    """
    there = searched(trials)
    found = []
    for trial, end in zip(there, foretold(there), strict=True):
        score, variance = end or (None if not trial.status.final else math.nan, 0.0)
        found.append(Observation(space.assignment(trial.configuration), score, variance))
    return found
