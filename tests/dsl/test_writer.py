"""Text → tree → text: nothing is lost on the way."""

import random

import pytest
from hypothesis import given, settings

from autopeft.dsl import Choice, Condition, ModuleSpec, Space, Value, build_space, read_space, write_space
from autopeft.registry import space_names, space_text

from .generated import plain_spaces, spaces
from .test_reader import GOOD


@pytest.mark.parametrize("name", space_names())
def test_shipped_spaces_round_trip(name: str) -> None:
    space = read_space(space_text(name), name)
    again = read_space(write_space(space), name)
    assert again == space
    assert write_space(again) == write_space(space)


def test_every_form_round_trips() -> None:
    space = read_space(GOOD, "s.yaml")
    assert read_space(write_space(space), "s.yaml") == space


@settings(max_examples=100, deadline=None)
@given(spaces())
def test_any_space_round_trips(space: Space) -> None:
    assert read_space(write_space(space), "again.yaml") == space


@settings(max_examples=200, deadline=None)
@given(plain_spaces())
def test_any_space_of_decisions_round_trips(space: Space) -> None:
    again = read_space(write_space(space), "again.yaml")
    assert again == space
    assert [type(v) for d in again.decisions.values() if isinstance(d, Choice) for v in d.values] == [
        type(v) for d in space.decisions.values() if isinstance(d, Choice) for v in d.values
    ]


def test_the_text() -> None:
    space = build_space("tiny", {"a": ModuleSpec("ia3", sites=["v"])}, {"learning_rate": 0.01})
    assert write_space(space) == (
        "name: tiny\nmodules:\n  a:\n    type: ia3\n    sites: [v]\ntraining: {learning_rate: 0.01}\n"
    )


@pytest.mark.parametrize("seed", range(20))
def test_numbers_keep_all_their_digits(seed: int) -> None:
    value = random.Random(seed).uniform(0, 1) ** 8 + 1e-11
    space = build_space("s", {"a": ModuleSpec("ia3", sites=["v"])}, {"learning_rate": value})
    assert read_space(write_space(space), "s").training["learning_rate"] == Value(value)


def test_a_value_under_a_condition_is_a_choice_of_one() -> None:
    """The tree can say it; the text has a form for it."""
    when = (Condition("rank", ">=", (4,)),)
    lora = ModuleSpec("lora", sites=["q"], rank=Choice((2, 4)), alpha=Value(16, when))
    space = build_space("s", {"a": lora}, {"learning_rate": 0.01})
    assert space.modules["a"].fields["alpha"] == Choice((16,), when=when)  # type: ignore[union-attr]
