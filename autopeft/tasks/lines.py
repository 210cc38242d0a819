"""Files without columns: plain text, and words with their tags, one a line, in the manner of CoNLL."""

from pathlib import Path

from autopeft.errors import DataError
from autopeft.tasks.table import Table

TAGGED = (".conll", ".bio", ".iob2")
"""Extensions of files that hold words with tags; a `.txt` file may hold them too."""

EXTENSIONS = (".txt", *TAGGED)

TEXT, WORDS, TAGS = "text", "tokens", "tags"
"""The columns of what is read here."""


def read_lines(path: Path) -> Table:
    """A file as one column `text` of its lines, each with its end.

    Raises:
        DataError: It cannot be read, or is empty.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise DataError(f"'{path.name}' is not UTF-8 text (byte {error.start}).") from None
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror or error}.") from None
    if not text.strip():
        raise DataError(f"'{path.name}' holds no text.")
    # Not splitlines(): it also splits at characters that are no ends of lines, such as U+2028.
    found = [line + "\n" for line in text.replace("\r\n", "\n").split("\n")]
    found[-1] = found[-1].removesuffix("\n")
    return Table(path.name, {TEXT: found if found[-1] else found[:-1]})


def tagged_sentences(table: Table) -> Table:
    """The columns `tokens` and `tags`, a row a sentence, of lines such as `EU NNP B-NP B-ORG`.

    The word is the first field and its tag the last; fields are separated by white space, sentences by empty lines. Lines
    that begin with `-DOCSTART-` are left out.

    Raises:
        DataError: A line has a word and no tag.
    """
    words: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    for number, line in enumerate(table.columns[TEXT], start=1):
        fields = line.split()
        if not fields or fields[0] == "-DOCSTART-":
            if words[-1]:
                words.append([])
                tags.append([])
            continue
        if len(fields) < 2:
            raise DataError(
                f"line {number} of '{table.name}' has one field ('{fields[0][:40]}'): a word is followed by its tag, and "
                "sentences are separated by empty lines."
            )
        words[-1].append(fields[0])
        tags[-1].append(fields[-1])
    if not words[-1]:
        words.pop()
        tags.pop()
    return Table(table.name, {WORDS: words, TAGS: tags})
