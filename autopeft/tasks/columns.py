"""Which column is what: by name, where the person does not say."""

from collections.abc import Iterable
from dataclasses import dataclass

from autopeft.errors import DataError, nearest
from autopeft.nouns import Problem
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
# Of problems with a target for each token: what is read, and what is learnt; None where it is the same.
SEQUENCES: dict[Problem, tuple[tuple[str, str | None], ...]] = {
    "causal-lm": (("prompt", "completion"), ("messages", None), ("text", None)),
    "token-classification": tuple(
        (words, tags)
        for words in ("tokens", "words")
        for tags in ("ner_tags", "pos_tags", "chunk_tags", "tags", "labels", "upos")
    ),
    "seq2seq": (
        ("source", "target"),
        ("document", "summary"),
        ("article", "highlights"),
        ("dialogue", "summary"),
        ("text", "summary"),
        ("mr", "ref"),
        ("prompt", "completion"),
    ),
}
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
        label: The target; None where what is read is also what is learnt.
        text: The (first) text, words, prompt, source or chat.
        text_pair: The second text of a pair.
        image: The image.
    """

    label: str | None
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
    problem: Problem | None = None,
) -> Columns:
    """Take the columns that are given, and find the others by their usual names, whatever their case.

    A given `text` is the whole input unless `text_pair` is given too. The usual names depend on the problem; without one they
    are those of classification and regression.

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
    if problem in SEQUENCES:
        return _find_sequences(table, problem, text, label, [text_pair, image])
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


def infer_problem(table: Table, *, text: str | None = None, label: str | None = None) -> Problem | None:
    """The problem that the columns themselves say, where it is safe; None: a class or a value, or nothing that is known.

    A list of words beside a list of tags; a chat; a prompt and its completion; a source and its target, by the usual names of
    both; or a text that is all there is.
    """
    there = {name.lower(): name for name in table.columns}
    if text is None and label is None:
        if _is_list(table, there.get("messages")) and not _among(there, (*LABEL_OUTRIGHT, *LABEL)):
            return "causal-lm"
        if {"prompt", "completion"} <= there.keys():
            return "causal-lm"
        pairs = [pair for pair in SEQUENCES["seq2seq"] if set(pair) <= there.keys()]
        if pairs and not _among(there, LABEL_OUTRIGHT):
            return "seq2seq"
        if list(there) == ["text"]:
            return "causal-lm"
    words = [text] if text else [there.get("tokens"), there.get("words")]
    tags = [label] if label else [there.get(tags or "") for _, tags in SEQUENCES["token-classification"]]
    if any(_is_list(table, name) for name in words) and any(_is_list(table, name) for name in tags):
        return "token-classification"
    if label is None and text is not None and _is_list(table, text):
        return "causal-lm"
    return None


def _is_list(table: Table, column: str | None) -> bool:
    values = table.columns.get(column or "", ())
    return len(values) > 0 and isinstance(values[0], list | tuple)


def _find_sequences(
    table: Table, problem: Problem, text: str | None, label: str | None, others: list[str | None]
) -> Columns:
    """The columns of a problem with a target for each token."""
    if any(others):
        raise DataError(f"{problem} has no second text and no image: leave out those columns.")
    there = {name.lower(): name for name in table.columns}
    found = [
        Columns(there[target] if target else None, there[source])
        for source, target in SEQUENCES[problem]
        if source in there and (target is None or target in there)
    ]
    found = [one for one in found if text in (None, one.text) and label in (None, one.label)]
    if text is not None and (label is not None or (problem == "causal-lm" and not found)):
        return Columns(label, text)
    if problem == "causal-lm" and found:
        return found[0]  # what says more comes first: a prompt before a text
    if len(found) == 1:
        return found[0]
    what = "several may be meant" if found else f"none have usual names for {problem}"
    options = "--text-column (what is read) and --label-column (what is learnt)"
    raise DataError(
        f"'{table.name}' has the columns {_listed(table.columns)}, of which {what}: name them by {options}."
    )


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
