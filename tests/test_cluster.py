"""A search on a Ray cluster of two nodes, one of which is lost."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from test_faults import Search, folder, same_as, trials, whole

from autopeft.nouns import TrialStatus
from autopeft.store import LOST_WORKERS

__all__ = ["folder", "whole"]  # fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PORT = 6394
RAY = [str(Path(sys.executable).parent / "ray"), "start", "--num-cpus=1", "--disable-usage-stats"]


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """The raylets of the head and of another node; what they and a search need is in the environment."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    session = Path("/tmp") / f"autopeft-two-{os.getpid()}"  # sockets have short paths
    before = {process.pid for process in psutil.process_iter()}
    head = ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={session}"]
    raylets = []
    try:
        for options in (head, [f"--address=127.0.0.1:{PORT}"]):
            # Into a file: what is started keeps a pipe open.
            with (tmp_path / "ray").open("w+") as said:
                done = subprocess.run(
                    [*RAY, *options], stdout=said, stderr=said, timeout=120, check=False, cwd=tmp_path
                )
                said.seek(0)
                assert done.returncode == 0, said.read()
            known = {raylet.pid for raylet in raylets}
            raylets += [
                process
                for process in psutil.process_iter(["name"])
                if process.info["name"] == "raylet" and process.pid not in before | known
            ]
        assert len(raylets) == 2
        yield raylets[0], raylets[1]
    finally:
        for process in psutil.process_iter(["cmdline"]):
            if process.pid not in before and str(session) in " ".join(process.info["cmdline"] or ()):
                end(process)


def end(process: psutil.Process) -> None:
    """A process and all that it has started, as by a power cut."""
    for one in [process, *process.children(recursive=True)]:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue


def test_a_node_is_lost(whole: Path, folder: Path, nodes: tuple[psutil.Process, psutil.Process]) -> None:
    _, node = nodes

    def ended() -> int:
        return sum(t.status is TrialStatus.COMPLETE for t in trials(folder))

    def worker() -> psutil.Process | None:
        found = [one for one in node.children() if any("Trainable.train" in word for word in one.cmdline())]
        return found[0] if found else None

    with Search(folder, "--ray-address", f"127.0.0.1:{PORT}", "--workers", "2") as search:
        while (trains := worker()) is None:  # looked at more often than `wait` does: a trial takes a second
            assert search.process.poll() is None, search.said
            time.sleep(0.05)
        trains.send_signal(signal.SIGSTOP)  # or it is through before the node is gone
        search.wait(lambda: ended() == 3)
        end(node)
        assert search.end() == 0, search.said
        assert "is taken up again (1 of 2)" in search.said
        assert "Traceback" not in search.said
    (lost,) = [t for t in trials(folder) if t.details.get(LOST_WORKERS)]
    assert lost.attempt == 2
    assert same_as(whole, folder)
