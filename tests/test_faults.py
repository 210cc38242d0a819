"""Faults, really made, in searches by the installed command: each study ends with the trials and the scores of one that had none."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from end_to_end import COMMAND, autopeft, database, environment, training_workers, wait_for
from PIL import Image
from postgres import Postgres

from autopeft.nouns import Trial, TrialStatus
from autopeft.store import LOST_WORKERS, Repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EPOCHS = 6
SPACE = """
name: two-ranks
modules:
  lora: {type: lora, sites: [q, v], rank: {choice: [1, 2]}}
training: {learning_rate: RATE, weight_decay: DECAY}
"""


def prepare(folder: Path, rate: str = "5.0e-3", decay: str = "0.01") -> None:
    """A space of two configurations, and a few images to train them on."""
    (folder / "space.yaml").write_text(SPACE.replace("RATE", rate).replace("DECAY", decay))
    rng = np.random.default_rng(0)
    for label, mean in (("dark", 110), ("light", 146)):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(60):
            pixels = rng.normal(mean, 60, (32, 32)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / label / f"{number}.png")


def command(*more: str) -> list[str]:
    return [
        "search", "--data", "images", "--space", "space.yaml", "--budget", "2%", "--study", "s", "--trials", "2",
        "--epochs", str(EPOCHS), "--batch-size", "8", "--confirm-seeds", "0", "--prior", "none", "--fidelity", "none",
        "--sampler", "random", "--workers", "1", *more,
    ]  # fmt: skip


class Search:
    """A search in a process of its own, in a session of its own, and its database."""

    def __init__(self, folder: Path, *more: str, **variables: str) -> None:
        self.folder = folder
        with (folder / "stderr").open("w") as said:
            self.process = subprocess.Popen(
                [*COMMAND, *command(*more)],
                env={**environment(folder), **variables},
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def __enter__(self) -> "Search":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for process in of_session(self.process.pid):  # Ray's own do not always follow
            os.kill(process, signal.SIGKILL)

    @property
    def said(self) -> str:
        return (self.folder / "stderr").read_text()

    def end(self, seconds: float = 400) -> int:
        return self.process.wait(timeout=seconds)

    def worker(self) -> int:
        """The process that trains; Ray calls it by other names between two steps."""
        found: list[int] = []
        assert wait_for(lambda: found.extend(training_workers(self.process.pid)) or found, 20), self.said
        return found[0]

    def wait(self, condition: Callable[[], object], seconds: float = 300) -> None:
        assert wait_for(lambda: self.process.poll() is not None or condition(), seconds), self.said
        assert self.process.poll() is None, self.said


def of_session(session: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def trials(folder: Path) -> list[Trial]:
    if not (folder / "autopeft.db").exists() and not (folder / "database").exists():
        return []
    with Repository.open(database(folder)) as repository:
        study = repository.find_study("s")
        return [] if study is None else repository.trials(study.id)


def training(folder: Path, epochs: int = 2) -> Trial | None:
    """The trial that is being trained, if it has told so many epochs."""
    found = [t for t in trials(folder) if t.status is TrialStatus.RUNNING and len(t.scores) >= epochs]
    return found[0] if found else None


def told(folder: Path) -> dict[tuple[str, str, int], object]:
    """All trials of a study, by what was trained, with all that was measured and does not hang on the clock."""
    found = trials(folder)
    by_key = {
        (str(t.kind), t.configuration.key, t.seed): (
            t.status,
            dict(t.scores),
            t.measurements.get("train_loss"),
        )
        for t in found
    }
    assert len(by_key) == len(found)  # none twice
    return by_key


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.rglob("checkpoint.safetensors*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study to which nothing has happened."""
    folder = tmp_path_factory.mktemp("whole")
    prepare(folder)
    done = autopeft(folder, *command())
    assert done.returncode == 0, done.stderr
    found = trials(folder)
    assert [t.status for t in found] == [TrialStatus.COMPLETE] * 4
    assert all(len(t.scores) == EPOCHS for t in found)
    assert not checkpoints(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, whole: Path) -> Path:
    """The same before the search."""
    shutil.copy(whole / "space.yaml", tmp_path)
    shutil.copytree(whole / "images", tmp_path / "images")
    return tmp_path


def same_as(whole: Path, folder: Path) -> bool:
    ours, theirs = told(folder), told(whole)
    assert ours == theirs
    assert not checkpoints(folder)
    return True


def resumed(folder: Path, *more: str) -> str:
    done = autopeft(folder, "resume", "s", *more)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_driver_is_killed(whole: Path, folder: Path) -> None:
    with Search(folder) as search:
        search.wait(lambda: training(folder))
        search.process.kill()
        search.process.wait()
        assert wait_for(lambda: not training_workers(search.process.pid), 60)
    left = [t for t in trials(folder) if t.status is TrialStatus.RUNNING]
    assert len(left) == len(checkpoints(folder)) == 1
    reported = dict(left[0].scores)
    resumed(folder)
    found = next(t for t in trials(folder) if t.id == left[0].id)
    assert reported.items() <= found.scores.items()
    assert found.attempt == 2
    assert same_as(whole, folder)


@pytest.mark.parametrize("kind", ["", "file://"])  # a folder, and a URL to which files are sent
def test_a_worker_is_killed(whole: Path, folder: Path, kind: str) -> None:
    with Search(folder, AUTOPEFT_ARTIFACTS=f"{kind}{folder}/kept") as search:
        search.wait(lambda: training(folder))
        lost = training(folder)
        assert lost is not None
        os.kill(search.worker(), signal.SIGKILL)
        assert search.end() == 0, search.said
        assert "is taken up again (1 of 2)" in search.said
    found = [t for t in trials(folder) if t.details.get(LOST_WORKERS)]
    assert [t.attempt for t in found] == [2]
    assert "Worker unexpectedly exits" in found[0].details[LOST_WORKERS][0]
    assert same_as(whole, folder)
    assert all(t.artifact.startswith(f"{kind}{folder}/kept/") for t in trials(folder))
    done = autopeft(folder, "export", "s", "--pick", "knee", "--to", "peft", "mine")
    assert done.returncode == 0, done.stderr
    assert (folder / "mine" / "adapter_config.json").exists()


@pytest.mark.parametrize("process", ["gcs_server", "raylet"])  # Ray gives the first a minute to come back
def test_rays_head_is_killed(whole: Path, folder: Path, process: str) -> None:
    with Search(folder) as search:
        search.wait(lambda: training(folder))
        (head,) = [
            pid
            for pid in of_session(search.process.pid)
            if Path(f"/proc/{pid}/comm").read_text().strip() == process
        ]
        os.kill(head, signal.SIGKILL)
        search.end(240)
    assert "Traceback" not in search.said
    resumed(folder)
    assert same_as(whole, folder)


def test_the_database_is_locked_for_a_while(whole: Path, folder: Path) -> None:
    with Search(folder) as search:
        search.wait(lambda: training(folder))
        other = sqlite3.connect(folder / "autopeft.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(15)
        other.execute("ROLLBACK")
        other.close()
        assert search.end() == 0, search.said
        assert "Traceback" not in search.said
    assert same_as(whole, folder)


@contextlib.contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """A new folder on a disk of its own."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """The artifacts' folder on a disk of 16 KiB."""
    with disk(folder / "artifacts", "16k") as place:
        yield place


def test_the_disk_is_full(whole: Path, folder: Path, small_disk: Path) -> None:
    done = autopeft(folder, *command())
    assert done.returncode == 0, done.stderr
    found = trials(folder)
    assert len(found) == 4
    failed = [t for t in found if t.status is TrialStatus.FAILED]
    assert failed
    assert all("could not be written to" in t.reason and "No space left" in t.reason for t in failed)
    assert all(len(t.scores) >= EPOCHS - 1 for t in found)  # no checkpoint, and yet they went on
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    resumed(folder, "--retry-failed")
    again = [t for t in trials(folder) if t.id in [one.id for one in failed]]
    assert all(t.details["earlier_failures"] == [one.reason] for t, one in zip(again, failed, strict=True))
    assert same_as(whole, folder)


def test_the_databases_disk_is_full(whole: Path, folder: Path) -> None:
    with disk(folder / "small", "4m") as small:
        (folder / "database").write_text(f"sqlite:///{small}/autopeft.db")
        with Search(folder) as search:
            search.wait(lambda: training(folder))
            reported = {t.id: dict(t.scores) for t in trials(folder)}
            with contextlib.suppress(OSError), (small / "ballast").open("wb", buffering=0) as ballast:
                while True:
                    ballast.write(bytes(4096))
            assert search.end() == 2, search.said
            assert "cannot use the database" in search.said
            assert "Traceback" not in search.said
        (small / "ballast").unlink()
        assert all(reported[t.id].items() <= t.scores.items() for t in trials(folder) if t.id in reported)
        resumed(folder)
        assert told(folder) == told(whole)


def test_the_databases_server_is_stopped_and_started_again(
    whole: Path, folder: Path, postgres: Postgres
) -> None:
    server = Postgres.make(postgres.programs)  # the session's own is for others
    try:
        (folder / "database").write_text(server.create("faults"))
        done = autopeft(folder, "db", "upgrade")
        assert done.returncode == 0, done.stderr
        with Search(folder, AUTOPEFT_ARTIFACTS=str(folder / "artifacts")) as search:
            search.wait(lambda: training(folder))
            for seconds in (20, 0, 0, 0, 0, 0):  # whatever it is in the midst of
                server.stop()
                time.sleep(seconds)
                server.start()
                time.sleep(0.7)
            assert search.end() == 0, search.said
            assert "the database does not answer, and is waited for" in search.said
            assert "Traceback" not in search.said
        assert same_as(whole, folder)
        assert all(t.attempt == 1 for t in trials(folder))
    finally:
        server.remove()


def test_the_machine_has_no_memory_left(whole: Path, folder: Path) -> None:
    # Ray ends a worker where more of the machine's memory is taken than this; the test takes what is missing.
    memory = psutil.virtual_memory()
    share = (memory.total - memory.available + 5 * 2**30) / memory.total
    monitor = {"RAY_memory_usage_threshold": f"{share:.3f}", "RAY_memory_monitor_refresh_ms": "2000"}
    with Search(folder, "--retries", "50", **monitor) as search:
        search.wait(lambda: training(folder))
        os.kill(search.worker(), signal.SIGSTOP)  # or it is through before the memory is
        taken = np.ones(7 * 2**30, np.uint8)  # takes seconds, in which more than one worker may go
        search.wait(lambda: "is taken up again (1 of 50)" in search.said, 60)
        del taken
        assert search.end() == 0, search.said
    reasons = [reason for t in trials(folder) for reason in t.details.get(LOST_WORKERS, [])]
    assert set(reasons) == {"the worker was lost: its machine ran low on memory, and Ray ended it."}
    assert same_as(whole, folder)


def test_a_loss_is_not_a_number(tmp_path: Path) -> None:
    prepare(tmp_path, rate="1000.0", decay="1.0")  # each step makes every weight a thousand times larger
    done = autopeft(tmp_path, *command())
    assert done.returncode == 0, done.stderr
    found = trials(tmp_path)
    assert len(found) == 4
    assert {t.status for t in found} == {TrialStatus.FAILED}
    assert all(t.reason.startswith(("the training loss is nan", "the training loss is inf")) for t in found)
    assert all(t.attempt == 1 for t in found)  # what fails by itself is not tried again


def test_a_worker_hangs(whole: Path, folder: Path) -> None:
    with Search(folder, "--trial-timeout", "45s") as search:
        search.wait(lambda: training(folder))
        hanging = training(folder)
        assert hanging is not None
        os.kill(search.worker(), signal.SIGSTOP)
        assert search.end() == 0, search.said
    found = trials(folder)
    (failed,) = [t for t in found if t.status is TrialStatus.FAILED]
    assert failed.reason == "it was not through after 45 seconds, its bound."
    assert [t.status for t in found if t is not failed] == [TrialStatus.COMPLETE] * 3
    resumed(folder, "--retry-failed", "--workers", "2")
    assert same_as(whole, folder)


def test_the_data_change_under_a_running_search(whole: Path, folder: Path) -> None:
    changed = folder / "images" / "dark" / "0.png"
    before = changed.read_bytes()
    with Search(folder) as search:
        search.wait(lambda: training(folder))
        changed.write_bytes((folder / "images" / "light" / "0.png").read_bytes())
        os.kill(search.worker(), signal.SIGKILL)  # the next one reads the data
        assert search.end() == 2, search.said
    said = f"the data of '{folder / 'images'}' have changed since the study began"
    assert said in search.said
    assert not any(t.status is TrialStatus.FAILED for t in trials(folder))
    refused = autopeft(folder, "resume", "s")
    assert refused.returncode == 2
    assert said in refused.stderr
    changed.write_bytes(before)
    resumed(folder)
    assert same_as(whole, folder)
