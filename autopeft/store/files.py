"""Files of trials at a place: a folder, or a URL that fsspec knows, such as `s3://bucket/studies`.

A file at a URL is written on this machine first, and then sent. What was cut off while it was sent is for its reader to notice:
a place on another machine promises less than a disk.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autopeft.errors import InputError

Place = str | os.PathLike[str]
"""A path of this machine, or a URL."""


def as_path(place: Place) -> Path | None:
    """The path of a place on this machine; None of a URL."""
    return None if "://" in os.fspath(place) else Path(place)


def join(place: Place, *names: str) -> str:
    """A place below another one.

    >>> join("s3://bucket/studies/", "mine", "trial-1")
    's3://bucket/studies/mine/trial-1'
    """
    path = as_path(place)
    return "/".join([os.fspath(place).rstrip("/"), *names]) if path is None else str(path.joinpath(*names))


def check(place: Place) -> None:
    """See that files can be written at a place.

    Raises:
        InputError: They cannot, or what reaches the place is not installed.
    """
    probe = join(place, f".autopeft-{os.getpid()}")
    try:
        with written(probe) as file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
        remove(probe)
    except (ImportError, OSError, ValueError) as error:
        raise InputError(f"cannot write at '{os.fspath(place)}', where adapters go: {error}.") from error


@contextlib.contextmanager
def written(place: Place) -> Iterator[Path]:
    """A path at which a file or a folder is to be written; it is at its place when the context ends.

    Raises:
        OSError: It could not be sent.
    """
    path = as_path(place)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="autopeft-") as folder:
        local = Path(folder) / os.fspath(place).rstrip("/").rpartition("/")[2]
        yield local
        with _reached(place) as (system, remote):
            for file in [local] if local.is_file() else sorted(f for f in local.rglob("*") if f.is_file()):
                there = remote if file == local else f"{remote}/{file.relative_to(local).as_posix()}"
                system.makedirs(there.rpartition("/")[0], exist_ok=True)
                system.put_file(str(file), there)


@contextlib.contextmanager
def fetched(place: Place) -> Iterator[Path]:
    """A path at which the file or the folder of a place can be read, while the context lasts.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: It could not be reached.
    """
    path = as_path(place)
    if path is not None:
        if not path.exists():
            raise FileNotFoundError(str(path))
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="autopeft-") as folder:
        local = Path(folder) / "fetched"
        with _reached(place) as (system, remote):
            if not system.exists(remote):
                raise FileNotFoundError(os.fspath(place))
            files = [remote] if system.isfile(remote) else system.find(remote)
            for file in files:
                here = local / os.path.relpath(file, remote)
                here.parent.mkdir(parents=True, exist_ok=True)
                system.get_file(file, str(here))
        yield local


def copy(place: Place, folder: Path) -> None:
    """Copy the folder of a place into one of this machine, which is made if it is not there.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: It could not be reached, or written.
    """
    with fetched(place) as source:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def remove(place: Place) -> None:
    """Delete a file, and the folder that it was in if that is empty now; nothing happens where there is none.

    Raises:
        OSError: The place could not be reached.
    """
    path = as_path(place)
    if path is not None:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
        return
    with _reached(place) as (system, remote):
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(remote)
        with contextlib.suppress(OSError, NotImplementedError):  # object stores have no folders
            system.rmdir(remote.rpartition("/")[0])


@contextlib.contextmanager
def _reached(place: Place) -> Iterator[tuple[Any, str]]:
    """The file system of a URL and the path in it; each has errors of its own, which become OSError."""
    import fsspec  # with all of asyncio

    try:
        system, remote = fsspec.core.url_to_fs(os.fspath(place))
        yield system, remote
    except (ImportError, OSError, ValueError):
        raise  # what is not installed, and what is no URL, say so themselves
    except Exception as error:
        raise OSError(f"'{os.fspath(place)}' cannot be reached: {error}") from error
