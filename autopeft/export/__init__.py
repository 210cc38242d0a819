"""Recipes: one trial of a study, in a form that others can load or run."""

import functools
from pathlib import Path
from typing import Protocol

from autopeft.confirmation import Confirmed
from autopeft.errors import unknown_name
from autopeft.export.peft import export_peft
from autopeft.export.portable import export_portable
from autopeft.export.script import export_script
from autopeft.export.trainers import FORMATS, export_recipe
from autopeft.nouns import Study, Trial


class Exporter(Protocol):
    """Writes a trial into an empty folder.

    `anew` is what its configuration scored when it was trained anew; `lossy`: whether the nearest is written where the
    format cannot say all of it.
    """

    def __call__(
        self,
        study: Study,
        trial: Trial,
        folder: Path,
        anew: Confirmed | None = None,
        *,
        lossy: bool = False,
    ) -> None: ...


EXPORTERS: dict[str, Exporter] = {
    "peft": export_peft,
    "script": export_script,
    "autopeft": export_portable,
    **{name: functools.partial(export_recipe, name) for name in FORMATS},
}


def find_exporter(name: str) -> Exporter:
    """The exporter for a format.

    Raises:
        UnknownNameError: There is no such format.
    """
    if name not in EXPORTERS:
        raise unknown_name("export format", name, EXPORTERS)
    return EXPORTERS[name]


__all__ = ["EXPORTERS", "find_exporter"]
