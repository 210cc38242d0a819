"""The suggester by itself."""

import math
import random
from typing import Any

import pytest
from shapes import VIT

import autopeft
from autopeft import Objective, Optimizer
from autopeft.dsl import (
    BoundSpace,
    Choice,
    Condition,
    Float,
    Integer,
    Space,
    adapter_bytes,
    build_space,
    read_space,
    trainable_parameters,
)
from autopeft.errors import InputError, UsedUpError
from autopeft.nouns import Configuration
from autopeft.optimize import SAMPLERS
from autopeft.optimize.observation import Observation
from autopeft.optimize.suggest import propose
from autopeft.registry import objectives, space_text

KNOBS = build_space(
    "knobs",
    decisions={
        "depth": Integer(1, 10),
        "rate": Float(1e-4, 1e-1, log=True),
        "kind": Choice(["a", "b", "c"]),
        "momentum": Float(0, 1, when=[Condition("kind", "in", ("a",))]),
        "threads": 2,
    },
)
SCORE = Objective("score", "maximize")
JOULES = Objective("joules", "minimize")
SIZE = Objective("size", "minimize", function=lambda point: 2.0 ** point["depth"])
KNOWN = objectives()


def measured(point: dict[str, Any]) -> dict[str, float]:
    rate = math.log10(point["rate"])
    score = -((rate + 2.5) ** 2) - ((point["depth"] - 6) / 4) ** 2 + (point["kind"] == "a")
    return {"score": score, "joules": point["depth"] + (point["kind"] == "c")}


def told(optimizer: Optimizer, steps: int) -> Optimizer:
    names = [o.name for o in optimizer.objectives if not o.known]
    for _ in range(steps):
        [point] = optimizer.ask()
        optimizer.tell(point, {name: measured(point)[name] for name in names})
    return optimizer


def tiny() -> BoundSpace:
    return read_space(space_text("tiny"), "tiny").bind(VIT, 5_000)


@pytest.mark.parametrize("wanted", [[SCORE], [SCORE, JOULES], [SCORE, SIZE], [SCORE, JOULES, SIZE]])
def test_a_loop(wanted: list[Objective]) -> None:
    optimizer = told(Optimizer(KNOBS, wanted, seed=1), 8)
    assert optimizer.pending == []
    assert optimizer.front
    for point, values in optimizer.front:
        assert point["threads"] == 2
        assert ("momentum" in point) == (point["kind"] == "a")
        assert set(values) == {o.name for o in wanted}
        assert values["score"] == measured(point)["score"]
        assert values.get("size", 2.0 ** point["depth"]) == 2.0 ** point["depth"]


def test_many_at_a_time_are_all_different_and_pending() -> None:
    optimizer = told(Optimizer(KNOBS, [SCORE, SIZE]), 6)
    points = optimizer.ask(4)
    assert optimizer.pending == points
    assert len({repr(point) for point in points}) == 4
    for point in reversed(points):
        optimizer.tell(point, {"score": measured(point)["score"]})
    assert optimizer.pending == []
    assert optimizer.ask()[0] not in points


def test_one_that_is_told_the_same_goes_on_in_the_same_way() -> None:
    first = Optimizer(KNOBS, [SCORE, JOULES], seed=5)
    history = []
    for _ in range(8):
        [point] = first.ask()
        first.tell(point, measured(point))
        history.append(point)
    second = Optimizer(KNOBS, [SCORE, JOULES], seed=5)
    for point in random.Random(0).sample(history, len(history)):
        second.tell(point, measured(point))
    assert second.ask(2) == first.ask(2)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("wanted", [[SCORE], [SCORE, SIZE], [JOULES, SCORE, SIZE]])
def test_every_sampler(sampler: str, wanted: list[Objective]) -> None:
    optimizer = told(Optimizer(KNOBS, wanted, sampler=sampler), 6)
    points = optimizer.ask(2)
    plain = KNOBS.plain()
    assert len({plain.assignment(point) for point in points}) == 2
    with pytest.raises(InputError, match="unknown sampler 'optuna:cmaes'"):
        Optimizer(KNOBS, wanted, sampler="optuna:cmaes")


def test_a_space_comes_to_its_end() -> None:
    optimizer = Optimizer(
        build_space("six", decisions={"x": Integer(1, 3), "on": Choice([False, True])}), [SCORE]
    )
    assert len(optimizer.ask(10)) == 6
    with pytest.raises(UsedUpError):
        optimizer.ask()


def test_a_point_that_failed_teaches_nothing_and_is_not_asked_for_again() -> None:
    space = build_space("three", decisions={"x": Integer(1, 3)})
    optimizer = Optimizer(space, [SCORE])
    for value in (math.nan, math.inf, 1.0):
        [point] = optimizer.ask()
        optimizer.tell(point, {"score": value})
    assert optimizer.front == [(point, {"score": 1.0})]
    with pytest.raises(UsedUpError):
        optimizer.ask()


def test_a_point_told_twice_is_measured_twice() -> None:
    optimizer = Optimizer(KNOBS, [SCORE])
    point = {"depth": 3, "rate": 0.01, "kind": "b"}
    optimizer.tell(point, {"score": 1.0})
    optimizer.tell(point, {"score": 2.0})
    [(best, values)] = optimizer.front
    assert (best, values) == ({**point, "threads": 2}, {"score": 1.5})


# -- spaces on a backbone ----------------------------------------------------------------------------------------------


def test_the_expected_front_is_no_matter_of_luck() -> None:
    """Forty measurements of a line, one of them far too high."""
    optimizer = Optimizer(build_space("line", decisions={"x": Float(0, 1)}), [SCORE])
    for i in range(41):
        optimizer.tell({"x": i / 40}, {"score": i / 40 + 0.05 * (-1) ** i + 2.0 * (i == 10)})
    [(lucky, _)], [(likely, values)] = optimizer.front, optimizer.expected_front
    assert lucky["x"] == 0.25
    assert likely["x"] > 0.8
    assert values["score"] == pytest.approx(likely["x"], abs=0.2)


@pytest.mark.parametrize("wanted", [[SCORE, JOULES], [SCORE, SIZE]])
def test_the_expected_front_in_the_objectives_own_units(wanted: list[Objective]) -> None:
    optimizer = Optimizer(KNOBS, wanted)
    assert optimizer.expected_front == []
    told(optimizer, 12)
    for point, values in optimizer.expected_front:
        assert set(values) == {o.name for o in wanted}
        assert values.get("size", 2.0 ** point["depth"]) == 2.0 ** point["depth"]
        assert values.get("joules", 1.0) > 0


def test_a_score_against_parameters_is_what_a_study_searches() -> None:
    space = tiny()
    optimizer = Optimizer(space, [KNOWN["score"], KNOWN["trainable"]], seed=2)
    seen = []
    for i in range(8):
        [configuration] = optimizer.ask()
        assignment = space.assignment(configuration)
        assert assignment == propose(space, seen, 2)
        seen.append(Observation(assignment, 0.1 * i))
        optimizer.tell(configuration, {"score": 0.1 * i})
    assert {values["trainable"] for _, values in optimizer.front} <= {
        space.cost(one.assignment) for one in seen
    }


def test_what_is_to_be_small_is_searched_for_as_its_negative() -> None:
    space = tiny()
    up = Optimizer(space, [KNOWN["score"], KNOWN["trainable"]])
    down = Optimizer(space, [Objective("error", "minimize"), KNOWN["trainable"]])
    for i in range(7):
        [one], [other] = up.ask(), down.ask()
        assert one == other
        up.tell(one, {"score": math.sin(i)})
        down.tell(other, {"error": -math.sin(i)})


@pytest.mark.parametrize(
    "wanted",
    [
        [KNOWN["score"]],
        [KNOWN["score"], KNOWN["peak_memory_bytes"], KNOWN["trainable"]],
        [KNOWN["score"], Objective("modules", "minimize", function=lambda c: len(c.modules))],
    ],
)
def test_other_objectives_on_a_backbone(wanted: list[Objective]) -> None:
    space = tiny()
    optimizer = Optimizer(space, wanted)
    for i in range(7):
        [configuration] = optimizer.ask()
        assert isinstance(configuration, Configuration)
        assert space.cost(space.assignment(configuration)) <= space.limit
        optimizer.tell(configuration, {o.name: math.sin(i) for o in wanted if not o.known})
    assert len({configuration.key for configuration in optimizer.ask(2)}) == 2


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ([], "there are 0 objectives: give one to 4"),
        ([SCORE] * 5, "there are 5 objectives"),
        ([SCORE, SCORE], "the objective 'score' is there twice"),
        (
            [Objective("score", "maximise")],
            "the direction of 'score' is 'maximise': allowed are maximize, minimize.",
        ),  # type: ignore[arg-type]
        ([SIZE], "nothing to tell: one at least must be measured"),
        ([SCORE, KNOWN["trainable"]], "'trainable' is computed by spaces of modules, and 'knobs' has none"),
    ],
)
def test_objectives_that_cannot_be(wanted: list[Objective], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Optimizer(KNOBS, wanted)


@pytest.mark.parametrize(
    ("point", "values", "said"),
    [
        ({}, {"scroe": 1.0}, "unknown objective 'scroe': known are score, joules. Did you mean 'score'?"),
        (
            {},
            {"score": 1.0, "joules": 1.0, "size": 3},
            "the objective 'size' is known and not told: leave it out.",
        ),
        (
            {},
            {"score": 1.0},
            r"the objective 'joules' is missing: all that is measured is told together \(score, jou",
        ),
        ({}, {"score": "good", "joules": 1.0}, "'score' is 'good': tell a number."),
        ({"depth": 11}, {}, "no point of the space 'knobs': 'depth' is 11 and must be one of 1, 2"),
        ({"dept": 1}, {}, "no point of the space 'knobs': there is no decision 'dept'; Did you mean 'depth'"),
    ],
)
def test_what_cannot_be_told(point: dict[str, Any], values: dict[str, Any], said: str) -> None:
    optimizer = Optimizer(KNOBS, [SCORE, JOULES, SIZE])
    with pytest.raises(InputError, match=said):
        optimizer.tell({"depth": 3, "rate": 0.01, "kind": "b"} | point, values)
    assert optimizer.front == []


def test_what_cannot_be_asked() -> None:
    with pytest.raises(InputError, match="asked for 0 points"):
        Optimizer(KNOBS, [SCORE]).ask(0)
    with pytest.raises(InputError, match="a point is a dictionary, decision to value"):
        Optimizer(KNOBS, [SCORE]).tell(3, {"score": 1.0})
    with pytest.raises(InputError, match="has modules: tie it to a backbone with bind"):
        Optimizer(read_space(space_text("tiny"), "tiny"), [SCORE])
    with pytest.raises(InputError, match="beliefs are for one measured objective against trainable"):
        Optimizer(KNOBS, [SCORE], beliefs=[[]])


def test_what_a_space_of_modules_computes() -> None:
    space = tiny()
    optimizer = Optimizer(space, [SCORE, KNOWN["adapter_bytes"], KNOWN["trainable"]])
    for i in range(6):
        [configuration] = optimizer.ask()
        optimizer.tell(configuration, {"score": math.sin(i)})
    for configuration, values in optimizer.front:
        assert values["adapter_bytes"] == adapter_bytes(configuration, space.shape)
        assert values["trainable"] == trainable_parameters(configuration, space.shape)


def test_of_what_spans_orders_of_magnitude_ratios_count() -> None:
    bytes_ = Objective("bytes", "minimize", log=True)
    plain, log = (Optimizer(KNOBS, [SCORE, one], seed=2) for one in (Objective("bytes", "minimize"), bytes_))
    for _ in range(9):
        [point] = log.ask()
        values = measured(point)
        log.tell(point, {"score": values["score"], "bytes": 10 ** values["joules"]})
        plain.tell(point, {"score": values["score"], "bytes": math.log(10) * values["joules"]})
    # As if the logarithm had been told, but in natural units.
    assert log.ask() == plain.ask()
    for (one, found), (other, as_log) in zip(log.expected_front, plain.expected_front, strict=True):
        assert one == other
        assert found["bytes"] == pytest.approx(math.exp(as_log["bytes"]))
    with pytest.raises(InputError, match=r"'bytes' is 0.0, and its ratios count: tell a number above 0"):
        log.tell(point, {"score": 1.0, "bytes": 0})


def test_a_space_that_was_not_read_is_checked() -> None:
    with pytest.raises(InputError, match="there is no decision 'dept'"):
        Optimizer(
            Space(
                "s",
                decisions={"depth": Integer(1, 3), "x": Float(0, 1, when=[Condition("dept", "in", (1,))])},
            ),
            [SCORE],
        )
    assert autopeft.Optimizer is Optimizer
