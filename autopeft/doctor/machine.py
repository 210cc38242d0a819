"""Cores, memory, GPUs and room on disks."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autopeft.doctor.finding import Finding, note, ok, problem
from autopeft.errors import AutopeftError
from autopeft.store import artifact_place, files
from autopeft.store.place import database_path

_LEAST_MEMORY_BYTES = 2 * 10**9  # the starter's search takes about so much with one worker
_LEAST_ROOM_BYTES = 10**9
_NO_ROOM_BYTES = 10**8


def check_processor(memory_bytes: int | None = None) -> list[Finding]:
    """Cores that this process may use, and memory.

    Args:
        memory_bytes: That is free; by default measured.
    """
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    all_of = os.cpu_count() or cores
    free = psutil.virtual_memory().available if memory_bytes is None else memory_bytes
    said = f"{cores} CPU core{'' if cores == 1 else 's'}{f' of {all_of}' if cores < all_of else ''}"
    said += f", {_bytes(free)} of memory free"
    if free < _LEAST_MEMORY_BYTES:
        return [
            problem("processor", said, "End other programs, or search with --workers 1 and a small model.")
        ]
    return [ok("processor", said)]


@dataclass(frozen=True)
class Gpus:
    """What torch says of GPUs.

    Attributes:
        torch: Its version.
        built_for: CUDA that it was built for; None for a build without.
        usable: Whether it can use a GPU.
        names: Of each, with its memory.
        bfloat16: Whether all of them compute in it.
        driver: Version of the NVIDIA driver; None where there is none.
    """

    torch: str
    built_for: str | None
    usable: bool
    names: tuple[str, ...]
    bfloat16: bool
    driver: str | None


def _look_at_gpus() -> Gpus:
    import torch

    usable = torch.cuda.is_available()
    devices = (
        [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())] if usable else []
    )
    names = tuple(f"{device.name} ({_bytes(device.total_memory)})" for device in devices)
    driver = Path("/sys/module/nvidia/version")
    told = driver.read_text().strip() if driver.is_file() else None
    return Gpus(
        torch.__version__, torch.version.cuda, usable, names, usable and torch.cuda.is_bf16_supported(), told
    )


def check_gpus(seen: Gpus | None = None) -> list[Finding]:
    """GPUs, and whether torch can use those that are there.

    Args:
        seen: By default what is there.
    """
    gpus = seen or _look_at_gpus()
    if gpus.usable:
        said = f"{', '.join(gpus.names)}; torch for CUDA {gpus.built_for}, driver {gpus.driver or 'unknown'}"
        if gpus.bfloat16:
            return [ok("gpu", said)]
        return [note("gpu", f"{said}; no bfloat16", "Trials train in float32 there, which takes longer.")]
    if gpus.driver is None:
        return [note("gpu", "none: trials are trained on the processor")]
    if gpus.built_for is None:
        return [
            problem(
                "gpu",
                f"there is an NVIDIA driver ({gpus.driver}), but torch {gpus.torch} is a build without CUDA",
                "Install torch for CUDA: https://pytorch.org/get-started/locally.",
            )
        ]
    return [
        problem(
            "gpu",
            f"there is an NVIDIA driver ({gpus.driver}), but torch for CUDA {gpus.built_for} finds no GPU that it can use",
            "See what `nvidia-smi` and CUDA_VISIBLE_DEVICES say, and update the driver if it is older than that CUDA.",
        )
    ]


def check_disks(url: str) -> list[Finding]:
    """Room and rights where adapters, caches and temporary files go.

    Args:
        url: Of the database.
    """
    try:
        artifacts = artifact_place(url)
        if files.as_path(artifacts) is None:
            files.check(artifacts)
    except AutopeftError as error:
        return [
            problem("disk", error.message, error.hint or "Set AUTOPEFT_ARTIFACTS to another folder or URL.")
        ]
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    path = database_path(url)
    places = {
        "database": path.parent if path is not None else None,
        "adapters": files.as_path(artifacts),
        "model cache": Path(home),
        "temporary": Path(tempfile.gettempdir()),
    }
    return [check_folder(name, place) for name, place in places.items() if place is not None]


def check_folder(name: str, folder: Path, free_bytes: int | None = None) -> Finding:
    """Whether a folder, or the one that it would be made in, can be written to and has room.

    Args:
        name: What goes there.
        folder: Which.
        free_bytes: Room there; by default measured.
    """
    there = nearest_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        remedy = f"Give yourself the right to write there, or choose another folder ({_CHOSEN_BY[name]})."
        return problem("disk", f"{name}: cannot write in {there}: {error.strerror}", remedy)
    free = shutil.disk_usage(there).free if free_bytes is None else free_bytes
    said = f"{name}: {_bytes(free)} free in {folder}"
    if free < _NO_ROOM_BYTES:
        return problem("disk", said, f"Make room there, or choose another folder ({_CHOSEN_BY[name]}).")
    if free < _LEAST_ROOM_BYTES:
        return note("disk", said, f"Long searches need more; {_CHOSEN_BY[name]} chooses another folder.")
    return ok("disk", said)


_CHOSEN_BY = {
    "database": "--db",
    "adapters": "AUTOPEFT_ARTIFACTS",
    "model cache": "HF_HOME",
    "temporary": "TMPDIR",
}


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
