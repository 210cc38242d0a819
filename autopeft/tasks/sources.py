"""Where the data of each split are: which file, folder or data set, and reading them.

A person names one thing; what follows from it is decided once, in `find_sources`, and kept in the settings.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from autopeft.errors import DataError, InputError, nearest
from autopeft.naming import at_home
from autopeft.tasks import lines, table
from autopeft.tasks.hub import hub_fingerprint, load_hub
from autopeft.tasks.images import class_folders, image_files, read_images
from autopeft.tasks.lines import read_lines
from autopeft.tasks.table import Table, from_dataset, read_table
from autopeft.tasks.task import SourceKind

TRAIN = ("train",)
VALIDATION = ("validation", "val", "dev", "valid")
TEST = ("test",)

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?(:[\w.-]+)?")


@dataclass(frozen=True)
class Sources:
    """Where each split is.

    Attributes:
        kind: How the data are kept.
        train: Absolute path of a file or folder of class folders; a hub id; or `starter`.
        validation: Absolute path, or name of a split for hub and starter; None: to be held out of `train`.
        test: As `validation`; None: there is none.
        test_is_offered: Nobody asked for `test`: it was found beside `train`, and counts only if it has labels.
    """

    kind: SourceKind
    train: str
    validation: str | None
    test: str | None
    test_is_offered: bool = False


@dataclass(frozen=True)
class Tables:
    """What was read from `Sources`.

    Attributes:
        train: Training rows.
        validation: Validation rows, if they are not to be held out.
        test: Test rows, if there are any.
        fingerprint: 64 hexadecimal digits over the content of all three.
        files: The same over each alone, by its path; of the starter and the hub nothing.
    """

    train: Table
    validation: Table | None
    test: Table | None
    fingerprint: str
    files: Mapping[str, str] = field(default_factory=dict)


def find_sources(data: str, validation: str | None = None, test: str | None = None) -> Sources:
    """Decide where the splits are.

    `data` is one of:

    - `starter`: the images that ship with scikit-learn;
    - a file of rows, of text (`.txt`), or of a word a line (`.conll`); if it is named `train.*`, a file beside it named `validation`, `val`, `dev` or `valid` is the
      validation split, and one named `test` is the test split if it has labels;
    - a folder that holds such a `train.*`;
    - a folder with one sub-folder of images per class, or with `train` and perhaps `validation` (or another of its
      names) and `test` folders of that form; a folder that is itself named `train` is taken with its neighbours;
    - an id of a data set on the Hugging Face hub, with its configuration after a colon if it has several:
      `nyu-mll/glue:rte`. Here `validation` and `test` are names of its splits.

    Raises:
        DataError: Nothing of that kind is there, or it could be several things.
        InputError: `validation` or `test` with `starter`.
    """
    if data == "starter":
        if validation is not None or test is not None:
            raise InputError(
                "the starter data have their own validation and test splits: leave out those options."
            )
        return Sources(SourceKind.STARTER, data, "validation", "test")
    path = at_home(data)
    if not _exists(path):
        if not _may_be_hub_id(data):
            raise _missing(path)
        return _same_data_refused(_find_in_hub(data, validation, test))
    path = _absolute(path)
    try:
        found = _find_in_folder(path) if path.is_dir() else _with_siblings(_kind_of_file(path), path)
    except OSError as error:
        raise DataError(f"cannot read '{data}': {error.strerror or error}.") from None
    if validation is not None:
        found = replace(found, validation=_given(validation, found.kind))
    if test is not None:
        found = replace(found, test=_given(test, found.kind), test_is_offered=False)
    return _same_data_refused(found)


def read_sources(sources: Sources) -> Tables:
    """Read every split.

    Raises:
        DataError: Something is missing, cannot be read, or the hub cannot be reached.
    """
    match sources.kind:
        case SourceKind.STARTER:
            return _read_starter()
        case SourceKind.HUB:
            return _read_hub(sources)
        case SourceKind.TABLE | SourceKind.IMAGES | SourceKind.TEXT:
            read = {
                SourceKind.TABLE: read_table,
                SourceKind.IMAGES: read_images,
                SourceKind.TEXT: read_lines,
            }[sources.kind]
            paths = [
                None if p is None else Path(p) for p in (sources.train, sources.validation, sources.test)
            ]
            for path in paths:
                if path is not None and not path.exists():
                    raise _missing(path)
            tables = [None if path is None else read(path) for path in paths]
            assert tables[0] is not None
            files = {str(path): _fingerprint([path]) for path in paths if path is not None}
            return Tables(tables[0], tables[1], tables[2], _fingerprint(paths), files)


def _same_data_refused(sources: Sources) -> Sources:
    train = "train" if sources.kind is SourceKind.HUB else sources.train
    splits = [split for split in (train, sources.validation, sources.test) if split is not None]
    if len(set(splits)) < len(splits):
        raise DataError(f"two of the splits are the same data: {', '.join(splits)}.")
    return sources


def _absolute(path: Path) -> Path:
    """Absolute, but with its own name: behind a link may be a file without an extension."""
    return Path(os.path.abspath(path))


def _find_in_folder(folder: Path) -> Sources:
    trains = _named(folder, TRAIN, (*table.EXTENSIONS, *lines.EXTENSIONS))
    if len(trains) > 1:
        raise DataError(f"'{folder}' holds several training files ({_names(trains)}): name one of them.")
    if trains:
        return _with_siblings(_kind_of_file(trains[0]), trains[0])
    train = folder / "train"
    if train.is_dir() and class_folders(train):
        return _with_siblings(SourceKind.IMAGES, train)
    if class_folders(folder):
        return _with_siblings(SourceKind.IMAGES, folder)
    inside = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    held = f"it holds {_names(inside[:8])}{', …' if len(inside) > 8 else ''}" if inside else "it is empty"
    hint = ""
    if any(p.suffix.lower() in (*table.EXTENSIONS, *lines.EXTENSIONS) for p in inside):
        hint = "To use one of its files, name the file."
    elif image_files(folder):
        hint = "Its images lie side by side: put those of each class into a sub-folder with the name of the class."
    raise DataError(
        f"'{folder}' is no data set: it has neither a train{'|'.join((*table.EXTENSIONS, *lines.EXTENSIONS))} file "
        f"nor a sub-folder of images per class; {held}.",
        hint,
    )


def _kind_of_file(path: Path) -> SourceKind:
    return SourceKind.TEXT if path.suffix.lower() in lines.EXTENSIONS else SourceKind.TABLE


def _with_siblings(kind: SourceKind, train: Path) -> Sources:
    """The training data with what lies beside them, if they are named `train`."""
    if (train.name if kind is SourceKind.IMAGES else train.stem).lower() not in TRAIN:
        return Sources(kind, str(train), None, None)
    siblings = []
    for names in (VALIDATION, TEST):
        if kind is not SourceKind.IMAGES:
            extensions = table.EXTENSIONS if kind is SourceKind.TABLE else lines.EXTENSIONS
            found = _named(train.parent, names, (train.suffix.lower(),)) or _named(
                train.parent, names, extensions
            )
        else:
            found = [p for name in names if (p := train.parent / name).is_dir() and class_folders(p)]
        if len(found) > 1:
            option = "--validation" if names is VALIDATION else "--test"
            raise DataError(f"beside '{train.name}' lie {_names(found)}: name one of them by {option}.")
        siblings.append(str(found[0]) if found else None)
    return Sources(kind, str(train), siblings[0], siblings[1], test_is_offered=siblings[1] is not None)


def _named(folder: Path, stems: Iterable[str], extensions: tuple[str, ...]) -> list[Path]:
    """Files with one of these stems and extensions, whatever their case."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.is_file() and p.stem.lower() in stems and p.suffix.lower() in extensions
    )


def _given(path: str, kind: SourceKind) -> str:
    """The absolute path of a split that a person names, which must be of the kind of the training data."""
    found = at_home(path)
    if not _exists(found):
        raise _missing(found)
    if found.is_dir() is not (kind is SourceKind.IMAGES):
        wanted = (
            "a folder of images per class"
            if kind is SourceKind.IMAGES
            else "a file, as the training data are"
        )
        raise DataError(f"'{path}' must be {wanted}.")
    if found.is_file() and _kind_of_file(found) is not kind:
        raise DataError(f"'{path}' must be of the kind of the training data: both text, or both tables.")
    return str(_absolute(found))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # no permission, a name too long
        raise DataError(f"cannot read '{path}': {error.strerror or error}.") from None


def _missing(path: Path) -> DataError:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return DataError(f"there is no file or folder '{path}'.", nearest(path.name, beside))


def _may_be_hub_id(data: str) -> bool:
    if Path(data).suffix.lower() in (*table.EXTENSIONS, *lines.EXTENSIONS, ".zip"):
        return False
    return _HUB_ID.fullmatch(data) is not None


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(p.name for p in paths)


def _fingerprint(paths: Iterable[Path | None]) -> str:
    """Hash of the files of each split, in order; in folders also of their names, which hold the labels."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(b"\0split\0")
        if path is None:
            continue
        files = (
            [path] if path.is_file() else [file for sub in class_folders(path) for file in image_files(sub)]
        )
        for file in files:
            if file is not path:
                digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _read_starter() -> Tables:
    from autopeft.tasks.starter import starter_splits

    splits = starter_splits()
    names = tuple(str(i) for i in range(int(splits["train"][1].max()) + 1))
    digest = hashlib.sha256()
    tables = {}
    for name in ("train", "validation", "test"):
        images, labels = splits[name]
        digest.update(f"{name}{images.shape}".encode() + images.tobytes() + labels.astype("<i8").tobytes())
        columns = {"image": list(images), "label": [names[int(i)] for i in labels]}
        tables[name] = Table(f"starter {name}", columns, {"label": names}, frozenset({"image"}))
    return Tables(tables["train"], tables["validation"], tables["test"], digest.hexdigest())


def _find_in_hub(identifier: str, validation: str | None, test: str | None) -> Sources:
    splits = load_hub(identifier)
    for split in ("train", validation, test):
        if split is not None and split not in splits:
            raise DataError(f"'{identifier}' has no split '{split}': it has {', '.join(splits)}.")
    offered = test is None
    validation = validation or next((split for split in VALIDATION if split in splits), None)
    test = test or next((split for split in TEST if split in splits), None)
    return Sources(SourceKind.HUB, identifier, validation, test, test_is_offered=offered)


def _read_hub(sources: Sources) -> Tables:
    splits = load_hub(sources.train)
    used = {
        split: splits[split] for split in ("train", sources.validation, sources.test) if split is not None
    }
    tables = {split: from_dataset(split, rows) for split, rows in used.items()}
    return Tables(
        tables["train"],
        tables[sources.validation] if sources.validation else None,
        tables[sources.test] if sources.test else None,
        hub_fingerprint(used),
    )
