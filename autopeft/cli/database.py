"""Opening the database that a person means, to read it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from autopeft.errors import StudyError

if TYPE_CHECKING:
    from autopeft.store import Repository


def database_url(db: str | None) -> str:
    """The URL that `--db` means, or the default one. Raises: StudyError, if it is neither path nor URL."""
    from autopeft.store import default_url, parse_url

    return parse_url(db) if db else default_url()


def is_absent(url: str) -> bool:
    """Whether the URL is that of an SQLite file that is not there."""
    from autopeft.store.place import database_path

    path = database_path(url)
    return path is not None and not path.exists()


@contextmanager
def reading(db: str | None) -> Iterator["Repository"]:
    """The repository of `--db`. A file that is not there is not made: nothing could be read from it.

    Raises:
        StudyError: There is no such database, or it cannot be opened.
    """
    from autopeft.store import Repository
    from autopeft.store.place import database_path

    url = database_url(db)
    if is_absent(url):
        raise StudyError(
            f"there is no database '{database_path(url)}'.",
            "`autopeft search` makes one; --db names another.",
        )
    with Repository.open(url) as repository:
        yield repository
