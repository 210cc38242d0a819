"""Keeping other users of a machine out of a Ray cluster that we start there.

Whoever reaches Ray's ports runs code as we do. Its ports are open on every interface of the machine, which no option of
Ray changes; what keeps strangers out is the token that it asks of every call, and file permissions around its sockets.
"""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

_TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_LONGEST_FOLDER = 36  # characters: a socket's path has at most 107, and Ray adds up to 70


def keep_token_private(home: Path | None = None) -> None:
    """See that only its owner can read the token that Ray keeps, made here if there is none; where one chose another, nothing.

    Ray makes the file readable to every user of the machine who can come as far as its folder.

    Args:
        home: Of the user.
    """
    if any(os.environ.get(name) for name in _TOKEN_VARIABLES):
        return
    with contextlib.suppress(OSError, RuntimeError):  # no home, or a read-only one: Ray says so itself
        path = (home or Path.home()) / ".ray" / "auth_token"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w") as stream:
                stream.write(secrets.token_hex(32))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def session_folder(temporary: Path | None = None) -> str | None:
    """A folder for Ray's sessions, below one that only this user can enter; None where Ray's own has to do.

    Ray lets every user write in its sessions, sockets included.

    Args:
        temporary: Where it goes.
    """
    if os.environ.get("RAY_TMPDIR") or not hasattr(os, "getuid"):
        return None
    ours = (temporary or Path(tempfile.gettempdir())) / f"autopeft-{os.getuid()}"
    folder = ours / "ray"
    if len(str(folder)) > _LONGEST_FOLDER:
        return None
    try:
        ours.mkdir(mode=0o700, exist_ok=True)
        found = ours.lstat()  # not through a link that somebody put there
        if ours.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return None
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return str(folder)
