"""What a running search tells whoever watches it. Standard library only, so that a display can start at once."""

from dataclasses import dataclass
from typing import TypeAlias

from autopeft.nouns import TrialKind


@dataclass(frozen=True)
class Phase:
    """The search is busy with something that is not a trial.

    Attributes:
        text: What it does, as in `loading the backbone`.
    """

    text: str


@dataclass(frozen=True)
class Started:
    """The study is in the database and its trials begin.

    Attributes:
        name: The study.
        url: Its database; any password in it is hidden by those who show it.
        resumed: Whether the study was there already.
        limit: The budget in trainable parameters.
        backbone_parameters: Parameters of the backbone, the task head not counted.
        smallest: Trainable parameters of the cheapest configuration of the space.
        trials_wanted: Trials the study is to have in the end, baselines among them, and those of the confirmation as
            far as they can be foreseen.
        trials_done: How many of them are final already.
        workers: Trials that are trained at the same time.
    """

    name: str
    url: str
    resumed: bool
    limit: int
    backbone_parameters: int
    smallest: int
    trials_wanted: int
    trials_done: int
    workers: int


@dataclass(frozen=True)
class TrialDone:
    """A trial is final and in the database.

    Attributes:
        number: The trial.
        kind: A point of the search, a baseline, or one of either trained anew.
        description: Its configuration in a line.
        trainable: Trainable parameters, the task head not counted.
        share: `trainable` as a fraction of the backbone's parameters.
        score: Validation score, of a confirming trial the confirmed one; None if the trial failed or was stopped.
        reason: Why it failed, else empty.
        stopped_after: The epoch after which it was stopped because others did better; None if it was not.
        done: Final trials by now.
        wanted: Trials the study is to have in the end; see `Started`.
        best_score: Best validation score of the search inside the budget; None before the first.
        hypervolume: Of the front by now; None before the first.
        elapsed_seconds: Since the search (this run of it) began.
        remaining_seconds: An estimate of the time left; None where there is none yet.
    """

    number: int
    kind: TrialKind
    description: str
    trainable: int
    share: float
    score: float | None
    reason: str
    done: int
    wanted: int
    best_score: float | None
    hypervolume: float | None
    elapsed_seconds: float
    remaining_seconds: float | None
    stopped_after: int | None = None


Event: TypeAlias = Phase | Started | TrialDone
