"""`autopeft doctor`, as a person runs it."""

import json
from pathlib import Path

from end_to_end import autopeft

from autopeft.store import Repository


def test_a_machine_without_problems(tmp_path: Path) -> None:
    Repository.open(str(tmp_path / "autopeft.db")).close()
    done = autopeft(tmp_path, "doctor", "--no-ray")
    assert done.returncode == 0, done.stdout
    assert "has the newest schema" in done.stdout
    assert done.stdout.endswith("No problem was found.\n")
    assert "\x1b" not in done.stdout  # no colours in a file


def test_a_problem_says_what_to_do_and_is_an_exit_code(tmp_path: Path) -> None:
    (tmp_path / "autopeft.db").write_text("no database" * 100)
    done = autopeft(tmp_path, "doctor", "--no-ray", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    (broken,) = (one for one in found["findings"] if one["state"] == "problem")
    assert broken["about"] == "database"
    assert broken["remedy"] == "See who else uses the file, or choose another with --db."
    assert found["problem"] == 1


def test_a_url_that_cannot_be_read_is_the_persons_mistake(tmp_path: Path) -> None:
    done = autopeft(tmp_path, "doctor", "--no-ray", "--db", "nothing")
    assert done.returncode == 2
    assert "cannot read the database 'nothing'" in done.stderr
