"""Rewrite the reference of objectives from what they say of themselves: `python -m tests.objectives.write_table`."""

import re
from pathlib import Path

from autopeft.registry import TRADE_OFF, Objective, objectives

PAGE = Path(__file__).resolve().parents[2] / "docs" / "objectives.md"
BEGIN = "<!-- made by `python -m tests.objectives.write_table` -->\n"


def render() -> str:
    """The table, and a section an objective."""
    known = sorted(objectives().values(), key=lambda o: (o.name not in TRADE_OFF, o.name))
    lines = ["| type this | better | unit | is | in `--json` |", "| --- | --- | --- | --- | --- |"]
    for one in known:
        if one.searchable:
            lines.append(
                f"| [`{one.typed}`](#{one.typed}) | {_better(one)} | {one.unit or '–'} | {_is(one)} | `{one.name}` |"
            )
    for one in known:
        if one.searchable:
            lines += ["", f"### {one.typed}", "", one.about]
    recorded = [f"- `{one.name}`: {' '.join(one.about.split())}" for one in known if not one.searchable]
    lines += [
        "",
        "### What is only recorded",
        "",
        "Every trial says these too; no search is for them.",
        "",
        *recorded,
    ]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with its generated part made anew."""
    written = PAGE.read_text(encoding="utf-8")
    return re.sub(
        rf"({re.escape(BEGIN)}).*", lambda found: found[1] + "\n" + render(), written, flags=re.DOTALL
    )


def _better(one: Objective) -> str:
    return "more" if one.direction == "maximize" else "less"


def _is(one: Objective) -> str:
    return "known before training" if one.known else "measured"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
