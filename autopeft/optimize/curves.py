"""What a stopped training would have scored: its last rung, and how such rungs have ended before.

Notation, for one rung r of a training with so many epochs in full:
    x_i, y_i     scores at r and at the end of the n trainings that have both, x their mean at r
    g, b         how much is gained from r to the end, and how much more by those that are better at r by one
    s            standard deviation of all last scores: the unit of the prior

    y_i = x_i + g + b (x_i - x) + e_i,    g ~ N(0, s^2),  b ~ N(0, 1/4),  e_i ~ N(0, v)

A Bayesian linear regression on the gain. With no training to learn from it says that the score stays as it is, give or
take s; with many it is ordinary least squares. b below 0 is the return to the mean: what is ahead after one epoch is so in
part by luck. That trainings were stopped for their x does not mislead it, because it is a regression on x. v is the
posterior mean of a scaled inverse chi-squared, as if two trainings had been seen already whose errors were s.

References:
    Gelman, Carlin, Stern, Dunson, Vehtari and Rubin (2013), "Bayesian data analysis", third edition, sections 2.6 and 14.8.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autopeft.nouns import Trial, TrialStatus

_SLOPE_VARIANCE = 0.25
_SEEN_BEFORE = 2  # the weight of the prior on v, in trainings
_TINY = 1e-9  # below, a difference is rounding
_ROUNDS = 5  # v and (g, b) are found in turn; further rounds change no digit that matters


def foretold(trials: Sequence[Trial]) -> list[tuple[float, float] | None]:
    """For each trial of a study, the score at its end, known or expected, and its extra variance; see `complete`.

    None for trials that are under way or have failed: of those no end is known, or none is expected.
    """
    full = max((max(t.scores) for t in trials if t.score is not None), default=0)
    known: list[Mapping[int, float]] = []
    for trial in trials:
        if trial.score is not None:  # a trial may end early because it got no better: that is its end
            known.append({**trial.scores, full: trial.score})
        else:
            known.append(trial.scores if trial.status is TrialStatus.STOPPED else {})
    return complete(known, full) if full else [None] * len(trials)


def doubt(trials: Sequence[Trial], epoch: int) -> float:
    """How far trials with one score after an epoch end from each other, as a standard deviation; with none to learn from, s.

    Args:
        trials: Of a study.
        epoch: A rung that some of them have come to.
    """
    full = max((max(t.scores) for t in trials if t.score is not None), default=0)
    pairs = [
        (t.scores[epoch], t.score)
        for t in trials
        if t.score is not None and epoch in t.scores and epoch < full
    ]
    return math.sqrt(_learn(pairs, _deviation([t.scores[max(t.scores)] for t in trials if t.scores])).error)


def complete(curves: Sequence[Mapping[int, float]], full: int) -> list[tuple[float, float] | None]:
    """The expected score at the end of each training, and the variance of what was not measured.

    Args:
        curves: Score by epoch of each training, as far as it has come; scores are finite.
        full: The last epoch.

    Returns:
        For each curve: expected score after `full` epochs and its extra variance, which is 0 where the score is measured;
        None for a curve without scores.

    >>> complete([{1: 0.5, 3: 0.8}, {}], full=3)
    [(0.8, 0.0), None]
    """
    lasts = [curve[max(curve)] for curve in curves if curve]
    spread = _deviation(lasts)
    ends: dict[int, _Ends] = {}
    found: list[tuple[float, float] | None] = []
    for curve in curves:
        if not curve:
            found.append(None)
        elif full in curve:
            found.append((curve[full], 0.0))
        else:
            rung = max(curve)
            if rung not in ends:
                pairs = [(c[rung], c[full]) for c in curves if rung in c and full in c]
                ends[rung] = _learn(pairs, spread)
            found.append(ends[rung].of(curve[rung]))
    return found


@dataclass(frozen=True)
class _Ends:
    """How trainings end, by their score at a rung: the posterior of (g, b), independent of each other."""

    middle: float
    gain: float
    gain_variance: float
    slope: float
    slope_variance: float
    error: float

    def of(self, score: float) -> tuple[float, float]:
        away = score - self.middle
        mean = score + self.gain + self.slope * away
        return mean, self.error + self.gain_variance + self.slope_variance * away**2


def _learn(pairs: Sequence[tuple[float, float]], spread: float) -> _Ends:
    # The x are counted from their mean, so that the design is orthogonal: g and b are two regressions of one number each.
    n = len(pairs)
    middle = sum(x for x, _ in pairs) / n if n else 0.0
    inertia = sum((x - middle) ** 2 for x, _ in pairs)
    gains = sum(y - x for x, y in pairs)
    products = sum((x - middle) * (y - x) for x, y in pairs)
    prior = spread**2
    error, gain, slope = prior, 0.0, 0.0
    gain_variance, slope_variance = spread**2, _SLOPE_VARIANCE
    for _ in range(_ROUNDS if n else 0):
        gain_variance = 1 / (1 / spread**2 + n / error)
        slope_variance = 1 / (1 / _SLOPE_VARIANCE + inertia / error)
        gain = gain_variance * gains / error
        slope = slope_variance * products / error
        squares = sum((y - x - gain - slope * (x - middle)) ** 2 for x, y in pairs)
        error = (_SEEN_BEFORE * prior + squares) / (_SEEN_BEFORE + n)
    return _Ends(middle, gain, gain_variance, slope, slope_variance if n else 0.0, error)


def _deviation(scores: Sequence[float]) -> float:
    """Standard deviation of the scores; where they do not differ, their size, so that the prior is never sure."""
    size = max(map(abs, scores), default=0.0)
    if size < _TINY:
        return 1.0
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    return deviation if deviation > _TINY * size else size
