"""`extends:`: a space that is another one with parts of it changed."""

from dataclasses import replace
from pathlib import Path

from autopeft.dsl.document import Node, parse, read_text
from autopeft.errors import nearest
from autopeft.registry import space_names, space_text

_MOST = 5  # spaces that extend each other


def extended(root: Node, file: str) -> Node:
    """The document with all that it extends put in; the document itself where it extends nothing.

    Mappings are joined field by field: `modules`, a module of the same type, `decisions`, `training`. Everything else (a domain, a
    `one_of`, a list) is replaced whole, and `null` takes a part away.

    Raises:
        SpaceError: What it extends cannot be found or read, or extends itself.
    """
    return _extended(root, file, (file,))


def _extended(root: Node, file: str, path: tuple[str, ...]) -> Node:
    if not isinstance(root.value, dict) or "extends" not in root.value:
        return root
    node = root.value["extends"]
    text, found = _find(node, file)
    if found in path:
        way = f", by way of {' and '.join(path[1:])}" if len(path) > 1 else ""
        raise node.error(f"'{node.value}' extends itself{way}")
    if len(path) > _MOST:
        raise node.error(f"more than {_MOST} spaces extend each other")
    base = _extended(parse(text, found), found, (*path, found))
    fields = {name: child for name, child in root.value.items() if name != "extends"}
    return _merged(base, replace(root, value=fields), depth=0)


def _find(node: Node, file: str) -> tuple[str, str]:
    if not isinstance(node.value, str):
        raise node.error(f"found {node.shown()}, expected the name of a space, or of a file")
    if node.value in space_names():
        return space_text(node.value), f"search_spaces/{node.value}.yaml"
    path = Path(file).parent / node.value
    if not path.is_file():
        raise node.error(
            f"there is no space '{node.value}' to extend: give a file, or one of {', '.join(space_names())}",
            nearest(node.value, space_names()),
        )
    return read_text(str(path)), str(path)


def _merged(base: Node, change: Node, depth: int) -> Node:
    if (
        not isinstance(base.value, dict)
        or not isinstance(change.value, dict)
        or not _joined(base, change, depth)
    ):
        return change
    fields = dict(base.value)
    for name, child in change.value.items():
        if child.value is None:
            if name not in fields:
                raise child.error(f"there is no '{name}' to take away", nearest(name, fields), key=True)
            del fields[name]
        else:
            fields[name] = _merged(fields[name], child, depth + 1) if name in fields else child
    return replace(change, value=fields)


def _joined(base: Node, change: Node, depth: int) -> bool:
    assert isinstance(base.value, dict)
    assert isinstance(change.value, dict)
    if depth == 0:
        return True
    if depth == 1:
        return change.path in ("modules", "decisions", "training")
    if depth > 2 or "type" not in base.value:
        return False
    kind = change.value.get("type")
    return "one_of" not in change.value and (kind is None or kind.value == base.value["type"].value)
