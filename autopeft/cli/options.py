"""Options that several commands have, and reading the values that are more than a text."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias

import typer

from autopeft.errors import InputError

Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="Where studies are kept: the path of an SQLite file, or a URL such as postgresql://user@host/autopeft. "
        "By default AUTOPEFT_DB if it is set, else a file in your data folder.",
        show_default=False,
    ),
]

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON and nothing else to stdout; progress stays on stderr.")
]

StudyName: TypeAlias = Annotated[
    str, typer.Argument(metavar="STUDY", help="The study's name; `autopeft studies` lists them.")
]

MACHINE = "The machine"

Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Trials that are trained at the same time. By default as many as fit: one a GPU, or one a core.",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]

GpusPerTrial: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0,
        help="Share of a GPU for each trial: 0.25 puts four on one. By default one GPU, if there is one.",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]

Pack: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Trials that a worker trains together on one backbone, where their modules can be. auto: as many as a GPU has "
        "memory for; on a CPU, whose products are no faster for several, one.",
        rich_help_panel=MACHINE,
    ),
]

RayAddress: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A Ray cluster that runs already, such as auto or ray://host:10001. By default this machine.",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]

Retries: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="How often a trial goes to another worker, from its last epoch on, if its worker is lost. By default 2 (resume: as "
        "before). A trial that fails by itself is not tried again.",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]

TrialTimeout: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="A trial that takes longer has failed, and its worker is replaced: 30m, 2h. By default there is no bound "
        "(resume: as before).",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]

Sites: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--sites",
        metavar="SITE=PATH",
        help="Name a site by hand: the end of a linear map's path inside its layer, as in q=attn.q_proj. "
        "May be given several times.",
        show_default=False,
    ),
]

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


def effort(given: Mapping[str, Any]) -> dict[str, Any]:
    """How much is searched, and with what, as `service.search` and `service.resume` take it.

    Args:
        given: The options of `autopeft search` or `autopeft resume`, by parameter.

    Raises:
        InputError: One of them cannot be read.
    """
    same = ("trials", "confirm_seeds", "workers", "gpus_per_trial", "ray_address", "retries", "db")
    return {
        **{name: given[name] for name in same},
        "seconds": None if given["time"] is None else parse_duration(given["time"]),
        "trial_seconds": None if given["trial_timeout"] is None else parse_duration(given["trial_timeout"]),
        "pack": parse_pack(given["pack"]),
    }


def parse_duration(text: str) -> float:
    """Read `90s`, `10m`, `2h` or `1h30m`, in seconds.

    Raises:
        InputError: The text is none of these, or no time at all.

    >>> parse_duration("1h30m")
    5400.0
    """
    compact = "".join(text.lower().split())
    match = _DURATION.fullmatch(compact)
    if match is None or not compact:
        hint = f"Did you mean '{compact}m'?" if compact.isdecimal() else ""
        raise InputError(f"cannot read the time '{text}': write it as 90s, 10m, 2h or 1h30m.", hint)
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise InputError(f"the time '{text}' leaves no time to search: write it as 90s, 10m, 2h or 1h30m.")
    return total


def parse_pack(text: str) -> int | None:
    """Read a number from 1, or `auto`.

    Raises:
        InputError: The text is none of these.

    >>> parse_pack("auto"), parse_pack("4")
    (None, 4)
    """
    if text.lower() == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"cannot read the pack '{text}': write auto, or a number of trials from 1.")
    return int(text)


def parse_fields(texts: Iterable[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` texts; a value that is JSON (a number, `true`, a list) is taken as that.

    Raises:
        InputError: A text without `=` or key, or one key twice.

    >>> parse_fields(["num_hidden_layers=2", "hidden_act=relu"])
    {'num_hidden_layers': 2, 'hidden_act': 'relu'}
    """
    fields: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(f"cannot read '{text}': write KEY=VALUE, such as num_hidden_layers=2.")
        if key in fields:
            raise InputError(f"'{key}' is given twice: as {fields[key]!r} and as '{value}'.")
        try:
            fields[key] = json.loads(value)
        except json.JSONDecodeError:
            fields[key] = value
    return fields


def parse_sites(texts: Iterable[str]) -> dict[str, str]:
    """Read `SITE=PATH` texts.

    Raises:
        InputError: A text without `=`, site or path, or one site twice.

    >>> parse_sites(["q=attn.q_proj", "k=attn.k_proj"])
    {'q': 'attn.q_proj', 'k': 'attn.k_proj'}
    """
    sites: dict[str, str] = {}
    for text in texts:
        site, _, path = (part.strip() for part in text.partition("="))
        if not site or not path:
            raise InputError(f"cannot read '{text}': write SITE=PATH, such as q=attn.q_proj.")
        if site in sites:
            raise InputError(f"the site '{site}' is named twice: as '{sites[site]}' and as '{path}'.")
        sites[site] = path
    return sites
