"""Search spaces by name or file."""

from pathlib import Path

from autopeft.dsl.document import read_text
from autopeft.dsl.reader import read_space
from autopeft.dsl.space import Space
from autopeft.errors import InputError, nearest
from autopeft.registry import space_names, space_text


def find_space(name: str) -> Space:
    """Read a shipped space, or a file.

    Args:
        name: The name of a shipped space, which goes before a file of this name, or the path of a YAML file.

    Raises:
        InputError: There is neither.
        SpaceError: It is not right.
    """
    if name in space_names():
        return read_space(space_text(name), f"search_spaces/{name}.yaml")
    if not Path(name).is_file():
        raise InputError(
            f"there is no search space '{name}': give a YAML file, or one of {', '.join(space_names())}.",
            nearest(name, space_names()),
        )
    return read_space(read_text(name), name)
