import pickle
from collections.abc import Iterator

import pytest

from autopeft import errors
from autopeft.errors import AutopeftError, UnknownNameError, nearest, unknown_name


def tree(root: type[AutopeftError]) -> Iterator[type[AutopeftError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


CLASSES = sorted(set(tree(AutopeftError)), key=lambda c: c.__name__)


@pytest.mark.parametrize("error", CLASSES)
def test_survives_pickle_with_its_hint(error: type[AutopeftError]) -> None:
    copy = pickle.loads(pickle.dumps(error("what was found", "what to do")))
    assert type(copy) is error
    assert (copy.message, copy.hint, str(copy)) == (
        "what was found",
        "what to do",
        "what was found what to do",
    )


@pytest.mark.parametrize("error", CLASSES)
def test_a_hint_is_optional(error: type[AutopeftError]) -> None:
    assert str(pickle.loads(pickle.dumps(error("what was found")))) == "what was found"


def test_the_drawn_tree_is_the_tree() -> None:
    assert errors.__doc__ is not None
    for error in CLASSES:
        assert error.__name__ in errors.__doc__


def test_unknown_name_lists_what_is_known_and_what_is_near() -> None:
    error = unknown_name("sampler", "botroch", ["botorch", "random"])
    assert isinstance(error, UnknownNameError)
    assert str(error) == "unknown sampler 'botroch': known are botorch, random. Did you mean 'botorch'?"
    assert (
        str(unknown_name("sampler", "zzz", iter(["botorch"]))) == "unknown sampler 'zzz': known are botorch."
    )
    assert str(unknown_name("sampler", "x", [])) == "unknown sampler 'x': known are none."


def test_nearest() -> None:
    assert nearest("rnak", ["rank", "type"]) == "Did you mean 'rank'?"
    assert nearest("zzz", ["rank"]) == ""
