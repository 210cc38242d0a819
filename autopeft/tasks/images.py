"""Folders of images, a sub-folder per class; and opening one image."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autopeft.errors import DataError
from autopeft.tasks.table import Table
from autopeft.tasks.task import ImageSource

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

# What a file is called says nothing of what is in it, and Pillow hands PostScript to another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def class_folders(folder: Path) -> list[Path]:
    """Sub-folders that hold images, by name; hidden ones are left out."""
    folders = (p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return sorted(p for p in folders if image_files(p))


def image_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, by name."""
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".")
    )


def read_images(folder: Path) -> Table:
    """The images of a folder with a sub-folder per class: columns `image` (files) and `label` (sub-folder names).

    Raises:
        DataError: The folder cannot be read or holds no such images.
    """
    try:
        found = [(file, sub.name) for sub in class_folders(folder) for file in image_files(sub)]
    except OSError as error:
        raise DataError(f"cannot read '{folder}': {error.strerror or error}.") from None
    if not found:
        raise DataError(f"'{folder}' holds no sub-folders with images ({', '.join(EXTENSIONS)}).")
    columns: dict[str, Sequence[Any]] = {
        "image": [file for file, _ in found],
        "label": [label for _, label in found],
    }
    return Table(folder.name, columns, images=frozenset({"image"}))


def check_image(source: ImageSource) -> None:
    """Look at the beginning of an image only, which is fast.

    Raises:
        DataError: It is no image.
    """
    if not isinstance(source, np.ndarray):
        _read(source, decode=False)


def open_image(source: ImageSource) -> Image.Image:
    """Decode an image to RGB.

    Raises:
        DataError: It is not an image that can be read.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(source).convert("RGB")
    return _read(source, decode=True)


def _read(source: Path | bytes, decode: bool) -> Image.Image:
    try:
        with Image.open(
            source if isinstance(source, Path) else io.BytesIO(source), formats=_FORMATS
        ) as image:
            return image.convert("RGB") if decode else image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises
        if isinstance(source, Path):
            raise DataError(f"cannot read '{source}' as an image.") from error
        raise DataError(f"cannot read an image: {error}.") from error
