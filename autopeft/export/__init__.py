"""Recipes: one trial of a study, in a form that others can load or run."""

from pathlib import Path
from typing import Protocol

from autopeft.confirmation import Confirmed
from autopeft.errors import unknown_name
from autopeft.export.peft import export_peft
from autopeft.export.portable import export_portable
from autopeft.export.script import export_script
from autopeft.nouns import Study, Trial


class Exporter(Protocol):
    """Writes a trial into an empty folder; `anew` is what its configuration scored when it was trained anew."""

    def __call__(self, study: Study, trial: Trial, folder: Path, anew: Confirmed | None = None) -> None: ...


EXPORTERS: dict[str, Exporter] = {"peft": export_peft, "script": export_script, "autopeft": export_portable}


def find_exporter(name: str) -> Exporter:
    """The exporter for a format.

    Raises:
        UnknownNameError: There is no such format.
    """
    if name not in EXPORTERS:
        raise unknown_name("export format", name, EXPORTERS)
    return EXPORTERS[name]


__all__ = ["EXPORTERS", "find_exporter"]
