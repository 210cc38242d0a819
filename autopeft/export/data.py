"""The data of a task as parquet files, split as the search split them."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Image, List, Value, disable_progress_bars
from PIL import Image as PILImage

from autopeft.tasks.columns import SEQUENCES
from autopeft.tasks.task import ImageSource, Split, Task


def write_splits(task: Task, folder: Path) -> None:
    """Write `train.parquet`, `validation.parquet` and, where there are any, `confirmation.parquet` and `test.parquet`.

    Columns: `text` and, for pairs, `text_pair`; or `image`, which keeps the path of a file and the content of what
    is no file; and `label`, a class index or a value. With a target for each token: `tokens` and `tags`, tag indices; `source`
    and `target`; `prompt` and `completion`, texts or chats; or `text`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    disable_progress_bars()
    splits = {
        "train": task.train,
        "validation": task.validation,
        "confirmation": task.confirmation,
        "test": task.test,
    }
    for name, split in splits.items():
        if split is not None:
            _dataset(task, split).to_parquet(str(folder / f"{name}.parquet"))


def _dataset(task: Task, split: Split) -> Dataset:
    if task.settings.problem in SEQUENCES:
        return _sequences(task, split)
    label = Value("int64" if task.settings.problem == "classification" else "float64")
    columns: dict[str, list[object]] = {"label": split.targets.tolist()}
    if task.settings.modality == "image":
        columns["image"] = [_image(source) for source in split.inputs]  # type: ignore[arg-type]
        features = Features({"image": Image(), "label": label})
    elif task.settings.text_pair is not None:
        columns["text"], columns["text_pair"] = (list(part) for part in zip(*split.inputs, strict=True))
        features = Features({"text": Value("string"), "text_pair": Value("string"), "label": label})
    else:
        columns["text"] = list(split.inputs)
        features = Features({"text": Value("string"), "label": label})
    return Dataset.from_dict({name: columns[name] for name in features}, features=features)


def _sequences(task: Task, split: Split) -> Dataset:
    text, chat = Value("string"), List({"role": Value("string"), "content": Value("string")})
    targets = split.targets.tolist()
    columns: dict[str, tuple[Sequence[Any], Any]]
    if task.settings.problem == "token-classification":
        columns = {"tokens": (split.inputs, List(text)), "tags": (targets, List(Value("int64")))}
    elif task.settings.problem == "seq2seq":
        columns = {"source": (split.inputs, text), "target": (targets, text)}
    elif isinstance(targets[0], str):
        columns = {"prompt": (split.inputs, text), "completion": (targets, text)}
        if task.settings.label is None:
            columns = {"text": (targets, text)}
    else:
        columns = {"prompt": (_chats(split.inputs), chat), "completion": (_chats(targets), chat)}
    values = {name: list(rows) for name, (rows, _) in columns.items()}
    return Dataset.from_dict(values, Features({name: kind for name, (_, kind) in columns.items()}))


def _chats(chats: Sequence[Any]) -> list[list[dict[str, str]]]:
    return [[{"role": role, "content": content} for role, content in chat] for chat in chats]


def _image(source: ImageSource) -> dict[str, str | bytes | None]:
    if isinstance(source, Path):
        return {"path": str(source), "bytes": None}
    if isinstance(source, bytes):
        return {"path": None, "bytes": source}
    png = io.BytesIO()
    PILImage.fromarray(np.asarray(source)).save(png, format="PNG")  # lossless
    return {"path": None, "bytes": png.getvalue()}
