"""What holds for every space of plain decisions."""

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autopeft.dsl import (
    Float,
    Interval,
    Levels,
    ModuleSpec,
    PlainSpace,
    SearchSpace,
    Space,
    build_space,
    read_space,
)
from autopeft.errors import SpaceError

from .generated import plain_spaces

TEXT = """
name: knobs
decisions:
  depth: {integer: [1, 10]}
  rate: {float: [1.0e-4, 1.0e-1], log: true}
  kind: {choice: [a, b, c]}
  momentum: {float: [0, 1], step: 0.5, when: {kind: a}}
  slow: {choice: [false, true], when: {momentum: '>= 0.5', depth: [1, 2]}}
  threads: 2
"""
KNOBS = read_space(TEXT, "knobs.yaml").plain()
IA3 = ModuleSpec("ia3", sites=["q"])

many = settings(max_examples=80, deadline=None)


def everything(space: PlainSpace) -> Iterator[tuple[object, ...]]:
    """All assignments of a space without intervals."""
    return itertools.product(*(d.values for d in space.decisions if isinstance(d, Levels)))


def as_search_space(space: PlainSpace) -> SearchSpace:
    return space


def test_a_point_has_what_has_an_effect() -> None:
    assert KNOBS.configuration((3, 0.01, "b", 0.5, True)) == {
        "threads": 2,
        "depth": 3,
        "rate": 0.01,
        "kind": "b",
    }
    point = KNOBS.configuration((2, 0.01, "a", 0.5, True))
    assert point == {"threads": 2, "depth": 2, "rate": 0.01, "kind": "a", "momentum": 0.5, "slow": True}


def test_conditions_reach_through_what_they_are_on() -> None:
    """`momentum` stands at 0.5 and has no effect, so that `slow` has none."""
    assert KNOBS.active((1, 0.01, "b", 0.5, True)) == [True, True, True, False, False]


@many
@given(plain_spaces(), st.integers(0, 10**6))
def test_a_point_is_read_back(written: Space, seed: int) -> None:
    space = as_search_space(written.plain())
    for assignment in space.sample(random.Random(seed), 5):
        assert space.valid(assignment)
        assert space.canonical(assignment) == assignment
        point = space.configuration(assignment)
        assert space.assignment(point) == assignment
        assert space.assignment(json.loads(json.dumps(point))) == assignment
        assert set(point) <= set(written.decisions)


@many
@given(plain_spaces(), st.data())
def test_canonical_is_the_same_point_and_idempotent(written: Space, data: st.DataObject) -> None:
    space = written.plain()
    seed = data.draw(st.integers(0, 10**6))
    raw = tuple(decision.draw(random.Random(seed + i)) for i, decision in enumerate(space.decisions))
    canonical = space.canonical(raw)
    assert space.canonical(canonical) == canonical
    assert space.configuration(canonical) == space.configuration(raw)
    assert space.active(canonical) == space.active(raw)


@many
@given(plain_spaces(), st.integers(0, 10**6))
def test_neighbours_are_others_one_exchange_away(written: Space, seed: int) -> None:
    space = written.plain()
    (assignment,) = space.sample(random.Random(seed), 1)
    neighbours = space.neighbours(assignment)
    assert assignment not in neighbours
    assert len(set(neighbours)) == len(neighbours)
    assert set(space.near(assignment, random.Random(seed), len(neighbours))) == set(neighbours)
    assert len(space.near(assignment, random.Random(seed), 2)) == min(2, len(neighbours))
    for neighbour in neighbours:
        assert space.valid(neighbour)
        assert space.canonical(neighbour) == neighbour
        here, there = space.active(assignment), space.active(neighbour)
        both = [on and also for on, also in zip(here, there, strict=True)]
        assert sum(a != b for a, b, on in zip(assignment, neighbour, both, strict=True) if on) == 1


@many
@given(plain_spaces())
def test_every_point_is_counted_and_reached(written: Space) -> None:
    space = written.plain()
    assume(all(isinstance(d, Levels) and len(d.values) <= 8 for d in space.decisions))
    points = {space.canonical(assignment) for assignment in everything(space)}
    assert space.cardinality == len(points)
    start = min(points, key=repr)
    seen, left = {start}, [start]
    while left:
        new = set(space.neighbours(left.pop())) - seen
        seen |= new
        left.extend(new)
    assert seen == points


def test_intervals_count_once_for_each_side_of_a_condition() -> None:
    assert KNOBS.cardinality == 10 * 2 + (2 * (1 + 2 * 2) + 8 * 3)
    assert build_space("s", decisions={"x": Float(0, 1), "two": 2}).plain().cardinality == 1
    text = "name: s\ndecisions: {x: {float: [0, 1]}, y: {choice: [a, b], when: {x: '> 0.5'}}}"
    assert read_space(text, "s").plain().cardinality == 3


@many
@given(plain_spaces(), st.integers(0, 10**6))
def test_numbers_are_read_back(written: Space, seed: int) -> None:
    space = written.plain()
    for assignment in space.sample(random.Random(seed), 5):
        vector, mask = space.encode(assignment)
        assert len(vector) == len(mask) == sum(d.width for d in space.decisions)
        assert all(0 <= number <= 1 for number in vector)
        back = space.decode(vector, mask)
        for decision, value, again in zip(space.decisions, assignment, back, strict=True):
            if isinstance(decision, Levels):
                assert again == value
            else:  # the place of a value with many digits may be that of the next one
                assert decision.place(again) == pytest.approx(decision.place(value), abs=2e-3)


@many
@given(plain_spaces(), st.integers(0, 10**6))
def test_optuna_asks_for_points_of_the_space(written: Space, seed: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = written.plain()
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask()
    assignment = space.to_optuna(trial)
    assert space.canonical(assignment) == assignment
    assert {
        decision.name for decision, on in zip(space.decisions, space.active(assignment), strict=True) if on
    } == set(trial.params)


def test_samples_follow_the_priors() -> None:
    text = "name: s\ndecisions: {kind: {choice: [a, b, c], priors: [8, 1, 0]}}"
    drawn = [kind for (kind,) in read_space(text, "s").plain().sample(random.Random(0), 900)]
    assert drawn.count("c") == 0
    assert 60 < drawn.count("b") < 140


@pytest.mark.parametrize(
    ("low", "high", "log", "middle"),
    [
        (2000, 2001, False, 2000.5),
        (1.23456, 7.89123, False, 4.56),
        (0.001234, 10, True, 0.111),
        (-3, 3, False, 0),
    ],
)
def test_an_interval_stays_between_its_ends(low: float, high: float, log: bool, middle: float) -> None:
    text = f"name: s\ndecisions: {{x: {{float: [{low}, {high}], log: {str(log).lower()}}}}}"
    (x,) = read_space(text, "s").plain().decisions
    assert isinstance(x, Interval)
    assert low <= x.at(0) < x.at(1) <= high
    assert (x.at(0), x.at(1)) == (pytest.approx(low, rel=1e-3), pytest.approx(high, rel=1e-3))
    assert x.at(0.5) == pytest.approx(middle, rel=1e-2, abs=1e-9)
    assert len({x.at(i / 50) for i in range(51)}) == 51


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dept": 3}, "there is no decision 'dept'; Did you mean 'depth'?"),
        ({"depth": 11}, "'depth' is 11 and must be one of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"),
        ({"depth": True}, "'depth' is True and must be"),
        ({"rate": 0.2}, "'rate' is 0.2 and must be from 0.0001 to 0.1"),
        ({"rate": "fast"}, "'rate' is 'fast' and must be from"),
        ({"kind": "a"}, "'momentum' is missing"),
        ({"threads": 3}, "'threads' is 3 and always 2"),
    ],
)
def test_what_is_no_point_is_told(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        KNOBS.assignment({"depth": 3, "rate": 0.01, "kind": "b"} | change)


def test_a_point_may_say_more_or_less_than_it_must() -> None:
    mine = KNOBS.assignment({"depth": 3.0, "rate": 0.01234, "kind": "b", "momentum": 0.5, "slow": True})
    assert KNOBS.configuration(mine) == {"threads": 2, "depth": 3, "rate": 0.0123, "kind": "b"}
    assert type(mine[0]) is int


def test_a_long_range_of_whole_numbers_is_an_interval() -> None:
    (x,) = read_space("name: s\ndecisions: {x: {integer: [-3000, 3000]}}", "s").plain().decisions
    assert (x.draw(random.Random(0)), x.holds(2.5), x.neighbours(0)[0]) == (2067, True, -1800)


def test_a_long_chain_of_conditions() -> None:
    chain = "".join(f"  d{i}: {{choice: [a, b], when: {{d{i - 1}: a}}}}\n" for i in range(1, 150))
    space = read_space(f"name: s\ndecisions:\n  d0: {{choice: [a, b]}}\n{chain}", "s").plain()
    assert space.cardinality == 151
    assert space.in_order == tuple(range(150))


def test_each_kind_of_space_is_used_in_its_way() -> None:
    with pytest.raises(SpaceError, match="has modules: tie it to a backbone"):
        build_space("s", {"a": IA3}, {"learning_rate": 0.01}).plain()
    with pytest.raises(SpaceError, match="no decisions: give one"):
        build_space("s", decisions={})
    with pytest.raises(SpaceError, match="decisions, which stand alone: leave out modules"):
        build_space("s", {"a": IA3}, decisions={"a": 1})


def test_a_space_is_changed_by_another(tmp_path: Path) -> None:
    (tmp_path / "knobs.yaml").write_text(TEXT)
    changed = "name: mine\nextends: knobs.yaml\ndecisions: {slow: null, depth: 4, more: {choice: [x, y]}}\n"
    space = read_space(changed, str(tmp_path / "mine.yaml"))
    assert list(space.decisions) == ["depth", "rate", "kind", "momentum", "threads", "more"]
    assert space.plain().fixed == {"depth": 4, "threads": 2}
