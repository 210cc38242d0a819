"""Our source, written into a script with all that it needs."""

import inspect

import pytest

from autopeft import errors
from autopeft.adapters import prefix
from autopeft.dsl import own_types, peft_types
from autopeft.errors import unknown_name
from autopeft.export.inline import Import, import_lines, imports_of, inline


def test_what_is_used_comes_too_and_before() -> None:
    imports, sources = inline([unknown_name])
    assert imports == "import difflib\nfrom collections.abc import Iterable"
    assert list(sources) == ["AutopeftError", "InputError", "UnknownNameError", "nearest", "unknown_name"]
    assert sources["nearest"] == inspect.getsource(errors.nearest)


def test_constants_come_with_what_uses_them() -> None:
    imports, sources = inline([prefix.put_prefix])
    assert sources["_NAME"].startswith('_NAME = "prefixed_"')
    assert list(sources)[-1] == "put_prefix"
    assert "from transformers import AttentionInterface, AttentionMaskInterface" in imports
    assert "import sys" in imports.splitlines()
    assert "autopeft" not in imports


def test_imports_are_sorted_and_merged() -> None:
    found = imports_of(
        "import math\nimport numpy as np\nfrom torch import nn, Tensor as T\nfrom a.b import c"
    )
    assert Import("torch", "Tensor", "T") in found
    assert import_lines(found) == (
        "import math\n\nimport numpy as np\nfrom a.b import c\nfrom torch import Tensor as T, nn"
    )


def test_two_things_of_one_name_are_noticed() -> None:
    with pytest.raises(AssertionError, match="two things that are called _prefix cannot be in one script"):
        inline([own_types._prefix, peft_types._prefix])
