"""Recipes: one trial of a study, in a form that others can load or run."""

from collections.abc import Callable
from pathlib import Path

from autopeft.errors import unknown_name
from autopeft.export.peft import export_peft
from autopeft.export.script import export_script
from autopeft.nouns import Study, Trial

EXPORTERS: dict[str, Callable[[Study, Trial, Path], None]] = {"peft": export_peft, "script": export_script}


def find_exporter(name: str) -> Callable[[Study, Trial, Path], None]:
    """The exporter for a format: (study, trial, empty folder) to files.

    Raises:
        UnknownNameError: There is no such format.
    """
    if name not in EXPORTERS:
        raise unknown_name("export format", name, EXPORTERS)
    return EXPORTERS[name]


__all__ = ["EXPORTERS", "find_exporter"]
