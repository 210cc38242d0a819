"""The database: tables, migrations, and the repository that turns rows into nouns and back."""

from autopeft.store.lease import LOST_WORKERS, Lookout
from autopeft.store.place import artifact_place, default_url, folder_beside, parse_url
from autopeft.store.repository import EARLIER_FAILURES, Repository
from autopeft.store.schema import upgrade

__all__ = [
    "EARLIER_FAILURES",
    "LOST_WORKERS",
    "Lookout",
    "Repository",
    "artifact_place",
    "default_url",
    "folder_beside",
    "parse_url",
    "upgrade",
]
