"""Which column is what: by name, where the person does not say."""

from collections.abc import Iterable
from dataclasses import dataclass

from autopeft.errors import DataError, nearest
from autopeft.tasks.table import Table

LABEL_OUTRIGHT = ("label", "labels")  # these win over the others
LABEL = (
    "target",
    "targets",
    "class",
    "category",
    "score",
    "intent",
    "emotion",
    "sentiment",
    "rating",
    "stars",
)
TEXT = ("text", "sentence", "content", "question", "review", "tweet", "utterance", "document", "comment")
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text_a", "text_b"),
    ("text1", "text2"),
)
IMAGE = ("image", "img")
OPTIONS = {
    "text": "--text-column",
    "text_pair": "--text-pair-column",
    "image": "--image-column",
    "label": "--label-column",
}


@dataclass(frozen=True)
class Columns:
    """The columns of a task: either `text` or `image` is set.

    Attributes:
        label: The target.
        text: The (first) text.
        text_pair: The second text of a pair.
        image: The image.
    """

    label: str
    text: str | None = None
    text_pair: str | None = None
    image: str | None = None


def find_columns(
    table: Table,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    label: str | None = None,
) -> Columns:
    """Take the columns that are given, and find the others by their usual names, whatever their case.

    A given `text` is the whole input unless `text_pair` is given too.

    Raises:
        DataError: A given column is missing, or none or several columns have a usual name.
    """
    given = {"text": text, "text_pair": text_pair, "image": image, "label": label}
    for role, name in given.items():
        if name is not None and name not in table.columns:
            raise DataError(
                f"'{table.name}' has no column '{name}' (given by {OPTIONS[role]}): it has {_listed(table.columns)}.",
                nearest(name, table.columns),
            )
    named = [name for name in given.values() if name is not None]
    if len(set(named)) < len(named):
        raise DataError(f"the column options name one column twice: {', '.join(named)}.")
    if image is not None and (text is not None or text_pair is not None):
        raise DataError("give either --image-column or --text-column, not both.")
    if text_pair is not None and text is None:
        raise DataError(
            "--text-pair-column names the second text of a pair: name the first by --text-column."
        )
    if label is None:
        label = _find_label(table, named)
    if text is not None:
        return Columns(label, text, text_pair)
    if image is None:
        return _find_inputs(table, label)
    if image not in table.images:
        raise DataError(
            f"column '{image}' of '{table.name}' holds no images: "
            "give a folder with one sub-folder of images per class, or a parquet file with an image column."
        )
    return Columns(label, image=image)


def _find_label(table: Table, taken: list[str]) -> str:
    free = [name for name in table.columns if name not in taken]
    found = _among(free, LABEL_OUTRIGHT) or _among(free, LABEL)
    if len(found) == 1:
        return found[0]
    what = f"several may be the label ({', '.join(found)})" if found else "none has a usual name for a label"
    raise DataError(
        f"'{table.name}' has the columns {_listed(table.columns)}, of which {what}: name it by --label-column."
    )


def _find_inputs(table: Table, label: str) -> Columns:
    free = [name for name in table.columns if name != label]
    lower = {name.lower(): name for name in free}
    pairs = [(lower[a], lower[b]) for a, b in PAIRS if a in lower and b in lower]
    paired = {name for pair in pairs for name in pair}
    texts = [name for name in _among(free, TEXT) if name not in paired and name not in table.images]
    images = [name for name in _among(free, IMAGE) if name in table.images]
    found = [Columns(label, *pair) for pair in pairs]
    found += [Columns(label, name) for name in texts]
    found += [Columns(label, image=name) for name in images]
    if len(found) == 1:
        return found[0]
    what = "several may be the input" if found else "none has a usual name for a text or an image"
    raise DataError(
        f"'{table.name}' has the columns {_listed(table.columns)}, of which {what}: "
        "name it by --text-column (a pair: also --text-pair-column) or --image-column."
    )


def _among(names: Iterable[str], usual: tuple[str, ...]) -> list[str]:
    return [name for name in names if name.lower() in usual]


def _listed(names: Iterable[str]) -> str:
    """Column names for a message; a file without a header has whole texts for names, so they are cut."""
    return ", ".join(f"'{name if len(name) <= 40 else name[:37] + '...'}'" for name in names)
