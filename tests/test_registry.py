import pytest

from autopeft.dsl import read_space
from autopeft.errors import UnknownNameError
from autopeft.registry import objectives, space_names, space_text


def test_every_shipped_space_is_found_and_bears_its_own_name() -> None:
    assert {"autopeft", "lora"} <= set(space_names())
    for name in space_names():
        assert read_space(space_text(name), f"{name}.yaml").name == name


def test_an_unknown_space_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError) as raised:
        space_text("autopet")
    assert str(raised.value) == (
        f"unknown search space 'autopet': known are {', '.join(space_names())}. Did you mean 'autopeft'?"
    )


def test_every_objective_has_a_direction_and_a_title() -> None:
    found = objectives()
    assert {"score", "test_score", "train_loss", "trainable", "seconds", "peak_memory_bytes"} <= set(found)
    for name, objective in found.items():
        assert objective.name == name
        assert objective.direction in ("maximize", "minimize")
        assert objective.title
    assert [name for name, objective in found.items() if objective.computed] == ["trainable"]
