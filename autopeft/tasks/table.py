"""Reading one file of rows: csv, tsv, json, jsonl, parquet.

Parquet goes through `datasets`, which knows its class labels and images. The text formats are read here: the
csv reader of `datasets` guesses types (a text "NA" or "null" would become a missing value, a text "12" a
number), cannot be told otherwise, and copies each file into a cache before it can be read.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

EXTENSIONS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Attributes:
        name: What messages call it: a file's name, or a split's.
        columns: Column name to values. Csv and tsv give text only; an absent value is None or empty text.
        class_names: Column name to the names of its classes in order, where the data say so; the values of
            such a column are names.
        images: Columns whose values are images (`ImageSource`).
    """

    name: str
    columns: Mapping[str, Sequence[Any]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def read_table(path: Path) -> Table:
    """Read a file in the format that its extension names.

    Csv is comma separated with double quotes. Tsv is tab separated and knows no quotes, as in GLUE: a quotation
    mark is a character like any other. Both are UTF-8 and begin with a line of column names. Json is one list
    of objects; jsonl is one object a line, and a `.json` file of such lines is read too.

    Raises:
        DataError: The file cannot be read, or is not in its format.
    """
    readers = {
        ".csv": _read_csv,
        ".tsv": _read_tsv,
        ".json": _read_json,
        ".jsonl": _read_json,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"cannot read '{path.name}': its extension '{path.suffix}' is none of {', '.join(EXTENSIONS)}, nor .txt."
        )
    try:
        table = reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"'{path.name}' is not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror or error}.") from None
    if len(table) == 0:
        raise DataError(f"'{path.name}' holds no rows.")
    return table


def _read_tsv(path: Path) -> Table:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        lines = (line.rstrip("\r\n") for line in file)
        return _from_rows(path.name, [line.split("\t") for line in lines if line])


def _read_csv(path: Path) -> Table:
    csv.field_size_limit(2**31 - 1)  # the default refuses texts above 128 KiB
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            return _from_rows(path.name, [row for row in csv.reader(file, strict=True) if row])
        except csv.Error as error:
            raise DataError(f"'{path.name}' is not a csv file: {error}.") from None


def _from_rows(name: str, rows: list[list[str]]) -> Table:
    """Rows of text, the first of which names the columns."""
    if not rows:
        raise DataError(f"'{name}' is empty.")
    header, *body = rows
    twice = next((column for i, column in enumerate(header) if column in header[:i]), None)
    if twice is not None:
        raise DataError(
            f"'{name}' names the column '{twice}' twice in its first line, which must name the columns."
        )
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise DataError(
                f"row {number} of '{name}' has {len(row)} fields, but the first line names {len(header)} columns."
            )
    return Table(name, {column: [row[i] for row in body] for i, column in enumerate(header)})


def _read_json(path: Path) -> Table:
    text = path.read_text(encoding="utf-8-sig")
    escaped = re.search(r"\\u[dD]", text) is not None  # only then may there be halves of characters
    if text.lstrip().startswith("["):
        try:
            records = json.loads(text)
        except (ValueError, RecursionError) as error:  # also numbers and nesting without end
            raise DataError(f"'{path.name}' is not json: {error}.") from None
    else:
        records = []
        # Not splitlines(): it also splits at characters that JSON allows inside a string, such as U+2028.
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                records.append(json.loads(line))
            except (ValueError, RecursionError) as error:  # also numbers and nesting without end
                raise DataError(f"line {number} of '{path.name}' is not json: {error}.") from None
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(f"row {number} of '{path.name}' is not an object with a value for each column.")
        if escaped:
            try:
                json.dumps(record, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise DataError(f"row {number} of '{path.name}' holds half a character (\\ud…).") from None
    columns = list(dict.fromkeys(key for record in records for key in record))
    return Table(path.name, {column: [record.get(column) for record in records] for column in columns})


def _read_parquet(path: Path) -> Table:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]
    from datasets import Dataset

    try:
        dataset = Dataset(pyarrow.parquet.read_table(path))
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        raise DataError(f"'{path.name}' is not a parquet file: {str(error).splitlines()[0]}") from None
    return from_dataset(path.name, dataset)


def from_dataset(name: str, dataset: "Dataset") -> Table:
    """The columns of a `datasets.Dataset`; images stay encoded, class indices become names."""
    from datasets import ClassLabel, Image, List

    columns: dict[str, Sequence[Any]] = {}
    class_names: dict[str, tuple[str, ...]] = {}
    images: set[str] = set()
    for column, feature in dataset.features.items():
        if isinstance(feature, Image):
            images.add(column)
            encoded = dataset.cast_column(column, Image(decode=False))[column][:]
            columns[column] = [value and (value["bytes"] or Path(value["path"])) for value in encoded]
        elif isinstance(feature, ClassLabel):
            names = class_names[column] = tuple(feature.names)
            # Test sets of the hub often hide their labels behind -1.
            columns[column] = [None if i is None or i < 0 else names[i] for i in dataset[column][:]]
        elif isinstance(feature, List) and isinstance(feature.feature, ClassLabel):
            names = class_names[column] = tuple(feature.feature.names)
            columns[column] = [row and [names[i] for i in row] for row in dataset[column][:]]
        elif _decodes(feature):
            # Sound or video: decoding opens whatever path or address the data name.
            columns[column] = dataset.with_format("arrow")[:].column(column).to_pylist()
        else:
            columns[column] = dataset[column][:]
    return Table(name, columns, class_names, frozenset(images))


def _decodes(feature: Any) -> bool:
    """Whether a column, or a part of its values, would be decoded as it is read."""
    if isinstance(feature, Mapping):
        return any(_decodes(part) for part in feature.values())
    inner = getattr(feature, "feature", None)
    return hasattr(feature, "decode_example") or (inner is not None and _decodes(inner))
