"""`autopeft serve`, really: searches from the queue, and servers that are killed."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from end_to_end import COMMAND, answer, autopeft, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SMALL = ("--trials", "1", "--epochs", "1", "--confirm-seeds", "0", "--prior", "none", "--workers", "1")


@contextmanager
def serve(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, which is ended whatever happens; what it says is in `serve.log`."""
    with (
        (folder / "serve.log").open("ab") as log,
        subprocess.Popen(
            [*COMMAND, "serve", *arguments], env=environment(folder), cwd=folder, stderr=log
        ) as server,
    ):
        try:
            yield server
        finally:
            server.kill()


def job_of(folder: Path, study: str) -> dict[str, Any]:
    (found,) = (job for job in answer(folder, "jobs") if job["study"] == study)
    return found


def wait_for(folder: Path, study: str, text: str, seconds: float = 240) -> None:
    """Until the search of a job has said something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if text in autopeft(folder, "logs", study).stdout:
            return
        time.sleep(1)
    raise AssertionError(f"'{text}' was not said: {autopeft(folder, 'logs', study).stdout}")


def test_a_killed_servers_search_goes_on_with_the_next_one(tmp_path: Path) -> None:
    assert autopeft(tmp_path, "submit", *SMALL, "--study", "good").returncode == 0
    wrong = ("--data", "nothing.csv", "--model", "nowhere", "--study", "wrong", "--priority", "1")
    assert autopeft(tmp_path, "submit", *wrong).returncode == 0
    with serve(tmp_path) as first:
        wait_for(tmp_path, "good", "[1/")
        first.kill()
    job = job_of(tmp_path, "wrong")
    assert job["state"] == "failed"
    assert "nothing.csv" in job["reason"] or "nowhere" in job["reason"]
    with serve(tmp_path, "--until-empty") as second:
        assert second.wait(400) == 0
    assert job_of(tmp_path, "good")["state"] == "done", autopeft(tmp_path, "logs", "good").stdout
    log = autopeft(tmp_path, "logs", "good").stdout
    assert "Interrupted" in log  # the search ended with its server
    summary = answer(tmp_path, "front", "good")
    assert summary["counts"]["complete"] == 1
    (study,) = answer(tmp_path, "studies")
    assert study["owner"] == job["owner"] != ""
    trials = [answer(tmp_path, "show", study["name"], str(n)) for n in range(4)]
    assert all(trial["attempt"] >= 1 for trial in trials)


def test_pause_and_the_servers_end_give_the_job_back(tmp_path: Path) -> None:
    autopeft(tmp_path, "submit", *SMALL, "--study", "s")
    with serve(tmp_path) as server:
        wait_for(tmp_path, "s", "begins")
        assert "is to be paused" in autopeft(tmp_path, "pause", "s").stdout
        end = time.monotonic() + 120
        while job_of(tmp_path, "s")["state"] != "paused":
            assert time.monotonic() < end
            time.sleep(1)
        autopeft(tmp_path, "resume", "s")
        wait_for(tmp_path, "s", "goes on")
        server.send_signal(signal.SIGTERM)
        assert server.wait(120) == 0
    assert job_of(tmp_path, "s")["state"] == "waiting"
    said = (tmp_path / "serve.log").read_text()
    assert "s: paused" in said
    assert "Traceback" not in said
