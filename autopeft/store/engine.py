"""Connecting to the database: SQLite and PostgreSQL, so that a transaction means the same on both.

A transaction that reads sees one moment of the database, and waits for nobody. A transaction that writes sees what was
committed when it has its lock: on SQLite the file's, taken at its beginning; on PostgreSQL that of the study's or the trial's
row, which every method of the repository takes first (READ COMMITTED: what waited for a lock then reads what the one before
has written, and nothing has to be tried again).
"""

import functools
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from autopeft.errors import CutOffError, StudyError
from autopeft.store.place import database_path

logger = logging.getLogger(__name__)

BUSY_SECONDS = 60
"""How long a connection waits for another one's writing, or for a server that was there before, until it gives up.

SQLite's lock goes to whoever asks in the right moment, and who waits asks ten times a second: of eight processes that do nothing but
write, one may go without for many seconds.
"""

_AGAIN_SECONDS = 2.0
_FROZEN_SECONDS = 30  # after which a server ends a transaction whose process says nothing more


def connect(url: str, *, read_only: bool = False) -> Engine:
    """An engine for a URL that `parse_url` gave; an SQLite file's folder is made.

    Args:
        url: The URL.
        read_only: The database itself refuses every change that comes over this engine.

    Raises:
        StudyError: The folder cannot be made, or the URL's driver is not installed.
    """
    path = database_path(url)
    if path is None:
        return _connect_server(url, read_only=read_only)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot make the folder '{path.parent}': {error.strerror}.") from error
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    if read_only:
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only = ON"))
    return engine


def _connect_server(url: str, *, read_only: bool) -> Engine:
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(parsed, pool_pre_ping=True, isolation_level="READ COMMITTED")
    except ImportError as error:
        if parsed.drivername == "postgresql+psycopg":
            hint = 'Install it with `pip install "autopeft[postgres]"`.'
        else:
            hint = "Install the driver that the database's URL names."
        raise StudyError(f"{error}.", hint) from error
    except ArgumentError as error:
        raise StudyError(f"cannot use the database's URL: {error}.") from error
    event.listen(engine, "do_connect", _patient())
    if is_postgres(engine):
        event.listen(engine, "connect", _set_up_postgres)
        if read_only:
            event.listen(engine, "connect", _read_only_postgres)
    return engine


def _patient() -> Callable[[Dialect, object, Sequence[Any], Mapping[str, Any]], Any]:
    """Connects to a server, and waits for one that was there before: it may be started again.

    Between two transactions nobody notices a server that was away. Of one in whose midst it went see `tried_again`.
    """
    met = False

    def reach(dialect: Dialect, _record: object, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        nonlocal met
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                connection = dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                if not met or time.monotonic() > until:
                    raise
                logger.warning("the database does not answer, and is waited for: %s", first_line(error))
                time.sleep(_AGAIN_SECONDS)
            else:
                met = True
                return connection

    return reach


def is_sqlite(engine: Engine) -> bool:
    """Whether the database is an SQLite file."""
    return engine.url.get_backend_name() == "sqlite"


def is_postgres(engine: Engine) -> bool:
    """Whether the database is a PostgreSQL server's."""
    return engine.url.get_backend_name() == "postgresql"


def for_writing(engine: Engine) -> Engine:
    """The same engine, where a transaction takes SQLite's write lock at its beginning.

    A transaction that reads first and asks for the lock later is refused at once, without the wait, when
    another one has written in between.
    """
    return engine.execution_options(autopeft_begin="BEGIN IMMEDIATE")


def for_reading(engine: Engine) -> Engine:
    """The same engine, where all that a transaction reads is of one moment. On SQLite every transaction is so."""
    return engine.execution_options(isolation_level="REPEATABLE READ") if is_postgres(engine) else engine


def _set_up_postgres(connection: Any, _record: object) -> None:
    # What SQLite's busy timeout is; and a process that was frozen with a lock in its hand must not stop the others.
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
    connection.execute(f"SET idle_in_transaction_session_timeout = '{_FROZEN_SECONDS}s'")
    connection.autocommit = False


def _read_only_postgres(connection: Any, _record: object) -> None:
    connection.autocommit = True
    connection.execute("SET default_transaction_read_only = on")
    connection.autocommit = False


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


def name_of(engine: Engine) -> str:
    """The database as a person may see it: the file, or the URL with its password hidden."""
    url = engine.url
    return f"'{url.database if url.get_backend_name() == 'sqlite' else url.render_as_string()}'"


def unusable(engine: Engine, error: DBAPIError) -> StudyError:
    """The sentence for a database that answers with an error, or has gone away."""
    kind = CutOffError if error.connection_invalidated else StudyError
    return kind(f"cannot use the database {name_of(engine)}: {first_line(error.orig)}.")


P = ParamSpec("P")
T = TypeVar("T")


def tried_again(method: Callable[P, T]) -> Callable[P, T]:
    """Call a method again whose transaction was cut off by a server that went away; the next one waits until it is back.

    The transaction may have been committed and only the answer lost. So this is for what changes nothing when it is done twice, also
    if others have been at work in between, and answers the same as far as its caller depends on that.
    """

    @functools.wraps(method)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return method(*args, **kwargs)
            except CutOffError as error:
                if time.monotonic() > until:
                    raise
                logger.warning("what the database was about is tried again: %s", error)

    return again


def first_line(error: BaseException | None) -> str:
    """What a database's error says; a server goes on with the statement and where in it."""
    return str(error).strip().partition("\n")[0]
