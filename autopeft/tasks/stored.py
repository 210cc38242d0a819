"""Encoded splits in files, for all workers of a machine: encoded by one of them, mapped into memory by all.

Only arrays and JSON are written. A file that cannot be written is no failure: the split is then encoded by every worker.
"""

import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from autopeft.tasks.batches import Encoded, EncodedImages, EncodedText
from autopeft.tasks.sequences import EncodedSequences

_DESCRIBED = "split.json"


class Ragged(Sequence[list[int]]):
    """Lists of ids of different lengths in one array.

    >>> rows = Ragged.of([[1, 2], [], [3]])
    >>> rows[0], rows[2], len(rows)
    ([1, 2], [3], 3)
    """

    def __init__(self, flat: NDArray[np.int32], starts: NDArray[np.int64]) -> None:
        """`starts` has the beginning of each list in `flat`, and the end of the last: (n + 1,)."""
        self.flat = flat
        self.starts = starts

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        """The same lists."""
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        starts = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
        flat = np.fromiter((i for row in rows for i in row), np.int32, int(starts[-1]))
        return cls(flat, starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[list[int]]": ...
    def __getitem__(self, index: int | slice) -> "list[int] | Sequence[list[int]]":
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        found: list[int] = self.flat[self.starts[index] : self.starts[index + 1]].tolist()
        return found


def encoded_once(folder: Path, make: Callable[[], Encoded], preprocessor: Any) -> Encoded:
    """A split, from its files; made and written if it is not there. Others that ask meanwhile wait.

    Args:
        folder: Of this split alone.
        make: Encodes it.
        preprocessor: That pads texts.
    """
    encoded: Encoded | None = None
    beside = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                encoded = make()
                _write(encoded, beside)
                beside.rename(
                    folder
                )  # so it is there as a whole, and what others have mapped is never written to
            return _read(folder, preprocessor)
    except OSError:  # no room, or a folder that is being taken away, with the lock in it
        return make() if encoded is None else encoded
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(encoded: Encoded, folder: Path) -> None:
    folder.mkdir(parents=True)
    described: dict[str, Any]
    if isinstance(encoded, EncodedImages):
        described = {"kind": "images"}
        np.save(folder / "pixel_values.npy", encoded.pixel_values.numpy())
    elif isinstance(encoded, EncodedText):
        described = {"kind": "text", "features": list(encoded.features)}
        for name, rows in encoded.features.items():
            _write_ragged(folder, name, rows)
    else:
        described = {"kind": "sequences", "padding": encoded.padding, "start": encoded.start}
        _write_ragged(folder, "inputs", encoded.inputs)
        _write_ragged(folder, "targets", encoded.targets)
    if not isinstance(encoded, EncodedSequences):
        np.save(folder / "labels.npy", encoded.labels.numpy())
    (folder / _DESCRIBED).write_text(json.dumps(described), encoding="utf-8")


def _write_ragged(folder: Path, name: str, rows: Sequence[Sequence[int]]) -> None:
    ragged = Ragged.of(rows)
    np.save(folder / f"{name}.npy", ragged.flat)
    np.save(folder / f"{name}-starts.npy", ragged.starts)


def _read(folder: Path, preprocessor: Any) -> Encoded:
    described = json.loads((folder / _DESCRIBED).read_text(encoding="utf-8"))
    if described["kind"] == "sequences":
        return EncodedSequences(
            _ragged(folder, "inputs"), _ragged(folder, "targets"), described["padding"], described["start"]
        )
    labels = torch.from_numpy(np.load(folder / "labels.npy"))
    if described["kind"] == "images":
        return EncodedImages(torch.from_numpy(_mapped(folder / "pixel_values.npy")), labels)
    features = {name: _ragged(folder, name) for name in described["features"]}
    return EncodedText(features, labels, preprocessor)


def _ragged(folder: Path, name: str) -> Ragged:
    return Ragged(_mapped(folder / f"{name}.npy"), np.load(folder / f"{name}-starts.npy"))


def _mapped(path: Path) -> NDArray[Any]:
    # "c": a page is copied where it is written to, which nobody does, but torch wants it to be possible.
    found: NDArray[Any] = np.load(path, mmap_mode="c")
    return found
