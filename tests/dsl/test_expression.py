"""Expressions are arithmetic over four names, whatever else is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.dsl.expression import NAMES, evaluate, is_expression

BERT = {"hidden": 768, "heads": 12, "intermediate": 3072, "layers": 12}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("hidden", 768),
        ("hidden / 2 - 1", 383),
        ("hidden // 5", 153),
        (" 2*(layers + heads) ", 48),
        ("-layers + hidden", 756),
        ("1.5 * heads", 18),
        ("1e2 + layers", 112),
    ],
)
def test_values(text: str, value: float) -> None:
    assert is_expression(text)
    assert evaluate(text, BERT) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",  # a number is no text
        "hiden",
        "hidden ** 2",
        "hidden % 2",
        "hidden.real",
        "hidden[0]",
        "hidden if layers else 1",
        "hidden; layers",
        "__import__('os').system('true') or hidden",
        "(lambda: hidden)()",
        "hidden / 0",
        "hidden * True",
        "hidden * 1e999",
        "'hidden'",
        "hidden" + " + 1" * 40,
        "(" * 40 + "hidden" + ")" * 40 + "*" * 30,
    ],
)
def test_what_is_none(text: str) -> None:
    assert not is_expression(text)


def test_equal_sizes_make_no_hole() -> None:
    """A name may be taken from another one: whether that is 0 depends on the backbone."""
    assert is_expression("hidden / (heads - layers)")
    with pytest.raises(ValueError, match="by zero"):
        evaluate("hidden / (heads - layers)", BERT)


@given(st.lists(st.sampled_from([*NAMES, *"0123456789.+-*/() e_x[]'\n"]), max_size=12).map("".join))
def test_any_text_has_a_finite_value_or_none(text: str) -> None:
    try:
        value = evaluate(text, BERT)
    except ValueError:
        assert not is_expression(text) or "/" in text
    else:
        assert abs(value) < float("inf")
