"""The command that goes on with a study."""

import re
import shlex
from typing import Any

import typer

_NOT_REPEATED = ("as_json",)


def again(ctx: typer.Context, **changed: Any) -> str:
    """The command line of this call with some options changed, to be copied into a shell.

    Options that have their default are left out, and so is a password inside a URL.

    Args:
        ctx: Of the running command.
        **changed: Values by parameter, such as `study="s"`.
    """
    values = {name: value for name, value in ctx.params.items() if name not in _NOT_REPEATED} | changed
    words = ["autopeft", ctx.info_name or "search"]
    for parameter in ctx.command.params:
        name = parameter.name or ""
        value = values.get(name)
        if name not in values or value is None or (value == parameter.default and name not in changed):
            continue
        if isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
            continue
        for one in value if isinstance(value, list | tuple) else (value,):
            words += [parameter.opts[0], without_password(str(one))]
    return shlex.join(words)


def without_password(url: str) -> str:
    """A URL as a person may see it; what is no URL stays as it is."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
