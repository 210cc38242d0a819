"""The database: tables, migrations, and the repository that turns rows into nouns and back."""

from autopeft.store.place import artifact_folder, default_url, parse_url
from autopeft.store.repository import Repository

__all__ = ["Repository", "artifact_folder", "default_url", "parse_url"]
