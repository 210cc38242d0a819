"""A server: takes searches from the queue in the database, and runs each in a process of its own.

A search that is stopped in its midst goes on where it stood, so a server may end at any moment, by whatever: who comes next, or the
same one started again, finds its jobs waiting.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autopeft.errors import INTERRUPTED, StudyError
from autopeft.nouns import Job, JobState
from autopeft.store import Lookout, Repository, folder_beside, queue
from autopeft.store.queue import Server

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0  # for a search that was told to end

Watcher = Callable[[Job], None]


@dataclass
class _Running:
    # A job, the process that runs it, and when that was told to end.
    job: Job
    process: subprocess.Popen[bytes]
    told_at: float | None = None


@dataclass
class _Serving:
    # What one call of `serve` is about.
    repository: Repository
    at_once: int
    tell: Watcher
    server: Server = field(default_factory=lambda: Server(socket.gethostname(), os.getpid()))
    running: list[_Running] = field(default_factory=list)
    ends: bool = False

    def __post_init__(self) -> None:
        self._lookout = Lookout(self.server.host, queue.PATIENCE)

    def look(self) -> None:
        for one in list(self.running):
            self._look_at(one)
        if self.ends:
            return
        for job in queue.free(self.repository, self._lookout):
            self.tell(job)
        while len(self.running) < self.at_once:
            taken = queue.take(self.repository, self.server, str(log_folder(self.repository.url)))
            if taken is None:
                return
            self._start(taken)

    def _start(self, job: Job) -> None:
        self.tell(job)
        try:
            Path(job.log).parent.mkdir(parents=True, exist_ok=True)
            with Path(job.log).open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "autopeft", "search", *job.arguments],
                    cwd=job.folder,
                    env={
                        **os.environ,
                        "AUTOPEFT_DB": self.repository.url,
                    },  # not among the arguments, which anyone can see
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the server, which passes it on
                    preexec_fn=_end_with_the_server if sys.platform == "linux" else None,
                )
        except OSError as error:
            self._end(job, JobState.FAILED, f"it cannot be run here: {error.strerror}: '{error.filename}'.")
            return
        self.running.append(_Running(job, process))

    def _look_at(self, one: _Running) -> None:
        code = one.process.poll()
        if code is not None:
            self.running.remove(one)
            # Asked once more: what it was to become may have been said since the last look.
            now = queue.beat(self.repository, self.server, one.job) or one.job
            self._end(now, *_came_to(code, now, ended=self.ends))
            return
        found = queue.beat(self.repository, self.server, one.job)
        if one.told_at is None and (self.ends or found is None or found.wish is not None):
            one.process.send_signal(signal.SIGINT)
            one.told_at = time.monotonic()
        if one.told_at is not None and time.monotonic() - one.told_at > _PATIENCE_SECONDS:
            one.process.kill()

    def _end(self, job: Job, state: JobState, reason: str = "") -> None:
        if queue.end(self.repository, self.server, job, state, reason):
            self.tell(queue.get_job(self.repository, job.study))


def serve(url: str, *, at_once: int = 1, until_empty: bool = False, tell: Watcher = lambda job: None) -> None:
    """Run jobs until SIGTERM or Ctrl-C, which give them back to the queue.

    Args:
        url: The database.
        at_once: Searches at the same time; each takes the whole machine, unless its options say less.
        until_empty: End when nothing waits or runs.
        tell: Called with a job when it has begun or ended.

    Raises:
        StudyError: The database cannot be opened.
    """
    with Repository.open(url) as repository:
        serving = _Serving(repository, at_once, tell)

        def stop(number: int, frame: object) -> None:
            serving.ends = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while True:
                try:
                    serving.look()
                except StudyError as error:  # a database that does not answer now may do so later
                    logger.warning("%s", error)
                idle = not serving.running
                if idle and (serving.ends or (until_empty and not _waiting(repository))):
                    return
                time.sleep(_LOOK_SECONDS)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def log_folder(url: str) -> Path:
    """Where servers of this machine keep what searches say."""
    return folder_beside(url) / "logs"


def _waiting(repository: Repository) -> bool:
    return any(job.state is JobState.WAITING for job in queue.jobs(repository))


def _came_to(code: int, job: Job, *, ended: bool) -> tuple[JobState, str]:
    """What a job is whose process has ended with a code."""
    if code == 0:
        return JobState.DONE, ""
    if job.wish is not None:
        return job.wish, ""
    if ended or code == INTERRUPTED:
        return JobState.WAITING, ""
    if code < 0:
        return JobState.FAILED, f"the search was ended by {signal.Signals(-code).name}."
    return JobState.FAILED, _last_error(job)


def _last_error(job: Job) -> str:
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = Path(job.log).read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return said[-1] if said else "the search said no reason; see its log."


def _end_with_the_server() -> None:
    # Linux alone: a server that was killed cannot tell its searches to end, and who comes next would find their studies busy.
    import ctypes

    death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(death_signal, signal.SIGINT)
