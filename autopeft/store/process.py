"""Is the process that holds a lease still there?"""

import os
import sys
from pathlib import Path


def _stat(pid: int) -> tuple[str, str]:
    """State letter and start (clock ticks since boot) of a process; two empty texts where there is no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    # The second field is the program's name in brackets, and may itself hold spaces and brackets.
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[19]


def process_start(pid: int) -> str:
    """When a process of this machine started, as text that only equality is meant for; empty if unknown.

    Together with its id it names the process: the system gives ids to new processes again.
    """
    return _stat(pid)[1]


def is_alive(pid: int, start: str) -> bool | None:
    """Whether the process of this machine with that id and `process_start` is running; None if unknown.

    A process that was killed but not yet waited for counts as gone.
    """
    if sys.platform == "win32":
        return None  # there os.kill(pid, 0) is not a question
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, and so alive
    state, found = _stat(pid)
    return state not in ("Z", "X") and (not start or not found or found == start)
