"""A study's settings against those of a new call: whether it is the same search, and else what is different."""

import difflib
import json
from collections.abc import Mapping
from typing import Any

from autopeft.errors import StudyError
from autopeft.nouns import Study

ASKED = "asked"
"""In a study's settings: how much was last asked for, which `autopeft resume` goes on with. No result depends on it."""

IMPORTED = "imported"
"""In the settings of a study that holds results of others: what they are (`kind`), from where (`source`) and their `license`."""


def check_own(study: Study) -> None:
    """Refuse to search a study that was imported: its trials are published results, and it has no space to search.

    Raises:
        StudyError: It was.
    """
    if IMPORTED in study.settings:
        raise StudyError(
            f"the study '{study.name}' holds published results that were imported: it is only read.",
            "A search needs another --study.",
        )


def as_asked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a call asks for: settings without what was only noted when the study was made.

    That is the backbone's shape, the trials of a warm start, what objectives mean, and a fingerprint for each file.
    """
    backbone = {name: value for name, value in settings["backbone"].items() if name != "shape"}
    asked = {"fidelity": "none", **settings, "prior": prior_of(settings), "backbone": backbone}
    asked.pop("probe", None)
    asked.pop(ASKED, None)
    if "files" in settings.get("task", {}):
        asked["task"] = {name: value for name, value in settings["task"].items() if name != "files"}
    if "warm_start" in settings:
        asked["warm_start"] = sorted(
            {one if isinstance(one, str) else one["study"] for one in settings["warm_start"]}
        )
    if "objectives" in settings:
        asked["objectives"] = [
            one if isinstance(one, str) else one["reference"] for one in settings["objectives"]
        ]
    return asked


def prior_of(settings: Mapping[str, Any]) -> str:
    """A study's prior. Those made before it had this name say whether there is a probe, and those before them had none."""
    return str(settings.get("prior", "sensitivity" if settings.get("probe") else "none"))


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    """Sentences such as `budget was 0.5%, now 1%`; of a text of several lines, the lines that went and came."""
    found: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        before, now, where = old.get(key), new.get(key), f"{path}{key}"
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += differences(before, now, f"{where}.")
        elif where == "task.fingerprint" and before != now:
            found.append("the content of the data has changed")
        elif isinstance(before, str) and isinstance(now, str) and before != now and "\n" in before + now:
            lines = difflib.unified_diff(before.splitlines(), now.splitlines(), n=0, lineterm="")
            changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
            found.append("\n    ".join([f"{where} was changed:", *changed]))
        elif before != now:
            found.append(f"{where} was {_short(before)}, now {_short(now)}")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
