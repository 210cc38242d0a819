"""The trial that a person means."""

from typing import TYPE_CHECKING

from autopeft.errors import InputError, nearest
from autopeft.nouns import Study, Trial, TrialStatus
from autopeft.report.summary import front_trials

if TYPE_CHECKING:
    from autopeft.store import Repository

NAMES = ("knee", "best")
"""What can be picked by name."""


def pick(repository: "Repository", study: Study, what: str) -> Trial:
    """The complete trial that `knee`, `best` or a trial's number means.

    Args:
        repository: Where the study is.
        study: The study.
        what: `knee` or `best` of the front, or the number of any complete trial, a baseline's too.

    Raises:
        InputError: None of these, there is no front yet, or the trial is not complete.
        StudyError: There is no trial of that number.
    """
    what = what.strip().lower()
    if what.isdecimal() and len(what) < 10:  # what a database's integer holds
        trial = repository.trial(study.id, int(what))
        if trial.status is TrialStatus.FAILED:
            raise InputError(
                f"trial {trial.number} cannot be picked: it failed ({trial.reason.rstrip('.')})."
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
    members, knee = front_trials(repository.trials(study.id))
    if not members or knee is None:
        raise InputError(f"the study '{study.name}' has no front yet: no trial of its search is complete.")
    return knee if what == "knee" else members[-1]
