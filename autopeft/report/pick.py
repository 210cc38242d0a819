"""The trial that a person means."""

from typing import TYPE_CHECKING

from autopeft.confirmation import choose
from autopeft.errors import InputError, nearest
from autopeft.nouns import Study, Trial, TrialKind, TrialStatus
from autopeft.registry import objectives_of

if TYPE_CHECKING:
    from autopeft.store import Repository

NAMES = ("knee", "best")
"""What can be picked by name."""


def pick(repository: "Repository", study: Study, what: str) -> Trial:
    """The complete trial that `knee`, `best` or a trial's number means.

    Args:
        repository: Where the study is.
        study: The study.
        what: `knee` or `best` of the front as `autopeft.confirmation.choose` has it, or the number of any complete
            trial, a baseline's too.

    Raises:
        InputError: None of these, there is no front yet, or the trial is not complete.
        StudyError: There is no trial of that number.
    """
    what = what.strip().lower()
    if what.isdecimal() and len(what) < 10:  # what a database's integer holds
        trial = repository.trial(study.id, int(what))
        if trial.kind is TrialKind.PROBE:
            raise InputError(
                f"trial {trial.number} cannot be picked: it is the probe, which trains no adapter."
            )
        if trial.status is TrialStatus.FAILED:
            raise InputError(
                f"trial {trial.number} cannot be picked: it failed ({trial.reason.rstrip('.')})."
            )
        if trial.status is TrialStatus.STOPPED:
            raise InputError(
                f"trial {trial.number} cannot be picked: it was stopped after epoch {max(trial.scores)}, so nothing of "
                "it was kept."
            )
        if trial.status is not TrialStatus.COMPLETE:
            raise InputError(
                f"trial {trial.number} cannot be picked: it is {trial.status.value}, not complete."
            )
        return trial
    if what not in NAMES:
        raise InputError(
            f"cannot pick '{what}': write knee, best, or the number of a complete trial.",
            nearest(what, NAMES),
        )
    chosen = choose(repository.trials(study.id), objectives_of(study.settings))
    if chosen.knee is None or chosen.best is None:
        raise InputError(f"the study '{study.name}' has no front yet: no trial of its search is complete.")
    return chosen.knee if what == "knee" else chosen.best
