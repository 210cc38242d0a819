"""What a study may be called, and the folder that its files go to: a name never leads out of where it is put."""

import contextlib
import getpass
import hashlib
import re
import unicodedata
from pathlib import Path

from autopeft.errors import InputError

LONGEST = 200
"""Most characters of a study's name."""

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_KEPT = 60  # characters of another name that its folder begins with
_RESERVED = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")  # devices, on Windows
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format and half characters, breaks of line and paragraph


def objection(name: str) -> str:
    """Why a new study cannot be called so, as a sentence; empty where it can.

    >>> objection("my study"), objection("../x")
    ('', "a study's name has no '/' in it.")
    """
    if not 0 < len(name) <= LONGEST:
        return f"a study's name has 1 to {LONGEST} characters, not {len(name)}."
    unseen = next((c for c in name if unicodedata.category(c) in _UNSEEN), None)
    if unseen is not None:
        return f"a study's name has only characters that can be seen, and no U+{ord(unseen):04X}."
    for sign in "/\\":
        if sign in name:
            return f"a study's name has no '{sign}' in it."
    if name[0] in ".~":
        return f"a study's name does not begin with '{name[0]}'."
    return ""


def folder_name(name: str) -> str:
    """The name of a study's folder: at most a hundred ASCII characters, with no meaning to any file system.

    A plain name (lower-case letters, digits, '-' and '_') is its own folder's. Any other, whatever an older version or
    another program has put into the database, gets what is plain of it and eight digits that tell it from others.

    >>> folder_name("digits-7"), folder_name("../Digits")
    ('digits-7', 'digits-7c44c672')
    """
    if _PLAIN.fullmatch(name) and not _RESERVED.fullmatch(name):
        return name
    digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:_KEPT]
    return f"{plain or 'study'}-{digits}"


def login_name() -> str:
    """Who runs this process; empty where the system knows no name."""
    with contextlib.suppress(OSError, KeyError):
        return getpass.getuser()
    return ""


def at_home(path: str | Path) -> Path:
    """A path with `~` as the home folder that it stands for.

    Raises:
        InputError: There is no such user, or no home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"cannot read '{path}': what '~' stands for there is not known.", "Write the path in full."
        ) from None
