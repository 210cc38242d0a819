"""Our own source as part of a script: functions and classes with all that they need, so that nothing drifts.

What a function uses is followed by name: a name that its module imports from elsewhere becomes an import of the
script, a name of our own (a function, class or constant at the top of a module of ours) becomes source in it.
"""

import ast
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

_OURS = "autopeft"


@dataclass(frozen=True)
class Import:
    """One imported name.

    Attributes:
        module: Where it is imported from.
        name: What is imported; empty where it is the module itself.
        alias: What it is called; empty where it keeps its name.
    """

    module: str
    name: str = ""
    alias: str = ""


@dataclass(frozen=True)
class _File:
    lines: list[str]
    named: dict[str, ast.stmt]
    imports: dict[str, Import]


def inline(
    wanted: Iterable[Callable[..., Any]], further: Iterable[Import] = ()
) -> tuple[str, dict[str, str]]:
    """The source of functions and classes of ours, and of all of ours that they use.

    Args:
        wanted: What the script calls.
        further: Imports that the rest of the script needs.

    Returns:
        The import lines of the script, and source by name: what is used stands before what uses it.

    >>> imports, sources = inline([nearest])            # doctest: +SKIP
    >>> list(sources)                                   # doctest: +SKIP
    ['nearest']
    """
    imports, sources = set(further), dict[tuple[str, str], str]()
    begun: set[tuple[str, str]] = set()

    def visit(module: str, name: str) -> None:
        if (module, name) in begun:
            return
        begun.add((module, name))
        file = _read(module)
        if name in file.imports:
            found = file.imports[name]
            if found.module.split(".")[0] == _OURS:
                visit(found.module, found.name)
            else:
                imports.add(found)
        elif name in file.named:
            node = file.named[name]
            for used in _names(node):
                visit(module, used)
            sources[module, name] = _text(file.lines, node)

    for each in wanted:
        visit(each.__module__, each.__name__)
    by_name = {name: text for (_, name), text in sources.items()}
    if len(by_name) < len(sources):
        names = [name for _, name in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise AssertionError(f"two things that are called {', '.join(twice)} cannot be in one script")
    return import_lines(imports), by_name


def imports_of(text: str) -> set[Import]:
    """The imports at the top of some source.

    >>> sorted(imports_of("import math"), key=str)
    [Import(module='math', name='', alias='')]
    """
    return set(_imports(ast.parse(text)).values())


def import_lines(imports: Iterable[Import]) -> str:
    """Import statements, sorted, the standard library before the rest.

    >>> print(import_lines([Import("torch", "nn"), Import("math"), Import("torch", "fx")]))
    import math
    <BLANKLINE>
    from torch import fx, nn
    """
    groups: dict[bool, dict[str, set[str]]] = {True: {}, False: {}}
    for one in imports:
        renamed = f" as {one.alias}" if one.alias else ""
        start, name = ("import", f"{one.module}{renamed}")
        if one.name:
            start, name = (f"from {one.module} import", f"{one.name}{renamed}")
        standard = one.module.split(".")[0] in sys.stdlib_module_names
        groups[standard].setdefault(start if one.name else f"{start} {name}", set()).add(name)
    parts = []
    for group in groups.values():
        lines = [
            f"{start} {', '.join(sorted(names))}" if start.startswith("from") else start
            for start, names in sorted(group.items(), key=lambda item: (item[0].startswith("from"), item[0]))
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(part for part in parts if part)


@functools.cache
def _read(module: str) -> _File:
    source = inspect.getsource(importlib.import_module(module))
    tree = ast.parse(source)
    named: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            named[node.name] = node
        elif isinstance(node, ast.Assign):
            named |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            named[node.target.id] = node
    return _File(source.splitlines(), named, _imports(tree))


def _imports(tree: ast.Module) -> dict[str, Import]:
    found: dict[str, Import] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.split(".")[0]] = Import(alias.name, "", alias.asname or "")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = Import(node.module or "", alias.name, alias.asname or "")
    return found


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement reads, in their order; of annotations in quotation marks too."""
    names: dict[str, None] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            names[part.id] = None
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.isidentifier():
            names[part.value] = None
    own = node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
    return [name for name in names if name != own]


def _text(lines: list[str], node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(d.lineno for d in decorators)]) - 1
    while first > 0 and lines[first - 1].startswith("#"):  # what a comment says of it
        first -= 1
    return "\n".join(lines[first : node.end_lineno]) + "\n"
