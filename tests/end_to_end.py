"""Running the installed command as a person would."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMAND = [str(Path(sys.executable).parent / "autopeft")]
if not Path(COMMAND[0]).exists():
    COMMAND = [sys.executable, "-m", "autopeft"]


def database(folder: Path) -> str:
    """The URL of a test's own database: what the file `database` of its folder says, or an SQLite file in the folder."""
    named = folder / "database"
    return named.read_text() if named.exists() else f"sqlite:///{folder}/autopeft.db"


def environment(folder: Path) -> dict[str, str]:
    """A database of the test's own, nothing from the network."""
    return {**os.environ, "AUTOPEFT_DB": database(folder), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


def autopeft(folder: Path, *arguments: str, seconds: float = 560) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def answer(folder: Path, *arguments: str) -> Any:
    """The JSON that a command answers with."""
    done = autopeft(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def stop_after(folder: Path, trials: int, signum: int, *arguments: str) -> tuple[int, str, int]:
    """Send a signal to a search once so many trials have ended; its exit code, what it said on stderr, its session."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(f"[{trials}/"):
            process.send_signal(signum)
            break
    _, rest = process.communicate(timeout=120)
    return process.returncode, "".join(said) + rest, process.pid


def training_workers(session: int) -> list[int]:
    """The training processes that are alive of a session. (Idle agents of Ray's take a minute to notice.)"""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_text(errors="replace")
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session and fields[0] != "Z" and "Trainable" in command:
            found.append(int(status.parent.name))
    return found


def wait_for(condition: Any, seconds: float) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.5)
    return False


KILL, INTERRUPT = signal.SIGKILL, signal.SIGINT
