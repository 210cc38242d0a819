"""What can go wrong, as one tree::

    AutopeftError
    ├── InputError            the person can mend it: exit code 2
    │   ├── UnknownNameError  a name that is not among the known ones
    │   ├── SpaceError        a search-space file that is not right, with file, line and column
    │   ├── DataError         data that cannot be read, or lacks a column
    │   ├── BackboneError     a model that cannot be loaded or used
    │   ├── BudgetError       a budget that cannot be read, or that nothing fits in
    │   └── StudyError        a study that is missing, or has other settings
    │       ├── TakenError    a trial that another driver has, or that was ended meanwhile
    │       └── CutOffError   a transaction whose server went away: nobody knows whether it was committed
    ├── TrialError            one trial could not be trained; recorded, never ends a study
    └── UsedUpError           every configuration of a space has been tried; ends a search

Every class survives pickling, because errors travel between processes.
"""

import difflib
from collections.abc import Iterable

INTERRUPTED = 130
"""The exit code of a command that was stopped with Ctrl-C."""


class AutopeftError(Exception):
    """An error whose text is written for the person who runs `autopeft`.

    Args:
        message: What was found and what is allowed.
        hint: What to do about it, if one thing stands out.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(AutopeftError):
    """The person's input cannot be used; nothing was started."""


class UnknownNameError(InputError):
    """A name that is not among the known ones; see `unknown_name`."""


class SpaceError(InputError):
    """A search space cannot be read or used."""


class DataError(InputError):
    """Data cannot be read, or do not hold what the task needs."""


class BackboneError(InputError):
    """A backbone cannot be loaded, or lacks what the space asks for."""


class BudgetError(InputError):
    """A budget cannot be read, or no configuration fits in it."""


class StudyError(InputError):
    """A study is missing, its database cannot be used, or it has other settings."""


class TakenError(StudyError):
    """A trial cannot be started: another driver has it, or it does not wait."""


class CutOffError(StudyError):
    """The database went away in the midst of a transaction: nobody knows whether it was committed."""


class TrialError(AutopeftError):
    """A trial cannot be trained: its message is the reason that the database keeps."""


class UsedUpError(AutopeftError):
    """Every configuration of the space is a trial already: the search is at its end."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The sentence "Did you mean 'x'?" when a known name is close to `name`, else the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean '{close[0]}'?" if close else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error that says what was found, what is known and what is near.

    >>> str(unknown_name("site", "querry", ["query", "value"]))
    "unknown site 'querry': known are query, value. Did you mean 'query'?"
    """
    known = list(known)
    listed = ", ".join(known) if known else "none"
    return UnknownNameError(f"unknown {kind} '{name}': known are {listed}.", nearest(name, known))
