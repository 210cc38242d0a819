"""What a trial needs to go on after an epoch, in one file: tensors as safetensors, all else as JSON in its header.

Nothing of it is ever unpickled. The file is written beside its place and renamed, so it is there as a whole or not at all; one that
was cut off on its way to a URL counts as none.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from autopeft.store import files

NAME = "checkpoint.safetensors"
"""Of the file, in the trial's folder."""

_HEADER = "autopeft"


@dataclass(frozen=True)
class Checkpoint:
    """A trial between two epochs.

    Attributes:
        trial: What is trained and how. Only the same trial may go on from here.
        state: Scores so far and other small things; JSON.
        tensors: What is trained, and the optimiser's state.
    """

    trial: Mapping[str, Any]
    state: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]


def write(checkpoint: Checkpoint, place: files.Place) -> None:
    """Put a checkpoint in the place of the one before, durably.

    Raises:
        OSError: The disk is full, or the folder cannot be written. The checkpoint before is still there.
    """
    with files.written(place) as path:
        _write(checkpoint, path)


def _write(checkpoint: Checkpoint, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    header = json.dumps({"trial": checkpoint.trial, "state": checkpoint.state})
    tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    try:
        save_file(tensors, beside, {_HEADER: header})
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except SafetensorError as error:  # what its writer in Rust says of a full disk
        raise OSError(str(error)) from None
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(place: files.Place) -> Checkpoint | None:
    """The checkpoint of a file; None where there is none, or none that can be read."""
    try:
        with files.fetched(place) as path, safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dictionary
            return Checkpoint(header["trial"], header["state"], tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def remove(folder: files.Place) -> None:
    """Delete a trial's checkpoint, what a killed process has left of writing one, and the folder if nothing else is in it.

    Raises:
        OSError: The folder could not be reached.
    """
    path = files.as_path(folder)
    for file in () if path is None else path.glob(f"{NAME}.*"):
        file.unlink(missing_ok=True)
    files.remove(files.join(folder, NAME))
