import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from autopeft.errors import StudyError
from autopeft.store import Repository
from autopeft.store.tables import Base


def test_the_migrations_make_exactly_the_models_tables(repository: Repository) -> None:
    with repository._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_constraints_are_named_alike(repository: Repository) -> None:
    # compare_metadata does not look at the names of primary and foreign keys.
    inspector = inspect(repository._engine)
    for table in Base.metadata.tables.values():
        found = {inspector.get_pk_constraint(table.name)["name"]}
        found |= {key["name"] for key in inspector.get_foreign_keys(table.name)}
        found |= {constraint["name"] for constraint in inspector.get_unique_constraints(table.name)}
        assert found == {constraint.name for constraint in table.constraints}


def test_trials_and_measurements_are_indexed(repository: Repository) -> None:
    inspector = inspect(repository._engine)
    indices = {tuple(index["column_names"]) for index in inspector.get_indexes("trial")}
    assert ("study_id", "status") in indices
    key = inspector.get_pk_constraint("measurement")["constrained_columns"]
    assert key == ["trial_id", "objective", "rung"]


def test_opening_again_changes_nothing(repository: Repository, path: Path) -> None:
    repository.create_study("s", {}, 1, "x")
    with Repository.open(str(path)) as other:
        assert [study.name for study in other.studies()] == ["s"]


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_database_of_a_newer_autopeft_is_refused(path: Path) -> None:
    Repository.open(str(path)).close()
    change(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StudyError, match="the revision '9999', which this autopeft does not know"):
        Repository.open(str(path))


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    change(path, "CREATE TABLE trial (x)")
    with pytest.raises(StudyError, match="table trial already exists"):
        Repository.open(str(path))
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("trial",)]
