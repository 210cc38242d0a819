"""From what a person names to a task, and the same task again in another process."""

from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import DataError, InputError, unknown_name
from autopeft.nouns import Problem
from autopeft.tasks import lines
from autopeft.tasks.columns import SEQUENCES, find_columns, infer_problem
from autopeft.tasks.examples import sequence_split, tag_names
from autopeft.tasks.images import check_image
from autopeft.tasks.labels import class_targets, find_labels, find_problem, has_labels, value_targets
from autopeft.tasks.metrics import check_metric, default_metric
from autopeft.tasks.sources import Sources, Tables, find_sources, read_sources
from autopeft.tasks.split import SMALLEST, hold_out, hold_out_end
from autopeft.tasks.table import Table
from autopeft.tasks.task import Input, SourceKind, Split, Task, TaskSettings


def resolve_task(
    data: str,
    *,
    validation: str | None = None,
    test: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    label: str | None = None,
    problem: str | None = None,
    metric: str | None = None,
    validation_fraction: float = 0.2,
    split_seed: int = 0,
    max_length: int = 128,
    confirmation_fraction: float = 0.0,
) -> Task:
    """Read data and decide everything that is not said.

    Args:
        data: File, folder, hub id or `starter`; `autopeft.tasks.sources.find_sources` says what is found in each.
        validation: What the search chooses by. By default what lies beside the training data, else a share of
            them is held out.
        test: By default what lies beside the training data, if it has labels; else there is none.
        text: Column of the text; columns that are not given are found by their usual names.
        text_pair: Column of the second text of a pair.
        image: Column of the image.
        label: Column of the target.
        problem: `classification`, `regression`, `causal-lm`, `token-classification` or `seq2seq`; by default
            `autopeft.tasks.columns.infer_problem` decides by the columns, then `autopeft.tasks.labels.find_problem` by the labels.
        metric: By default `autopeft.tasks.metrics.default_metric`.
        validation_fraction: Share of the training data to hold out, in (0, 1).
        split_seed: Seed of that split; at least 0.
        max_length: Most tokens of a text or pair; of plain text, tokens of a block.
        confirmation_fraction: Share of the validation examples to hold back for the confirmation, in [0, 1). Of fewer
            than four examples nothing is held back.

    Raises:
        DataError: The data are missing, cannot be read, or do not hold what a task needs.
        InputError: An argument is out of its range; UnknownNameError: no such metric or problem.
    """
    if not 0 < validation_fraction < 1:
        raise InputError(f"the validation fraction {validation_fraction} is not between 0 and 1.")
    if not 0 <= confirmation_fraction < 1:
        raise InputError(
            f"the confirmation fraction {confirmation_fraction} is not at least 0 and below 1: "
            "0.5 holds half of the validation examples back, 0 none."
        )
    if not 0 <= split_seed < 2**32:
        raise InputError(f"the split seed {split_seed} is not between 0 and 2**32 - 1.")
    if max_length < 4:
        raise InputError(f"a maximal length of {max_length} tokens leaves no room for text: use at least 4.")
    if problem is not None and problem not in get_args(Problem):
        raise unknown_name("problem", problem, get_args(Problem))
    sources = find_sources(data, validation, test)
    tables = read_sources(sources)
    found = cast(Problem | None, problem) or _infer(sources, tables, text, text_pair, image, label)
    if found in SEQUENCES and sources.kind in (SourceKind.IMAGES, SourceKind.STARTER):
        raise InputError(f"{found} needs texts, and '{data}' holds images.")
    if sources.kind is SourceKind.TEXT and found not in ("causal-lm", "token-classification"):
        raise InputError(
            f"'{data}' is plain text, which has no columns for {found}: give a csv, tsv, jsonl or parquet file."
        )
    tables = _tagged(sources.kind, found, tables)
    columns = find_columns(
        tables.train, text=text, text_pair=text_pair, image=image, label=label, problem=found
    )
    if sources.test_is_offered and tables.test is not None and not _has_targets(tables.test, columns.label):
        sources = Sources(sources.kind, sources.train, sources.validation, None)
        tables = _tagged(sources.kind, found, read_sources(sources))
    if found is None:
        assert columns.label is not None
        found = find_problem(tables.train, columns.label)
    labels = _labels(tables.train, columns.label, found)
    metric = metric or default_metric(found, labels)
    check_metric(metric, found, labels)
    settings = TaskSettings(
        source=sources.kind,
        data=sources.train,
        validation=sources.validation,
        test=sources.test,
        modality="image" if columns.image else "text",
        problem=found,
        text=columns.text,
        text_pair=columns.text_pair,
        image=columns.image,
        label=columns.label,
        labels=labels,
        metric=metric,
        validation_fraction=validation_fraction,
        split_seed=split_seed,
        max_length=max_length,
        fingerprint=tables.fingerprint,
        files=tables.files,
        confirmation_fraction=confirmation_fraction,
    )
    task = _task(settings, tables)
    if settings.modality == "image":
        # A file that is no image is found here, before any worker has started.
        for split in (task.train, task.validation, task.confirmation, task.test):
            for source in split.inputs if split else ():
                check_image(source)  # type: ignore[arg-type]
    return task


def load_task(settings: TaskSettings) -> Task:
    """The same data again.

    Raises:
        DataError: The data are gone, cannot be read, or are not what they were.
    """
    tables = read_sources(Sources(settings.source, settings.data, settings.validation, settings.test))
    if tables.fingerprint != settings.fingerprint:
        changed = [path for path, before in settings.files.items() if tables.files.get(path) != before]
        named = " and ".join(f"'{path}'" for path in changed or [settings.data])
        raise DataError(
            f"the data of {named} have changed since the study began: bring the old data back, or start a new study."
        )
    return _task(settings, _tagged(settings.source, settings.problem, tables))


def _infer(
    sources: Sources,
    tables: Tables,
    text: str | None,
    text_pair: str | None,
    image: str | None,
    label: str | None,
) -> Problem | None:
    """The problem, where the kind of the data or their columns say it; else the labels decide."""
    if sources.kind is SourceKind.TEXT:
        return "token-classification" if tables.train.name.lower().endswith(lines.TAGGED) else "causal-lm"
    if sources.kind in (SourceKind.IMAGES, SourceKind.STARTER) or text_pair or image:
        return None
    return infer_problem(tables.train, text=text, label=label)


def _tagged(kind: SourceKind, problem: Problem | None, tables: Tables) -> Tables:
    """Lines become sentences where words with tags are meant."""
    if kind is not SourceKind.TEXT or problem != "token-classification":
        return tables
    found = [
        None if one is None else lines.tagged_sentences(one)
        for one in (tables.train, tables.validation, tables.test)
    ]
    assert found[0] is not None
    return Tables(found[0], found[1], found[2], tables.fingerprint, tables.files)


def _has_targets(table: Table, label: str | None) -> bool:
    """Whether a test table that nobody asked for can be scored on."""
    if label is None:
        return True
    values = table.columns.get(label, ())
    lists = any(isinstance(value, list | tuple) for value in values)
    return any(values) if lists else has_labels(table, label)


def _labels(table: Table, column: str | None, problem: Problem) -> tuple[str, ...]:
    if column is not None and problem == "classification":
        return find_labels(table, column)
    if column is not None and problem == "token-classification":
        return tag_names(table, column)
    return ()


def _task(settings: TaskSettings, tables: Tables) -> Task:
    train = _split(settings, tables.train)
    if settings.problem not in SEQUENCES:
        _refuse_constant(train, tables.train.name)
    given = [None if table is None else _split(settings, table) for table in (tables.validation, tables.test)]
    for table, split in zip((tables.validation, tables.test), given, strict=True):
        if table is not None and split is not None:
            _refuse_unseen(settings, table, split, train)
    validation, test = given
    if validation is None:
        train, validation = _part(settings, train, settings.validation_fraction)
    validation, confirmation = _held_back(settings, validation)
    return Task(settings, train, validation, test, confirmation)


def _held_back(settings: TaskSettings, validation: Split) -> tuple[Split, Split | None]:
    """What the search may choose by, and what it never sees."""
    if not settings.confirmation_fraction or len(validation) < 2 * SMALLEST:
        return validation, None
    groups = None
    if settings.source is SourceKind.STARTER:
        from autopeft.tasks.starter import source_of_image

        groups = source_of_image("validation")  # images of one source are alike: they stay on one side
    return _part(settings, validation, settings.confirmation_fraction, groups)


def _part(
    settings: TaskSettings, split: Split, fraction: float, groups: NDArray[np.int64] | None = None
) -> tuple[Split, Split]:
    """A split in two: what is kept, and a share of it. Of the lines of one text it is the end, else it is drawn."""
    if settings.source is SourceKind.TEXT and settings.problem == "causal-lm":
        kept, held_out = hold_out_end(len(split), fraction)
    else:
        kept, held_out = hold_out(split.targets, settings.problem, fraction, settings.split_seed, groups)
    return split.take(kept), split.take(held_out)


def _split(settings: TaskSettings, table: Table) -> Split:
    if len(table) < SMALLEST:
        rows = "line" if settings.source is SourceKind.TEXT else "row"
        raise DataError(f"'{table.name}' has {len(table)} {rows}: a split needs at least {SMALLEST}.")
    if settings.problem in SEQUENCES:
        return sequence_split(settings, table)
    inputs: tuple[Input, ...]
    if settings.image is not None:
        inputs = tuple(_images(table, settings.image))
    else:
        assert settings.text is not None
        inputs = tuple(_texts(table, settings.text))
        if settings.text_pair is not None:
            inputs = tuple(zip(inputs, _texts(table, settings.text_pair), strict=True))  # type: ignore[arg-type]
    assert settings.label is not None
    if settings.problem == "classification":
        return Split(inputs, class_targets(table, settings.label, settings.labels))
    return Split(inputs, value_targets(table, settings.label))


def _column(table: Table, name: str) -> list[object]:
    if name not in table.columns:
        raise DataError(
            f"'{table.name}' has no column '{name}' as the training data have: it has {', '.join(table.columns)}."
        )
    return list(table.columns[name])


def _texts(table: Table, column: str) -> list[str]:
    values = _column(table, column)
    for row, value in enumerate(values, start=1):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise DataError(f"row {row} of '{table.name}' has no text in column '{column}'.")
        if not isinstance(value, str):
            raise DataError(
                f"row {row} of '{table.name}' has no text in column '{column}', but a value of type {type(value).__name__}."
            )
    return cast(list[str], values)


def _images(table: Table, column: str) -> list[Input]:
    values = _column(table, column)
    if column not in table.images:
        raise DataError(f"column '{column}' of '{table.name}' holds no images, unlike the training data.")
    for row, value in enumerate(values, start=1):
        if value is None:
            raise DataError(f"row {row} of '{table.name}' has no image in column '{column}'.")
    return cast(list[Input], values)


def _refuse_constant(train: Split, name: str) -> None:
    if len(np.unique(train.targets)) < 2:
        raise DataError(f"every row of '{name}' has the same label: there is nothing to learn.")


def _refuse_unseen(settings: TaskSettings, table: Table, split: Split, train: Split) -> None:
    """A class may be declared by the data, and yet have no training example."""
    if settings.problem != "classification":
        return
    unseen = np.setdiff1d(split.targets, train.targets)
    if len(unseen):
        raise DataError(
            f"'{table.name}' has the label '{settings.labels[int(unseen[0])]}', which the training data never show."
        )
