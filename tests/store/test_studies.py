import math
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from autopeft.errors import StudyError
from autopeft.nouns import Study
from autopeft.store import Repository

from .conftest import on_sqlite


def test_a_study_is_read_back_as_it_was_made(repository: Repository) -> None:
    settings = {"task": {"columns": ["a", "b"]}, "budget": "0.5%", "ünï": None}
    made = repository.create_study("my study", settings, limit=5000, space="lora", owner="ada")
    assert made.settings == settings
    assert made.owner == "ada"
    assert list(made.settings) == list(settings)
    assert (made.limit, made.space, made.reference_score) == (5000, "lora", None)
    assert made.created_at.endswith("+00:00")
    assert repository.find_study("my study") == made
    assert repository.get_study("my study") == made


def test_studies_are_listed_newest_first(repository: Repository) -> None:
    assert repository.studies() == []
    for name in ("b", "a", "c"):
        repository.create_study(name, {}, 1, "x")
    assert [study.name for study in repository.studies()] == ["c", "a", "b"]


def test_a_name_is_given_once(repository: Repository, study: Study) -> None:
    with pytest.raises(StudyError, match="already a study 's'"):
        repository.create_study("s", {}, 1, "x")
    assert len(repository.studies()) == 1


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_name_has_a_length(repository: Repository, name: str) -> None:
    with pytest.raises(StudyError, match="1 to 200 characters"):
        repository.create_study(name, {}, 1, "x")


def test_an_unknown_study_is_answered_with_the_known_ones(repository: Repository) -> None:
    assert repository.find_study("x") is None
    with pytest.raises(StudyError, match="unknown study 'x': known are none"):
        repository.get_study("x")
    repository.create_study("reviews", {}, 1, "x")
    with pytest.raises(StudyError, match=r"known are reviews\. Did you mean 'reviews'\?"):
        repository.get_study("review")


def test_a_name_is_data_never_sql(repository: Repository, study: Study) -> None:
    name = "'; DROP TABLE study; --"
    repository.create_study(name, {}, 1, "x")
    assert repository.get_study(name).name == name
    assert repository.find_study("s") == study


def test_the_reference_score_is_set_once(repository: Repository, study: Study) -> None:
    assert repository.set_reference_score(study.id, 0.0)
    assert not repository.set_reference_score(study.id, 0.5)
    assert repository.get_study("s").reference_score == 0.0
    with pytest.raises(ValueError, match="not a finite number"):
        repository.set_reference_score(study.id, math.nan)
    with pytest.raises(StudyError, match="no study with the id 99"):
        repository.set_reference_score(99, 0.5)


def test_the_url_opens_the_same_database(repository: Repository, study: Study) -> None:
    with Repository.open(repository.url) as other:
        assert other.studies() == [study]


@on_sqlite
def test_every_connection_is_set_up(repository: Repository) -> None:
    engine: Engine = repository._engine
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
            ]
            assert found == ["wal", 1, 60_000, 2]


@on_sqlite
def test_writing_takes_the_lock_at_the_beginning_and_reading_does_not(
    repository: Repository, study: Study
) -> None:
    began: list[str] = []
    event.listen(
        repository._engine,
        "before_cursor_execute",
        lambda c, cursor, statement, *rest: began.append(statement) if "BEGIN" in statement else None,
    )
    repository.studies()
    repository.beat("x")
    assert began == ["BEGIN", "BEGIN IMMEDIATE"]


@on_sqlite
def test_a_database_that_stays_locked_is_one_sentence(repository: Repository, study: Study) -> None:
    with repository._writer.begin(), Repository.open(repository.url) as other:
        # Not the minute of BUSY_SECONDS.
        event.listen(other._engine, "checkout", lambda c, record, proxy: c.execute("PRAGMA busy_timeout = 1"))
        with pytest.raises(StudyError, match=r"cannot use the database '.*autopeft.db': database is locked"):
            other.create_study("t", {}, 1, "x")
        assert other.studies() == [study]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear database, " * 100, encoding="utf-8")
    with pytest.raises(StudyError, match=r"cannot use the database '.*letter.db': file is not a database"):
        Repository.open(str(path))


def test_a_place_that_cannot_hold_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="cannot make the folder"):
        Repository.open(str(tmp_path / "file" / "a.db"))
    (tmp_path / "b.db").mkdir()
    with pytest.raises(StudyError, match="unable to open database file"):
        Repository.open(str(tmp_path / "b.db"))


def test_a_url_without_its_driver_is_one_sentence() -> None:
    with pytest.raises(StudyError, match="Install the driver"):
        Repository.open("mssql+pymssql://user:secret@host/autopeft")
    with pytest.raises(StudyError, match="cannot use the database's URL"):
        Repository.open("nosuch://user:secret@host/autopeft")
