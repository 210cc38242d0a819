"""Connecting to the database, and bringing its tables up to date."""

import sqlite3
import threading
import time

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from autopeft.errors import StudyError
from autopeft.store.place import database_path

BUSY_SECONDS = 10
"""How long a connection waits for another one's writing before it gives up."""

_alembic = threading.Lock()  # alembic.context is one per process; two threads must not migrate at once


def connect(url: str) -> Engine:
    """An engine for a URL that `parse_url` gave; an SQLite file's folder is made.

    Raises:
        StudyError: The folder cannot be made, or the URL's driver is not installed.
    """
    path = database_path(url)
    if path is None:
        try:
            return create_engine(url, pool_pre_ping=True)
        except ImportError as error:
            raise StudyError(f"{error}.", "Install the driver that the database's URL names.") from error
        except ArgumentError as error:
            raise StudyError(f"cannot use the database's URL: {error}.") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot make the folder '{path.parent}': {error.strerror}.") from error
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def for_writing(engine: Engine) -> Engine:
    """The same engine, where a transaction takes SQLite's write lock at its beginning.

    A transaction that reads first and asks for the lock later is refused at once, without the wait, when
    another one has written in between.
    """
    return engine.execution_options(autopeft_begin="BEGIN IMMEDIATE")


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # SQLAlchemy's recipe for Python 3.11: `_begin_sqlite` begins transactions, not the driver, which would
    # begin them late and commit them early.
    connection.isolation_level = None
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")
        _use_write_ahead_log(connection)
    except sqlite3.Error:
        connection.close()
        raise


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # SQLite does not wait for the lock that this change needs, so two processes that open a new file at the
    # same moment meet here. `synchronous` stays FULL: what is committed survives a power cut.
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("autopeft_begin", "BEGIN"))


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest revision, in one transaction; an up-to-date database is only read.

    Raises:
        StudyError: Not a database, not ours, or written by a newer autopeft.
    """
    with _alembic:
        config = Config()
        config.set_main_option("script_location", "autopeft.store:migrations")
        config.set_main_option("path_separator", "os")
        script = ScriptDirectory.from_config(config)
        try:
            with engine.connect() as connection:
                if _is_newest(connection, script):
                    return
            with for_writing(engine).begin() as connection:
                if connection.dialect.name == "postgresql":
                    # What BEGIN IMMEDIATE does for SQLite: the second of two processes waits, and finds it done.
                    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('autopeft'))"))
                if not _is_newest(connection, script):
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        except DBAPIError as error:
            raise unusable(engine, error) from error


def _is_newest(connection: Connection, script: ScriptDirectory) -> bool:
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise StudyError(
            f"the database {name_of(connection.engine)} has the revision '{current}', which this autopeft does "
            "not know: it was written by a newer autopeft, or by another program.",
            "Update autopeft, or choose another database.",
        )
    return current == script.get_current_head()


def name_of(engine: Engine) -> str:
    """The database as a person may see it: the file, or the URL with its password hidden."""
    url = engine.url
    return f"'{url.database if url.get_backend_name() == 'sqlite' else url.render_as_string()}'"


def unusable(engine: Engine, error: DBAPIError) -> StudyError:
    """The sentence for a database that answers with an error."""
    # The first line says what; a server goes on with the statement and where in it.
    said = str(error.orig).strip().partition("\n")[0]
    return StudyError(f"cannot use the database {name_of(engine)}: {said}.")
