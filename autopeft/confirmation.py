"""What the search found, trained anew: which trials that takes, what they say, and the front by what they say.

The best of many noisy scores is too good: it was taken because it came out high (the winner's curse). So the members of
the search's front, and the best of each baseline beside them, are trained again with seeds of their own and scored on
examples that the search never saw. Pure functions over the trials of a study.

References:
    Cawley and Talbot (2010), "On over-fitting in model selection and subsequent selection bias in performance
    evaluation", JMLR 11, sections 4 and 5: why the score that a choice was made by is no estimate of what was chosen.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autopeft import trade_off
from autopeft.nouns import Trial, TrialKind, TrialStatus
from autopeft.registry import Objective
from autopeft.trade_off import Values

BASELINES = (TrialKind.HEAD_ONLY, TrialKind.LORA_QV)
"""What a search is held against, from the cheapest."""

FOUND = (TrialKind.SEARCH, TrialKind.TRUNCATED)
"""What may be on the front: points of the search, and what their trainings hand out besides."""


@dataclass(frozen=True)
class Mean:
    """What an objective came to over the seeds.

    Attributes:
        mean: In the objective's unit.
        standard_error: Of the mean; None of a single seed.
    """

    mean: float
    standard_error: float | None


@dataclass(frozen=True)
class Confirmed:
    """What the confirming trials of one configuration say.

    Attributes:
        mean: Mean of the confirmed score over the seeds.
        standard_error: Of the mean over the seeds; None of a single one.
        seeds: How many seeds are complete.
        failed: How many have failed.
        held_back: Whether the scores are on examples that the search never saw; else on validation, with new seeds only.
        examples: How many examples were held back; None where none were.
        validation_mean: Mean score of the same trials on the examples that the search chose by.
        test_mean: Mean test score of the same trials; None without a test split.
        test_standard_error: Of that mean over the seeds; None of a single one.
        gap: The search's own score less `mean`: positive where the search promised too much.
        objectives: The study's further objectives, by name, as the same trials measured them anew.
    """

    mean: float
    standard_error: float | None
    seeds: int
    failed: int
    held_back: bool
    examples: int | None
    validation_mean: float
    test_mean: float | None
    test_standard_error: float | None
    gap: float
    objectives: Mapping[str, Mean] = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """The front as it is shown, and what is chosen from it.

    Attributes:
        members: By ascending trainable parameters.
        knee: See `autopeft.trade_off.knee`; None of an empty front.
        best: The member with the best score; None of an empty front.
        by_confirmed: Whether confirmed means decide, rather than the search's own scores.
        fallen: Members of the search's own front that are not among these, by ascending cost.
    """

    members: tuple[Trial, ...]
    knee: Trial | None
    best: Trial | None
    by_confirmed: bool
    fallen: tuple[Trial, ...] = ()


def search_front(trials: Sequence[Trial], objectives: Sequence[Objective] = ()) -> list[Trial]:
    """The non-dominated complete trials of the search by its own values, by ascending trainable parameters.

    Args:
        trials: All of the study.
        objectives: The study's; score and trainable where none are given.
    """
    found = [(t, v) for t in trials if t.kind in FOUND and (v := trade_off.values_of(t, objectives))]
    return [found[i][0] for i in trade_off.front([values for _, values in found], objectives)]


def best_baseline(trials: Sequence[Trial], kind: TrialKind) -> Trial | None:
    """The complete trial of a baseline with the best validation score; None before the first."""
    scored = [t for t in trials if t.kind is kind and t.score is not None]
    return max(scored, key=lambda t: t.score or 0.0, default=None)


def missing(
    trials: Sequence[Trial],
    seeds: int,
    *,
    searched: bool = True,
    expected: Sequence[Trial] = (),
    objectives: Sequence[Objective] = (),
) -> list[tuple[Trial, int]]:
    """The confirming trials that are not there yet, in the order in which they are to be trained.

    Each candidate's first seed comes before anyone's second, so that whenever it ends the candidates can be compared.

    Args:
        trials: All of the study.
        seeds: Seeds that each candidate shall be trained with; they follow on the seed of its own trial.
        searched: Whether the search is through. Until then its front may change, and only baselines are settled.
        expected: Further candidates: those that are thought to be on the front, whatever the scores say; see
            `autopeft.optimize.judged`.
        objectives: The study's; score and trainable where none are given.

    Returns:
        (the candidate, the seed).
    """
    front = search_front(trials, objectives)
    if not front:
        return []
    settled = [kind for kind in BASELINES if not any(t.kind is kind and not t.status.final for t in trials)]
    held_against = [found for kind in settled if (found := best_baseline(trials, kind)) is not None]
    there = {(t.configuration.key, t.seed) for t in trials if t.kind is TrialKind.CONFIRM}
    candidates = {t.configuration.key: t for t in [*(front if searched else []), *expected, *held_against]}
    pairs = [(t, t.seed + step) for step in range(1, seeds + 1) for t in candidates.values()]
    return [(t, seed) for t, seed in pairs if (t.configuration.key, seed) not in there]


def confirmed_score(trial: Trial) -> float | None:
    """The score of a confirming trial: on what was held back, where something was; None unless complete."""
    return None if trial.score is None else trial.measurements.get("confirmation_score", trial.score)


def confirming(trials: Sequence[Trial], of: Trial) -> list[Trial]:
    """The trials that train this trial's configuration anew, by number."""
    if of.kind is TrialKind.CONFIRM:
        return []
    key = of.configuration.key
    return [t for t in trials if t.kind is TrialKind.CONFIRM and t.configuration.key == key]


def confirmed(trials: Sequence[Trial], of: Trial, objectives: Sequence[Objective] = ()) -> Confirmed | None:
    """What the confirming trials say of a trial's configuration; None if none of them is complete."""
    anew = confirming(trials, of)
    complete = [t for t in anew if t.score is not None]
    if not complete or of.score is None:
        return None
    scores = _confirmed_scores(complete)
    mean = _mean(scores)
    tests = [t.measurements["test_score"] for t in complete if "test_score" in t.measurements]
    return Confirmed(
        mean=mean,
        standard_error=_standard_error(scores),
        seeds=len(complete),
        failed=sum(t.status is TrialStatus.FAILED for t in anew),
        held_back=all("confirmation_score" in t.measurements for t in complete),
        examples=complete[0].details.get("confirmation_examples"),
        validation_mean=_mean([t.score or 0.0 for t in complete]),
        test_mean=_mean(tests) if tests else None,
        test_standard_error=_standard_error(tests),
        gap=of.score - mean,
        objectives={
            o.name: found for o in trade_off.further(objectives) if (found := _over(complete, o.name))
        },
    )


def choose(trials: Sequence[Trial], objectives: Sequence[Objective] = ()) -> Chosen:
    """The front, its knee and its best: by confirmed means once every member of the search's front has been tried anew.

    Then all that was ever confirmed takes part, also what a later trial has driven off the search's own front. A member
    all of whose confirming trials failed has no score to be chosen by, and is not among the members.

    Args:
        trials: All of the study.
        objectives: The study's; score and trainable where none are given.
    """
    front = search_front(trials, objectives)
    anew: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.kind is TrialKind.CONFIRM:
            anew[trial.configuration.key].append(trial)
    done = {key for key, several in anew.items() if any(t.status.final for t in several)}
    if front and all(t.configuration.key in done for t in front):
        searched = [(t, anew[t.configuration.key]) for t in trials if t.kind in FOUND]
        found = [(t, v) for t, of_it in searched if (v := _confirmed_values(of_it, t, objectives))]
        if found:
            members, knee, best = _front(found, objectives)
            ids = {t.id for t in members}
            return Chosen(members, knee, best, True, tuple(t for t in front if t.id not in ids))
    members, knee, best = _front(
        [(t, v) for t in front if (v := trade_off.values_of(t, objectives))], objectives
    )
    return Chosen(members, knee, best, False)


def binomial_error(share: float, examples: int) -> float:
    """The standard error of a share that was measured on so many independent examples.

    >>> round(binomial_error(0.8, 1000), 4)
    0.0126
    """
    return math.sqrt(max(share * (1 - share), 0.0) / examples)


def _confirmed_values(anew: Sequence[Trial], trial: Trial, objectives: Sequence[Objective]) -> Values | None:
    """What a trial's configuration came to in those that trained it anew; None if one of the objectives has not been."""
    complete = [t for t in anew if t.score is not None]
    means = {o.name: found.mean for o in trade_off.further(objectives) if (found := _over(complete, o.name))}
    if not complete or trial.score is None or len(means) < len(trade_off.further(objectives)):
        return None
    return {"score": _mean(_confirmed_scores(complete)), "trainable": float(trial.trainable), **means}


def _confirmed_scores(complete: Sequence[Trial]) -> list[float]:
    return [confirmed_score(t) or 0.0 for t in complete]


def _front(
    found: Sequence[tuple[Trial, Values]], objectives: Sequence[Objective]
) -> tuple[tuple[Trial, ...], Trial | None, Trial | None]:
    """The members of the front, its knee and its best."""
    values = [one for _, one in found]
    members = trade_off.front(values, objectives)
    knee = trade_off.knee(values, objectives)
    best = max(members, key=lambda i: values[i]["score"], default=None)
    return (
        tuple(found[i][0] for i in members),
        None if knee is None else found[knee][0],
        None if best is None else found[best][0],
    )


def _over(complete: Sequence[Trial], name: str) -> Mean | None:
    values = [t.measurements[name] for t in complete if name in t.measurements]
    return Mean(_mean(values), _standard_error(values)) if values else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _standard_error(values: Sequence[float]) -> float | None:
    n = len(values)
    if n < 2:
        return None
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
