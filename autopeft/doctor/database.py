"""The database: can it be reached and written to, and do its tables fit this autopeft? Nothing is made or migrated."""

import sqlite3
import tempfile
from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from autopeft.doctor.finding import Finding, note, ok, problem
from autopeft.doctor.machine import nearest_folder
from autopeft.errors import AutopeftError
from autopeft.store.engine import connect, for_writing, name_of, unusable
from autopeft.store.place import database_path

_OF_A_NETWORK = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "ceph", "beegfs", "afs", "glusterfs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.ceph"),
)


def check_database(url: str) -> list[Finding]:
    """The database of a URL that `parse_url` gave."""
    path = database_path(url)
    found = [] if path is None else check_file_system(path.parent)
    if path is not None and not path.exists():
        return [*found, note("database", f"'{path}' is not there yet: the first search makes it")]
    try:
        engine = connect(url)
    except AutopeftError as error:
        return [problem("database", error.message, error.hint or "Choose another database with --db.")]
    try:
        return [*found, *_check_open(engine)]
    except DBAPIError as error:
        server = "See that the server runs, and that the URL's user, password and database are right."
        file = "See who else uses the file, or choose another with --db."
        return [
            *found,
            problem("database", unusable(engine, error).message, server if path is None else file),
        ]
    finally:
        engine.dispose()


def _check_open(engine: Engine) -> list[Finding]:
    name = name_of(engine)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    config = Config()
    config.set_main_option("script_location", "autopeft.store:migrations")
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    if current is not None and current not in {one.revision for one in script.walk_revisions()}:
        remedy = "Update autopeft, or choose another database with --db."
        return [
            problem(
                "database",
                f"{name} has the schema '{current}' of a newer autopeft, or of another program",
                remedy,
            )
        ]
    with for_writing(engine).connect() as connection, connection.begin() as begun:
        if connection.dialect.name == "postgresql":
            connection.execute(text("CREATE TEMPORARY TABLE autopeft_doctor (x integer) ON COMMIT DROP"))
        elif current is not None:
            # Rolled back; an open transaction alone would not notice a file that is read only.
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
        begun.rollback()
    if current != script.get_current_head():
        state = "has no tables yet" if current is None else f"has the older schema '{current}'"
        return [note("database", f"{name} answers, and {state}", "The next search brings it up to date.")]
    return [ok("database", f"{name} answers, can be written to, and has the newest schema ({current})")]


def check_file_system(folder: Path, mounts: str | None = None) -> list[Finding]:
    """Whether SQLite's write-ahead log works where its file is.

    Args:
        folder: Of the file.
        mounts: As /proc/mounts has them; by default those of this machine.
    """
    there = nearest_folder(folder)
    try:
        mounts = Path("/proc/mounts").read_text() if mounts is None else mounts
    except OSError:  # not Linux
        mounts = ""
    kind = _file_system(there, mounts)
    if kind in _OF_A_NETWORK:
        return [
            problem(
                "database",
                f"{there} is on a network file system ({kind}), on which SQLite loses what several processes write",
                "Keep the file on a local disk with --db, or use PostgreSQL.",
            )
        ]
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".autopeft-doctor-") as trial:
            connection = sqlite3.connect(Path(trial) / "trial.db")
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                connection.execute("CREATE TABLE x (y)")
            finally:
                connection.close()
    except (OSError, sqlite3.Error) as error:
        return [
            problem(
                "database", f"SQLite cannot write in {there}: {error}", "Choose another folder with --db."
            )
        ]
    if mode != "wal":
        remedy = "Choose a folder on a local disk with --db."
        return [problem("database", f"SQLite's write-ahead log does not work in {there}", remedy)]
    return []


def _file_system(folder: Path, mounts: str) -> str:
    """The kind of file system that a folder is on; empty where it is not known."""
    kinds = {}
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        kinds[Path(place.replace("\\040", " "))] = kind
    return next((kinds[one] for one in (folder.resolve(), *folder.resolve().parents) if one in kinds), "")
