import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres import Postgres
from sqlalchemy import inspect

from autopeft.errors import StudyError
from autopeft.nouns import Configuration, JobState, TrialKind, TrialStatus
from autopeft.store import Lookout, Repository, queue, upgrade
from autopeft.store.engine import connect
from autopeft.store.schema import _migrations
from autopeft.store.tables import Base

from .conftest import on_postgres


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


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A database that the first version wrote: `databases/0001.sql` is its dump, of a search that was killed."""
    path = tmp_path / "first.db"
    connection = sqlite3.connect(path)
    connection.executescript((Path(__file__).parent / "databases" / "0001.sql").read_text(encoding="utf-8"))
    connection.close()
    return path


def test_a_database_of_the_first_version_goes_on(first: Path) -> None:
    with Repository.open(str(first)) as repository:
        study = repository.get_study("digits")
        assert (study.settings["budget"], study.limit, study.reference_score) == ("0.5%", 1000, 0.625)
        assert study.owner == ""  # nobody had written it down
        trials = repository.trials(study.id)
        head, best, failed, stopped, running, waiting = trials
        assert (head.scores, head.score, head.measurements) == (
            {1: 0.5, 2: 0.625},
            0.625,
            {"train_loss": 0.5, "seconds": 2.5, "test_score": 0.6},
        )
        assert (best.score, best.artifact) == (0.75, "/artifacts/digits/trial-1")
        assert (failed.status, failed.reason) == (TrialStatus.FAILED, "out of memory")
        assert (stopped.status, stopped.scores) == (TrialStatus.STOPPED, {1: 0.25})
        assert (running.status, running.attempt, waiting.status) == (
            TrialStatus.RUNNING,
            1,
            TrialStatus.WAITING,
        )
        assert [front.members for front in repository.fronts(study.id)] == [(1,)]
        # What the killed search of the first version was training is nobody's, and is taken up again.
        repository.join(study.id, owner="a", host="here", pid=1)
        claimed = [repository.claim(study.id, "a") for _ in range(3)]
        assert [None if trial is None else trial.number for trial in claimed] == [4, 5, None]
        assert repository.start_trial(running.id, "a").attempt == 2
        added = repository.propose(study.id, TrialKind.SEARCH, Configuration.of([], 0.1), 0, 1, owner="a")
        assert added is not None
        assert added.number == 6


def test_the_tables_of_a_first_version_become_the_models(first: Path) -> None:
    upgrade(str(first))
    with Repository.open(str(first)) as repository:
        test_the_migrations_make_exactly_the_models_tables(repository)
        test_the_constraints_are_named_alike(repository)
        with repository._engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


def test_a_server_of_the_first_version_is_upgraded(postgres: Postgres) -> None:
    url = postgres.create("first_version")
    engine = connect(url)
    with engine.begin() as connection:
        config, *_ = _migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO study (name, settings, parameter_limit, space, created_at, lease_owner) "
            "VALUES ('s', '{}', 1, 'x', '2026', 'a')"
        )
    engine.dispose()
    assert upgrade(url)[0] == "0001"
    with Repository.open(url) as repository:
        test_the_migrations_make_exactly_the_models_tables(repository)
        assert [study.name for study in repository.studies()] == ["s"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_queue_of_the_third_revision_goes_on(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/third.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").create("third_revision")
    engine = connect(url)
    with engine.begin() as connection:
        config, *_ = _migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.exec_driver_sql(
            "INSERT INTO job (study, arguments, folder, owner, priority, state, server_host, server_pid, server_start, "
            "heartbeat_at, log, reason, created_at) VALUES ('s', '[\"--seed\", \"1\"]', '/f', 'me', 2, 'running', 'there', 7, "
            "'5', '2026-11-01T00:00:00.000+00:00', '/log', '', '2026-11-01T00:00:00.000+00:00')"
        )
    engine.dispose()
    assert upgrade(url)[0] == "0003"
    with Repository.open(url) as repository:
        test_the_migrations_make_exactly_the_models_tables(repository)
        (job,) = queue.jobs(repository)
        assert (job.study, job.arguments, job.owner, job.state) == (
            "s",
            ("--seed", "1"),
            "me",
            JobState.RUNNING,
        )
        lookout = Lookout("here", patience=2)
        assert [len(queue.free(repository, lookout)) for _ in range(3)] == [0, 0, 1]  # silent


def test_opening_again_changes_nothing(repository: Repository) -> None:
    repository.create_study("s", {}, 1, "x")
    with Repository.open(repository.url) as other:
        assert [study.name for study in other.studies()] == ["s"]


def change(url: str, statement: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_database_of_a_newer_autopeft_is_refused(url: str) -> None:
    Repository.open(url).close()
    change(url, "UPDATE alembic_version SET version_num = '9999'")
    for use in (Repository.open, upgrade):
        with pytest.raises(StudyError, match="the revision '9999', which this autopeft does not know"):
            use(url)


@on_postgres
def test_a_server_that_is_behind_says_what_to_run(url: str) -> None:
    newest = upgrade(url)[1]
    change(url, "UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(
        StudyError, match=rf"has the revision '0001', not '{newest}'\. Run `autopeft db upgrade`"
    ):
        Repository.open(url)


def test_an_empty_database_of_a_server_is_upgraded_first(postgres: Postgres) -> None:
    url = postgres.create("empty")
    with pytest.raises(StudyError, match=r"has no tables yet\. Run `autopeft db upgrade`"):
        Repository.open(url)
    before, newest = upgrade(url)
    assert before is None
    assert upgrade(url) == (newest, newest)
    with Repository.open(url) as repository:
        assert repository.studies() == []


def test_many_upgrade_a_server_at_once(postgres: Postgres) -> None:
    url = postgres.create("upgraded_at_once")
    with ThreadPoolExecutor(
        4
    ) as pool:  # threads of one process take turns; a lock in the database is for several
        assert len({now for _, now in pool.map(upgrade, [url] * 4)}) == 1
    Repository.open(url).close()


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    change(f"sqlite:///{path}", "CREATE TABLE trial (x)")
    with pytest.raises(StudyError, match="table trial already exists"):
        Repository.open(str(path))
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("trial",)]
