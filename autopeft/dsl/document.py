"""YAML text to a tree whose every node knows its line and column.

PyYAML composes the nodes (safe: nothing is constructed, no tag is honoured); anchors are refused, and size and
nesting are bounded, so that a hostile file cannot exhaust memory.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from autopeft.errors import SpaceError, nearest

_MAX_CHARACTERS = 100_000
_MAX_BYTES = 4 * _MAX_CHARACTERS  # UTF-8 has at most four to a character
_MAX_DEPTH = 20
_MAX_SHOWN = 60  # characters of a value in an error
_MAX_DIGITS = 15  # a longer whole number stays text, which no field accepts as a number
_INTEGER = re.compile(r"^[+-]?\d+$")
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$", re.IGNORECASE)  # YAML 1.1 reads 1e-5 as text
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """A value with its place in the file.

    Attributes:
        value: A scalar, a list of nodes, or a dictionary of nodes.
        where: `file:line:column`, for errors.
        path: The way to this node, such as `modules.serial.size`.
        key_where: Place of the field's name, where this is a field's value.
    """

    value: "Scalar | list[Node] | dict[str, Node]"
    where: str
    path: str
    key_where: str = ""

    def error(self, message: str, hint: str = "", *, key: bool = False) -> SpaceError:
        """An error about this node, or about the name of its field."""
        at = f" (at {self.path})" if self.path else ""
        return SpaceError(f"{self.key_where if key else self.where}: {message}{at}.", hint)

    def mapping(self, allowed: tuple[str, ...], required: tuple[str, ...] = ()) -> "dict[str, Node]":
        """This node as a mapping with known keys.

        Raises:
            SpaceError: It is no mapping, has a key outside `allowed`, or lacks one of `required`.
        """
        if not isinstance(self.value, dict):
            raise self.error(f"found {self.shown()}, expected a mapping with the keys {', '.join(allowed)}")
        for key, node in self.value.items():
            if key not in allowed:
                raise node.error(
                    f"unknown field '{key}': allowed are {', '.join(allowed)}",
                    nearest(key, allowed),
                    key=True,
                )
        for key in required:
            if key not in self.value:
                needed = f": needed are {', '.join(required)}" if len(required) > 1 else ""
                raise self.error(f"the field '{key}' is missing{needed}")
        return self.value

    def items(self, such_as: str = "[1, 2, 4]") -> "list[Node]":
        """This node as a list; `such_as` is the example in the error. Raises: SpaceError, if it is none or empty."""
        if not isinstance(self.value, list) or not self.value:
            raise self.error(f"found {self.shown()}, expected a list such as {such_as}")
        return self.value

    def shown(self) -> str:
        """The value as a person would name it."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list" if self.value else "an empty list"
        if self.value is None:
            return "nothing"
        text = str(self.value).lower() if isinstance(self.value, bool) else str(self.value)
        return f"'{text}'" if len(text) <= _MAX_SHOWN else f"'{text[:_MAX_SHOWN]}...'"


def is_text(scalar: str) -> bool:
    """Whether a word, written without quotes, is read as a text: not as a number, a truth or nothing."""
    return scalar.lower() not in _WORDS and not _NUMBER.match(scalar)


def read_text(file: str) -> str:
    """The text of a file.

    Raises:
        SpaceError: It cannot be read, is no text, or is too large.
    """
    path = Path(file)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SpaceError(f"{file}: more than {_MAX_BYTES:,} bytes; a search space is far smaller.")
        content = path.read_bytes()
    except OSError as error:
        raise SpaceError(f"{file}: cannot be read: {error.strerror}.") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpaceError(
            f"{file}:{line}: byte {error.start + 1} of the file is not UTF-8: save it as a UTF-8 text."
        ) from None


def parse(text: str, file: str) -> Node:
    """Parse YAML.

    Args:
        text: The document.
        file: Its name, for errors.

    Raises:
        SpaceError: The text is no YAML, repeats a key, uses an anchor, or is too large or too deep.
    """
    if len(text) > _MAX_CHARACTERS:
        raise SpaceError(f"{file}: {len(text):,} characters; a search space has at most {_MAX_CHARACTERS:,}.")
    try:
        _check_events(text, file)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        reason = ": ".join(part for part in (error.context, error.problem) if part)
        raise SpaceError(f"{where}: this is not YAML: {reason}.", _remedy(text, mark)) from None
    except yaml.YAMLError as error:
        raise SpaceError(f"{file}: this is not YAML: {str(error).splitlines()[0]}.") from None
    if root is None:
        raise SpaceError(f"{file}: the file is empty.")
    return _node(root, file, "")


def _remedy(text: str, mark: yaml.Mark | None) -> str:
    """What to do about two faults that are made often."""
    at = text[mark.index : mark.index + 1] if mark is not None else ""
    if at == "\t":
        return "Indent with spaces."
    if at in ("<", ">", "=", "%"):
        return "Put what has signs in it between quotes, as in '>= 8'."
    return ""


def _check_events(text: str, file: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark = event.start_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise SpaceError(
                f"{where}: anchors and aliases are not part of the language; write the value again."
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise SpaceError(f"{where}: nested deeper than {_MAX_DEPTH} levels.")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _node(node: yaml.Node, file: str, path: str) -> Node:
    where = f"{file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
    if isinstance(node, yaml.ScalarNode):
        return Node(_scalar(node), where, path)
    if isinstance(node, yaml.SequenceNode):
        return Node([_node(child, file, f"{path}[{i}]") for i, child in enumerate(node.value)], where, path)
    assert isinstance(node, yaml.MappingNode)
    found: dict[str, Node] = {}
    for key_node, value_node in node.value:
        place = f"{file}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise SpaceError(f"{place}: a field's name must be plain text.")
        key = _line(key_node)
        if key in found:
            raise SpaceError(f"{place}: the field '{key}' is there twice.")
        child = _node(value_node, file, f"{path}.{key}" if path else key)
        found[key] = Node(child.value, place if child.value is None else child.where, child.path, place)
    return Node(found, where, path)


def _line(node: yaml.ScalarNode) -> str:
    # No text of the language has lines, and an error is one line whatever it shows.
    return " ".join(str(node.value).splitlines())


def _scalar(node: yaml.ScalarNode) -> Scalar:
    text = _line(node)
    if node.style in ("'", '"'):
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.match(text):
        return int(text) if len(text) <= _MAX_DIGITS else text
    if _NUMBER.match(text):
        return float(text)
    return text
