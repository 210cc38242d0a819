"""What is asked of the queue, without a server."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from autopeft.cli.app import app
from autopeft.nouns import JobState
from autopeft.store import Repository, queue
from autopeft.store.queue import Server


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = str(tmp_path / "autopeft.db")
    monkeypatch.setenv("AUTOPEFT_DB", path)
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_search_is_asked_for_as_it_would_be_run(
    db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    words = ("--space", "mine.yaml", "--budget", "1%", "--study", "s", "--db", db, "--prior", "none")
    done = run("submit", "--priority", "2", *words)
    assert done.exit_code == 0, done.output
    assert "s is in the queue" in done.stdout
    (job,) = json.loads(run("jobs", "--json").stdout)
    place = str(tmp_path / "mine.yaml")
    assert job["arguments"] == ["--budget", "1%", "--space", place, "--prior", "none", "--study", "s"]
    assert (job["state"], job["priority"], job["folder"]) == ("waiting", 2, str(tmp_path))


def test_a_study_without_a_name_gets_one(db: str) -> None:
    first, second = (json.loads(run("submit", "--json").stdout)["study"] for _ in range(2))
    assert first != second
    assert first.startswith("starter-")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "lots"), "cannot read the budget 'lots'"),
        (("--bugdet", "1%"), "No such option"),
        (("--trials", "none"), "Invalid value"),
        (("--model", "m"), "there are no data"),
        (("--time", "soon"), "cannot read the time"),
    ],
)
def test_what_cannot_be_is_said_at_once(words: tuple[str, ...], said: str, db: str) -> None:
    done = run("submit", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert not Path(db).exists()


def test_pause_resume_and_cancel(db: str) -> None:
    run("submit", "--study", "s")
    assert run("pause", "s").stdout == "s is paused.\n"
    assert run("resume", "s").stdout == "s is waiting.\n"
    assert json.loads(run("cancel", "s", "--json").stdout)["state"] == "cancelled"
    refused = run("pause", "s")
    assert refused.exit_code == 2
    assert "cannot become paused: it is cancelled" in refused.stderr
    assert "cancelled" in run("jobs").stdout
    assert run("resume", "s").stdout == "s is waiting.\n"  # a job that was left goes back into the queue
    unknown = run("resume", "other")
    assert unknown.exit_code == 2
    assert "unknown study 'other'" in unknown.stderr


def test_logs_are_printed_from_this_machine_only(db: str, tmp_path: Path) -> None:
    run("submit", "--study", "s")
    assert run("logs", "s").stdout == ""
    with Repository.open(db) as repository:
        job = queue.take(repository, Server("far-away", 7), str(tmp_path))
        assert job is not None
        done = run("logs", "s")
        assert done.exit_code == 2
        assert f"it is '{job.log}' of far-away, process 7" in done.stderr
        Path(job.log).write_text("begun\nended\n")
        queue.end(repository, Server("far-away", 7), job, JobState.DONE)
    assert run("logs", "s", "--follow").stdout == "begun\nended\n"
