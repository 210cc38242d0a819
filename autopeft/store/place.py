"""Where the database and the trained adapters are.

Two environment variables move them: `AUTOPEFT_DB` and `AUTOPEFT_ARTIFACTS`, each a path or a URL.
"""

import os
from pathlib import Path

import platformdirs
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from autopeft.errors import StudyError
from autopeft.naming import at_home
from autopeft.store.files import as_path

_SUFFIXES = (".db", ".sqlite", ".sqlite3")


def _data_folder() -> Path:
    # Without an author, Windows would repeat the name: autopeft\autopeft.
    return Path(platformdirs.user_data_dir("autopeft", appauthor=False))


def _sqlite_url(path: Path) -> str:
    return URL.create("sqlite", database=str(at_home(path).absolute())).render_as_string()


def default_url() -> str:
    """The database's URL: `AUTOPEFT_DB` if it is set, else `autopeft.db` in the user's data folder.

    Raises:
        StudyError: `AUTOPEFT_DB` is neither a URL nor a path to a database.
    """
    chosen = os.environ.get("AUTOPEFT_DB", "")
    return parse_url(chosen) if chosen else _sqlite_url(_data_folder() / "autopeft.db")


def parse_url(text: str) -> str:
    """The URL that a person means: an SQLAlchemy URL, or the path of an SQLite file (`.db`, `.sqlite`).

    Paths become absolute, so that the URL means the same file in a process with another working folder.

    Raises:
        StudyError: Neither of the two, or a database in memory, which no second process could read.
    """
    if "://" not in text:
        if not text.endswith(_SUFFIXES):
            raise StudyError(
                f"cannot read the database '{text}': write the path of a file ending in .db, or a URL such as "
                "postgresql://user@host/autopeft."
            )
        return _sqlite_url(Path(text))
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        # Not quoted: a URL that cannot be parsed may still hold a password.
        raise StudyError(
            "cannot read the database's URL: write it as postgresql://user@host/autopeft, or give the path "
            "of a file ending in .db."
        ) from None
    if backend != "sqlite":
        return text
    if not url.database or url.database == ":memory:":
        raise StudyError("a study cannot be kept in memory: give the path of a file ending in .db.")
    if url.database.startswith("file:"):
        raise StudyError(f"cannot read '{text}': give the path of the file, without 'file:'.")
    path = at_home(url.database).absolute()
    return url.set(database=str(path)).render_as_string(hide_password=False)


def database_path(url: str) -> Path | None:
    """The file of an SQLite URL that `parse_url` gave; None for the URL of a server."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def artifact_place(url: str) -> str:
    """Where trained adapters are kept, a folder or a URL; it need not exist yet.

    `AUTOPEFT_ARTIFACTS` if it is set; else `artifacts` in the folder of `folder_beside`.

    Raises:
        StudyError: See `parse_url`.
    """
    chosen = os.environ.get("AUTOPEFT_ARTIFACTS", "")
    if chosen:
        return chosen if as_path(chosen) is None else str(at_home(chosen).absolute())
    return str(folder_beside(url) / "artifacts")


def folder_beside(url: str) -> Path:
    """The folder of this machine for what goes with a database: an SQLite file's own; the user's data folder for a server's.

    Raises:
        StudyError: See `parse_url`.
    """
    path = database_path(parse_url(url))
    return path.parent if path is not None else _data_folder()
