"""Each check with the real thing, and with a really broken one where one can be made."""

import os
import sqlite3
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from autopeft import doctor
from autopeft.doctor import database, executor, machine, starter, versions
from autopeft.doctor.finding import Finding, State
from autopeft.doctor.machine import Gpus
from autopeft.store import Repository


def worst(findings: list[Finding]) -> State:
    states = [one.state for one in findings]
    return "problem" if "problem" in states else "note" if "note" in states else "ok"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_what_is_installed_here_is_what_is_asked_for() -> None:
    assert worst(versions.check_python()) == "ok"
    assert worst(versions.check_packages()) == "ok"
    assert {one.found.split()[0] for one in versions.check_optional()} == {"bitsandbytes", "psycopg"}


def test_packages_that_are_absent_or_too_old() -> None:
    found = versions.check_packages(["numpy>=999", "no-such-package>=1", "torch>=2", "x>1; extra == 'large'"])
    assert [one.state for one in found] == ["ok", "problem", "problem"]
    assert found[1].found.endswith("; needed is numpy>=999")
    assert found[1].remedy == "Run: pip install 'numpy>=999'."
    assert found[2].found.startswith("no-such-package is not installed")
    assert requires("autopeft")


def test_the_processor_and_its_memory() -> None:
    (found,) = machine.check_processor()
    assert f"{len(os.sched_getaffinity(0))} CPU core" in found.found
    (short,) = machine.check_processor(memory_bytes=10**9)
    assert (short.state, "1.0 GB" in short.found) == ("problem", True)


@pytest.mark.parametrize(
    ("gpus", "state", "said"),
    [
        (Gpus("2.13", "13.0", True, ("H100 (79.6 GB)",), True, "580.1"), "ok", "H100"),
        (Gpus("2.13", "13.0", True, ("V100 (16.0 GB)",), False, "580.1"), "note", "no bfloat16"),
        (Gpus("2.13+cpu", None, False, (), False, None), "note", "none"),
        (Gpus("2.13+cpu", None, False, (), False, "580.1"), "problem", "build without CUDA"),
        (Gpus("2.13", "13.0", False, (), False, "450.8"), "problem", "finds no GPU"),
    ],
)
def test_gpus(gpus: Gpus, state: State, said: str) -> None:
    (found,) = machine.check_gpus(gpus)
    assert (found.state, said in found.found) == (state, True)
    assert bool(found.remedy) or state == "ok" or said == "none"


def test_the_gpus_of_this_machine() -> None:
    assert worst(machine.check_gpus()) != "problem"


def test_folders(tmp_path: Path) -> None:
    assert machine.check_folder("adapters", tmp_path / "not" / "there", 10**10).state == "ok"
    assert not (tmp_path / "not").exists()
    assert machine.check_folder("adapters", tmp_path, 5 * 10**8).state == "note"
    full = machine.check_folder("temporary", tmp_path, 10**7)
    assert (full.state, "TMPDIR" in full.remedy) == ("problem", True)


def test_a_folder_that_nobody_can_write_to() -> None:
    found = machine.check_folder("database", Path("/proc/1"))  # closed to root as well
    assert found.state == "problem"
    assert "cannot write in /proc" in found.found


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = database.check_database(url(tmp_path / "folder" / "a.db"))
    assert worst(found) == "note"
    assert list(tmp_path.iterdir()) == []


def test_a_good_database(tmp_path: Path) -> None:
    Repository.open(str(tmp_path / "a.db")).close()
    found = database.check_database(url(tmp_path / "a.db"))
    assert worst(found) == "ok"
    assert "newest schema" in found[-1].found


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_database_of_a_newer_autopeft(tmp_path: Path) -> None:
    Repository.open(str(tmp_path / "a.db")).close()
    change(tmp_path / "a.db", "UPDATE alembic_version SET version_num = '9999'")
    found = database.check_database(url(tmp_path / "a.db"))[-1]
    assert (found.state, "'9999'" in found.found) == ("problem", True)
    assert found.remedy.startswith("Update autopeft")


def test_a_database_without_tables_is_left_so(tmp_path: Path) -> None:
    change(tmp_path / "a.db", "PRAGMA user_version = 1")
    found = database.check_database(url(tmp_path / "a.db"))[-1]
    assert (found.state, "no tables yet" in found.found) == ("note", True)
    assert sqlite3.connect(tmp_path / "a.db").execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("I am a letter" * 100)
    found = database.check_database(url(tmp_path / "a.db"))[-1]
    assert (found.state, "file is not a database" in found.found) == ("problem", True)


def test_a_database_that_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autopeft.store.engine.BUSY_SECONDS", 0.1)
    Repository.open(str(tmp_path / "a.db")).close()
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    found = database.check_database(url(tmp_path / "a.db"))[-1]
    other.close()
    assert (found.state, "locked" in found.found) == ("problem", True)


def test_a_server_that_is_not_there() -> None:
    pytest.importorskip("psycopg")
    found = database.check_database("postgresql+psycopg://me:secret@127.0.0.1:9/x")[-1]
    assert found.state == "problem"
    assert "secret" not in found.found + found.remedy


def test_a_network_file_system(tmp_path: Path) -> None:
    assert database.check_file_system(tmp_path) == []
    mounts = f"/dev/sda / ext4 rw 0 0\nserver:/home {tmp_path.resolve()} nfs4 rw 0 0\n"
    (found,) = database.check_file_system(tmp_path / "deeper", mounts)
    assert (found.state, "(nfs4)" in found.found) == ("problem", True)
    (mounted,) = database.check_file_system(tmp_path, mounts)
    assert mounted == found


def test_the_starter(tmp_path: Path) -> None:
    assert worst(starter.check_starter()) == "ok"
    whole = Path(starter.__file__).parents[1] / "backbones" / "starter"
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:10_000])  # as a download that broke off
    (found,) = starter.check_starter(tmp_path)
    assert (found.state, "not whole" in found.found) == ("problem", True)


def test_rays_variables_and_shared_memory() -> None:
    assert executor.check_variables({}) == []
    assert worst(executor.check_variables({"RAY_AUTH_MODE": "disabled"})) == "problem"
    assert (
        worst(executor.check_variables({"RAY_ADDRESS": "10.0.0.1:6379", "RAY_AUTH_MODE": "token"})) == "note"
    )
    assert worst(executor.check_shared_memory(10**10)) == "ok"
    assert worst(executor.check_shared_memory(64 * 10**6)) == "note"


def test_a_check_that_breaks_is_a_problem_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken() -> list[Finding]:
        raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(doctor, "check_gpus", broken)
    found = list(doctor.examine(url(tmp_path / "a.db"), start_ray=False))
    (gpu,) = (one for one in found if one.about == "gpu")
    assert (gpu.state, "libcudart" in gpu.found) == ("problem", True)
    assert found[-1].about == "ray"


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_ray_is_started_and_stopped() -> None:
    """In a process of its own: it may be running here."""
    code = "from autopeft.doctor.executor import check_start; print(check_start())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "started, ran a task in process" in done.stdout
