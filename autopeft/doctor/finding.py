"""What a check found, as plain data."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "problem"]
"""`problem`: a search would fail or lose something. `note`: worth knowing, and nothing has to be done."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        about: What was looked at, such as `database`.
        state: How it is.
        found: What was found, for a person.
        remedy: One sentence of what to do; empty where nothing has to be done.
    """

    about: str
    state: State
    found: str
    remedy: str = ""


def ok(about: str, found: str) -> Finding:
    """All is well."""
    return Finding(about, "ok", found)


def note(about: str, found: str, remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(about, "note", found, remedy)


def problem(about: str, found: str, remedy: str) -> Finding:
    """Has to be mended."""
    return Finding(about, "problem", found, remedy)
