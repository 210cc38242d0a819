"""From what went wrong to a sentence and an exit code."""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from autopeft.cli.terminal import say, to_json
from autopeft.errors import INTERRUPTED, AutopeftError, InputError

P = ParamSpec("P")
R = TypeVar("R")


def in_a_sentence(command: Callable[P, R]) -> Callable[P, R]:
    """The command, with every error told in a sentence on stderr and an exit code: 2 for input, else 1.

    With its argument `as_json`, `{"error": ...}` is on stdout too. AUTOPEFT_DEBUG=1 adds the traceback.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr, flush=True)
            raise typer.Exit(INTERRUPTED) from None
        except InputError as error:
            _tell(f"Error: {error}", str(error), bool(kwargs.get("as_json")))
            raise typer.Exit(2) from None
        except AutopeftError as error:
            _tell(f"Error: {error}", str(error), bool(kwargs.get("as_json")))
            raise typer.Exit(1) from None
        except Exception as error:
            said = str(error).strip().partition("\n")[0]
            text = f"internal error: {type(error).__name__}{': ' if said else ''}{said}"
            hint = "" if _debugging() else " (set AUTOPEFT_DEBUG=1 for the traceback)"
            _tell(text + hint, text, bool(kwargs.get("as_json")))
            raise typer.Exit(1) from None

    return run


def _tell(line: str, error: str, as_json: bool) -> None:
    if _debugging():
        traceback.print_exc()
    say(line)
    if as_json:
        print(to_json({"error": error}))


def _debugging() -> bool:
    return os.environ.get("AUTOPEFT_DEBUG", "") not in ("", "0")
