"""Data sets of the Hugging Face hub."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autopeft.errors import DataError, nearest

if TYPE_CHECKING:
    from datasets import Dataset


def load_hub(identifier: str) -> dict[str, "Dataset"]:
    """The splits of a data set, by name. Downloaded once, into the library's own cache.

    Args:
        identifier: `owner/name`, or `owner/name:configuration`.

    Raises:
        DataError: It does not exist or cannot be loaded, or the hub cannot be reached.
    """
    import datasets

    name, _, configuration = identifier.partition(":")
    try:
        found = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # whatever a library, a network or somebody's data may raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"'{identifier}' is no file or folder here, and as a data set of the Hugging Face hub it cannot be "
            f"loaded ({reason}): local csv, tsv, json, jsonl, parquet files and image folders need no network.",
            nearest(identifier, ["starter", *(p.name for p in Path().iterdir())]),
        ) from None
    return {str(split): rows for split, rows in found.items()}


def hub_fingerprint(splits: Mapping[str, "Dataset"]) -> str:
    """64 hexadecimal digits from the fingerprints that `datasets` gives the splits."""
    prints = "-".join(rows._fingerprint for rows in splits.values())
    return hashlib.sha256(prints.encode()).hexdigest()
