"""Whether a database has the tables that this autopeft works with, and bringing them up to date."""

import threading

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from autopeft.errors import StudyError
from autopeft.store.engine import connect, for_writing, is_postgres, name_of, unusable
from autopeft.store.place import parse_url

_alembic = threading.Lock()  # alembic.context is one per process; two threads must not migrate at once


def upgrade(url: str) -> tuple[str | None, str]:
    """Bring the tables of a database to the newest revision; what is up to date stays as it is.

    Args:
        url: As `parse_url` reads it.

    Returns:
        The revision that it had, None if it had no tables, and the one that it has now.

    Raises:
        StudyError: It cannot be opened, is not a database of ours, or was written by a newer autopeft.
    """
    engine = connect(parse_url(url))
    try:
        return migrate(engine)
    finally:
        engine.dispose()


def migrate(engine: Engine) -> tuple[str | None, str]:
    """As `upgrade`, in one transaction; an up-to-date database is only read."""
    with _alembic:
        config, script, newest = _migrations()
        try:
            with engine.connect() as connection:
                before = _revision(connection, script)
            if before == newest:
                return before, newest
            with for_writing(engine).begin() as connection:
                if is_postgres(engine):
                    # What BEGIN IMMEDIATE does for SQLite: the second of two processes waits, and finds it done.
                    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('autopeft'))"))
                if _revision(connection, script) != newest:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        except DBAPIError as error:
            raise unusable(engine, error) from error
        return before, newest


def require_newest(engine: Engine) -> None:
    """Refuse a server's database whose tables are not those of this autopeft: others may be at work in it.

    Raises:
        StudyError: It is behind, which `autopeft db upgrade` mends; or it does not answer, or a newer autopeft wrote it.
    """
    _, script, newest = _migrations()
    try:
        with engine.connect() as connection:
            revision = _revision(connection, script)
    except DBAPIError as error:
        raise unusable(engine, error) from error
    if revision != newest:
        found = "no tables yet" if revision is None else f"the revision '{revision}', not '{newest}'"
        raise StudyError(
            f"the database {name_of(engine)} has {found}.",
            "Run `autopeft db upgrade` on it first, while nothing else uses it.",
        )


def _migrations() -> tuple[Config, ScriptDirectory, str]:
    """Alembic's settings, the migrations that there are, and the newest."""
    config = Config()
    config.set_main_option("script_location", "autopeft.store:migrations")
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    newest = script.get_current_head()
    assert newest is not None
    return config, script, newest


def _revision(connection: Connection, script: ScriptDirectory) -> str | None:
    """The revision of a database; None if it has no tables of ours."""
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise StudyError(
            f"the database {name_of(connection.engine)} has the revision '{current}', which this autopeft does "
            "not know: it was written by a newer autopeft, or by another program.",
            "Update autopeft, or choose another database.",
        )
    return current
