"""What reaches the terminal: no character of a name, a label or an error moves its cursor or changes its colours."""

import json
import sys
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}  # ␛ for an escape
_OTHERS = (0x7F, *range(0x80, 0xA0))  # delete, and what some terminals take for an escape and a bracket
_TURNED = (
    0x200E,
    0x200F,
    0x061C,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)  # text that reads backwards
_SHOWN = str.maketrans({**_PICTURES, **dict.fromkeys((*_OTHERS, *_TURNED), "\N{REPLACEMENT CHARACTER}")})


def harmless(text: str) -> str:
    """The text with each control character as a sign that can be seen; new lines and tabs stay.

    >>> harmless("a\\x1b[31mb")
    'a␛[31mb'
    """
    return text.translate(_SHOWN)


def say(text: str, file: IO[str] | None = None) -> None:
    """Print a line.

    Args:
        text: Of anybody's.
        file: Where to; stderr by default.
    """
    print(harmless(text), file=file or sys.stderr, flush=True)


def to_json(value: Any, indent: int | None = None) -> str:
    """Plain JSON. JSON escapes control characters, but for a few that terminals obey too: these as well.

    Raises:
        ValueError: A number in it is not finite.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return text.translate({code: f"\\u{code:04x}" for code in (*_OTHERS, *_TURNED)})


class Harmless:
    """Something to draw, with its texts made harmless after it has been laid out; its own colours stay."""

    def __init__(self, drawn: RenderableType) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As rich asks for it."""
        for segment in console.render(self._drawn, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)
