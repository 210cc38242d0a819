"""Searches on Ray clusters that others have started: of two nodes, one of which is lost, and as docs/cluster.md has them."""

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
import yaml
from end_to_end import answer, environment
from test_docs import ROOT, SMOKE, blocks
from test_docs import folder as documents_folder
from test_faults import Search, folder, same_as, trials, whole

from autopeft.nouns import TrialStatus
from autopeft.store import LOST_WORKERS

__all__ = ["documents_folder", "folder", "whole"]  # fixtures

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


def test_the_cluster_file_is_one_that_ray_takes() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (text,) = blocks(ROOT / "docs" / "cluster.md", "yml")
    config = prepare_config(yaml.safe_load(text))
    validate_config({"cluster_synced_files": [], **config})
    (node,) = config["available_node_types"].values()
    assert node["min_workers"] == 2


def test_the_slurm_script_runs(documents_folder: Path) -> None:
    """On one node, where Slurm's two commands are what they come to there.

    Among processes of its own: in the end Ray stops every Ray process that it sees, those of other tests too.
    """
    alone = ["unshare", "--pid", "--fork", "--mount-proc"]
    allowed = subprocess.run([*alone, "true"], capture_output=True, text=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no processes of its own can be had here: {allowed.stderr.strip()}")
    place = documents_folder
    (script,) = blocks(ROOT / "docs" / "cluster.md", "slurm")
    small = " ".join([*SMOKE, "--model-config", "num_hidden_layers=2"])
    told = script.replace(":6379", f":{PORT}").replace("--ray-address auto", f"--ray-address auto {small}")
    assert told.count(str(PORT)) == 1
    assert small in told
    (place / "script").write_text(told)
    (place / "bin").mkdir()
    for name, line in (("scontrol", "echo 127.0.0.1"), ("srun", 'exec "$@"')):
        (place / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (place / "bin" / name).chmod(0o755)
    variables = {
        **environment(place),
        "HOME": str(place),
        "PATH": f"{place / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "one",
        "SLURM_JOB_NUM_NODES": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
    }
    with (place / "said").open("w+") as said:
        done = subprocess.run(
            [*alone, "bash", "script"],
            cwd=place,
            env=variables,
            stdout=said,
            stderr=said,
            timeout=300,
            check=False,
        )
        said.seek(0)
        assert done.returncode == 0, said.read()
    assert [study["name"] for study in answer(place, "studies")] == ["nightly"]
    assert list((place / "autopeft-artifacts").rglob("adapter_config.json"))
