"""How a search came along: its hypervolume from trial to trial, what became of its trials, and what was lost."""

import bisect
from dataclasses import dataclass

import pandas as pd

from autopeft import pareto
from autopeft.confirmation import FOUND
from autopeft.nouns import Study, TrialKind, TrialStatus
from autopeft.tasks.direction import MINIMISED


@dataclass(frozen=True)
class Common:
    """What hypervolumes are counted from, so that they can be compared.

    Attributes:
        reference_score: A larger score is a better one, here too.
        smallest: Trainable parameters where the scale of cost begins.
        limit: And where it ends.
    """

    reference_score: float
    smallest: int
    limit: int


def common_of(*studies: Study) -> Common | None:
    """What several studies' hypervolumes can be counted from together: the lowest reference, over the widest range of cost.

    None while one of them has no reference yet.
    """
    scores = [study.reference_score for study in studies if study.reference_score is not None]
    if len(scores) < len(studies) or not studies:
        return None
    smallest = [int(study.settings["backbone"].get("smallest", 1)) for study in studies]
    return Common(min(scores), min(smallest), max(study.limit for study in studies))


def hypervolume_curve(frame: pd.DataFrame, study: Study, common: Common) -> pd.DataFrame:
    """The hypervolume by score and trainable parameters after each complete trial of the search that raised it.

    Columns: `trials` (complete trials of the search so far), `seconds` (since the study's first trial started), `hypervolume`;
    the last row is the last complete trial. O(n log n) and the front's size for each rise.

    Args:
        frame: As `autopeft.report.points.points` has it.
        study: Its study.
        common: From what it is counted.
    """
    found = frame[frame["kind"].isin(FOUND) & (frame["status"] == TrialStatus.COMPLETE)]
    found = found.sort_values(["finished_at", "number"], kind="stable")
    sign = -1.0 if study.settings["task"]["metric"] in MINIMISED else 1.0
    begin = frame["started_at"].min()
    seconds = (found["finished_at"] - begin).dt.total_seconds()
    costs: list[int] = []  # of the front so far, ascending, with their scores
    scores: list[float] = []
    rows: list[tuple[int, float, float]] = []
    volume = 0.0
    for count, (score, cost, at) in enumerate(
        zip(sign * found["score"], found["trainable"], seconds, strict=True), start=1
    ):
        if _enter(costs, scores, int(cost), float(score)):
            volume = pareto.hypervolume(
                list(zip(scores, costs, strict=True)),
                reference_score=common.reference_score,
                smallest=common.smallest,
                limit=common.limit,
            )
            rows.append((count, float(at), volume))
    if len(found) and (not rows or rows[-1][0] < len(found)):
        rows.append((len(found), float(seconds.iloc[-1]), volume))
    return pd.DataFrame(rows, columns=["trials", "seconds", "hypervolume"])


def _enter(costs: list[int], scores: list[float], cost: int, score: float) -> bool:
    """Put a point into a front, unless that dominates it; what it dominates goes."""
    at = bisect.bisect_right(costs, cost)
    if at and scores[at - 1] >= score:
        return False
    first = at - 1 if at and costs[at - 1] == cost else at
    last = at
    while last < len(costs) and scores[last] <= score:
        last += 1
    costs[first:last] = [cost]
    scores[first:last] = [score]
    return True


@dataclass(frozen=True)
class Fate:
    """What became of the trials of a study.

    Attributes:
        counts: By status, the trials of the search.
        seconds: By status, what they took in all, from start to end.
        workers: Trials that run now.
        per_hour: Complete and stopped trials of any kind in an hour, over the time since the first one started; None before
            the first has ended.
    """

    counts: dict[str, int]
    seconds: dict[str, float]
    workers: int
    per_hour: float | None


def fate(frame: pd.DataFrame) -> Fate:
    """What became of a study's trials."""
    searched = frame[frame["kind"] == TrialKind.SEARCH]
    took = (frame["finished_at"] - frame["started_at"]).dt.total_seconds()
    ended = frame[frame["finished_at"].notna()]
    hours = (
        (ended["finished_at"].max() - frame["started_at"].min()).total_seconds() / 3600 if len(ended) else 0.0
    )
    return Fate(
        counts={status.value: int((searched["status"] == status).sum()) for status in TrialStatus},
        seconds={
            status.value: float(took[frame["status"] == status].sum())
            for status in TrialStatus
            if status.final
        },
        workers=int((frame["status"] == TrialStatus.RUNNING).sum()),
        per_hour=len(ended) / hours if hours > 0 else None,
    )
