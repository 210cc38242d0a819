"""Who can come near a Ray cluster that a search starts."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from autopeft.run.private import keep_token_private, session_folder


@pytest.fixture(autouse=True)
def _no_choice_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_new_token_is_its_owners_alone(tmp_path: Path) -> None:
    keep_token_private(tmp_path)
    token = tmp_path / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700
    assert len(token.read_text()) == 64


def test_a_token_that_others_could_read_is_closed_and_stays(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.write_text("as Ray made it")
    token.chmod(0o644)
    keep_token_private(tmp_path)
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text() == "as Ray made it"


def test_who_chose_another_token_gets_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    keep_token_private(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a name that leaves room for sockets."""
    with tempfile.TemporaryDirectory(prefix="ap-") as folder:
        yield Path(folder)


def test_sessions_are_behind_a_closed_door(short: Path) -> None:
    found = session_folder(short)
    assert found is not None
    assert Path(found).parent.stat().st_mode & 0o777 == 0o700
    assert session_folder(short) == found


def test_a_folder_that_somebody_prepared_is_not_used(short: Path) -> None:
    trap = short / f"autopeft-{os.getuid()}"
    (short / "elsewhere").mkdir(mode=0o700)
    trap.symlink_to(short / "elsewhere")
    assert session_folder(short) is None
    trap.unlink()
    trap.mkdir()
    trap.chmod(0o777)
    assert session_folder(short) is None


def test_a_long_path_has_no_room_for_sockets(tmp_path: Path) -> None:
    assert session_folder(tmp_path / ("x" * 80)) is None


CLUSTER = """
import os, subprocess, sys
os.environ["RAY_ADDRESS"] = "192.0.2.77:6379"  # of nobody: a search on this machine does not go there
from autopeft.run.tuner import start_ray
import psutil, ray
assert start_ray(1, None, None).local
del os.environ["RAY_ADDRESS"]
me = psutil.Process()
open_ports = [c for p in (me, *me.children(recursive=True)) for c in p.net_connections("inet") if c.status == "LISTEN"]
assert open_ports
assert not [c for c in open_ports if c.laddr.port in (8265, 8266, 52365)], "the dashboard"
address = ray.get_runtime_context().gcs_address
folder = ray._private.worker._global_node.get_session_dir_path()
print(folder)
stranger = subprocess.run([sys.executable, "-c", sys.argv[1], address], capture_output=True, text=True)
print(stranger.returncode, stranger.stdout, stranger.stderr)
ray.shutdown()
"""
STRANGER = """
import os, sys
os.environ["RAY_AUTH_MODE"] = "disabled"  # no token, whatever lies about
import ray
ray.init(sys.argv[1])
print("in")
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_stranger_is_refused() -> None:
    """Ray's ports are open on all interfaces; without the token nobody gets in."""
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, STRANGER], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, _, rest = done.stdout.partition("\n")
    assert f"autopeft-{os.getuid()}/ray/session_" in first
    assert rest.startswith("1 ")
    assert "InvalidAuthToken" in rest
