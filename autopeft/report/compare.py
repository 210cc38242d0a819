"""Studies held against each other: hypervolumes from a common reference, and whether a difference is more than the seeds'."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import mannwhitneyu

from autopeft.nouns import Study
from autopeft.settings import as_asked

FEWEST_SEEDS = 3
"""Studies of a group below which nothing can be said of a difference: of two and two, no test can reach 5 %."""


@dataclass(frozen=True)
class Group:
    """Studies that differ in nothing but their seeds.

    Attributes:
        names: The studies.
        mean: Mean of their hypervolumes.
        deviation: Their standard deviation; None of a single one.
    """

    names: tuple[str, ...]
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Difference:
    """Two groups against each other.

    Attributes:
        first: The first group's position in what `groups` answers.
        second: The second one's.
        p: Probability of so large a difference if there were none (Mann and Whitney 1947, two-sided); None of fewer than
            `FEWEST_SEEDS` studies in one of them.
    """

    first: int
    second: int
    p: float | None


def objections(studies: Sequence[Study]) -> list[str]:
    """Why hypervolumes of these studies cannot be compared, in sentences; nothing if they can."""
    found = []
    metrics = sorted({study.settings["task"]["metric"] for study in studies})
    if len(metrics) > 1:
        found.append(f"They are of different metrics: {', '.join(metrics)}.")
    data = sorted({str(study.settings["task"].get("data")) for study in studies})
    if len(data) > 1:
        found.append(f"They are of different data: {', '.join(data)}.")
    models = sorted({str(study.settings["model"]) for study in studies})
    if len(models) > 1:
        found.append(f"They are of different backbones: {', '.join(models)}.")
    return found


def groups(studies: Sequence[Study], hypervolumes: Mapping[str, float]) -> list[Group]:
    """The studies by their settings without the seed, the best group first."""
    alike: dict[str, list[str]] = {}
    for study in studies:
        settings = {name: value for name, value in as_asked(study.settings).items() if name != "seed"}
        task = {name: value for name, value in settings.get("task", {}).items() if name != "split_seed"}
        alike.setdefault(json.dumps({**settings, "task": task}, sort_keys=True), []).append(study.name)
    found = []
    for names in alike.values():
        volumes = [hypervolumes[name] for name in names]
        found.append(Group(tuple(names), fmean(volumes), stdev(volumes) if len(volumes) > 1 else None))
    return sorted(found, key=lambda group: -group.mean)


def differences(found: Sequence[Group], hypervolumes: Mapping[str, float]) -> list[Difference]:
    """Every pair of groups."""
    pairs = []
    for i, first in enumerate(found):
        for j, second in enumerate(found[i + 1 :], start=i + 1):
            a, b = ([hypervolumes[name] for name in group.names] for group in (first, second))
            enough = min(len(a), len(b)) >= FEWEST_SEEDS
            pairs.append(Difference(i, j, float(mannwhitneyu(a, b).pvalue) if enough else None))
    return pairs
