import json
import math
from importlib.metadata import EntryPoint

import pytest

from autopeft import Objective
from autopeft.dsl import read_space
from autopeft.errors import InputError, UnknownNameError
from autopeft.registry import (
    ENTRY_POINTS,
    find_objective,
    find_objectives,
    objectives,
    objectives_of,
    recorded,
    space_names,
    space_text,
)

JOULES = Objective(
    "joules", "minimize", unit="J", about="Heat of the machine room.", measure=lambda trained: 1.0
)
TAKEN = Objective("latency", "minimize", measure=lambda trained: 1.0)
EMPTY = Objective("empty", "minimize")
UPWARDS = Objective("upwards", "maximise")  # type: ignore[arg-type]


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
        assert objective.about
    assert [name for name, objective in found.items() if objective.computed] == ["adapter_bytes", "trainable"]
    typed = [objective.typed for objective in found.values()]
    assert len(set(typed)) == len(typed)


def test_an_objective_is_found_by_its_name_and_by_its_short_one() -> None:
    assert find_objective("memory") is find_objective("training_memory_bytes")
    with pytest.raises(
        UnknownNameError, match=r"unknown objective 'latencey': known are .*Did you mean 'latency'"
    ):
        find_objective("latencey")
    with pytest.raises(UnknownNameError, match="unknown objective 'test_score'"):
        find_objective("test_score")  # nothing is chosen by it


def test_what_a_search_is_for() -> None:
    assert find_objectives("memory, trainable,score")[0] == ("score", "trainable", "training_memory_bytes")
    references, found = find_objectives(["score", f"{__name__}:JOULES"])
    assert references == ("score", f"{__name__}:JOULES")
    assert found[1].about == "Heat of the machine room."
    written = [recorded(reference, one) for reference, one in zip(references, found, strict=True)]
    assert objectives_of({"objectives": json.loads(json.dumps(written))}) == found
    gone = {**written[1], "reference": "no_such_package:X"}  # what it meant is still known
    (left,) = objectives_of({"objectives": [gone]})
    assert (left.name, left.unit, left.direction, left.measure) == ("joules", "J", "minimize", None)
    assert [o.name for o in objectives_of({})] == ["score", "trainable"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("score", "a search is for 2 to 4 objectives, not 1"),
        ("score,trainable,memory,time,flops", "2 to 4 objectives, not 5"),
        ("score,memory,training_memory_bytes", "the objective 'memory' is there twice"),
        ("trainable,bytes", "every one of these objectives is known before training"),
        (
            "score,no_such_package:X",
            r"there is no objective at 'no_such_package:X': No module named .* on PYTHONPATH, or install it",
        ),
        (f"score,{__name__}:NOTHING", f"no objective at '{__name__}:NOTHING': module"),
        (f"score,{__name__}:__name__", "is no autopeft.Objective, but a str"),
        (f"score,{__name__}:EMPTY", "'empty' says neither how it is computed nor how it is measured"),
        (
            f"score,{__name__}:UPWARDS",
            "the direction of 'upwards' is 'maximise': allowed are maximize, minimize",
        ),
        ("score,", "unknown objective ''"),
    ],
)
def test_what_no_search_can_be_for(wanted: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_objectives(wanted)


def test_an_installed_package_brings_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points = [
        EntryPoint("joules", f"{__name__}:JOULES", ENTRY_POINTS),
        EntryPoint("latency", f"{__name__}:TAKEN", ENTRY_POINTS),
        EntryPoint("broken", f"{__name__}:NOTHING", ENTRY_POINTS),
    ]
    monkeypatch.setattr("autopeft.registry.metadata.entry_points", lambda group: points)
    objectives.cache_clear()
    try:
        assert find_objective("joules").unit == "J"
        assert find_objective("latency").name == "latency_seconds"
    finally:
        objectives.cache_clear()
    assert "the objective 'latency' of 'test_registry' is left out: the name is taken" in caplog.text
    assert "the objective 'broken' of 'test_registry' cannot be used" in caplog.text


def test_values_as_they_are_compared() -> None:
    size = Objective("size", "minimize", log=True)
    assert size.coordinate(10) == -math.log(10)
    assert size.natural(size.coordinate(7.0)) == pytest.approx(7.0)
    assert math.isnan(size.coordinate(0.0))
    assert objectives()["trainable"].coordinate(0) == 0  # nothing counts as one
    assert Objective("gain", "maximize").coordinate(-2.0) == -2.0
