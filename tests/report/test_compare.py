import pytest

from autopeft.nouns import Study
from autopeft.report.compare import Group, differences, groups, objections

from .filled import LIMIT, SETTINGS


def _study(name: str, **changed: object) -> Study:
    return Study(hash(name), name, {**SETTINGS, **changed}, LIMIT, "autopeft", 0.5, "")


def test_studies_that_differ_in_their_seed_are_one_group() -> None:
    studies = [_study(f"a{i}", seed=i) for i in range(3)] + [_study("r", sampler="random")]
    found = groups(studies, {"a0": 0.3, "a1": 0.4, "a2": 0.5, "r": 0.1})
    assert found[0] == Group(("a0", "a1", "a2"), pytest.approx(0.4), pytest.approx(0.1))
    assert found[1] == Group(("r",), 0.1, None)


def test_a_difference_needs_three_seeds_in_each() -> None:
    volumes = {"a0": 0.3, "a1": 0.4, "a2": 0.5, "a3": 0.6, "r0": 0.1, "r1": 0.12, "r2": 0.13, "r3": 0.14}
    ours = [_study(f"a{i}", seed=i) for i in range(4)]
    random = [_study(f"r{i}", seed=i, sampler="random") for i in range(4)]
    (pair,) = differences(groups(ours + random, volumes), volumes)
    assert pair.p == pytest.approx(2 / 70)  # of the 70 ways to part eight, the two that are as extreme
    (pair,) = differences(groups(ours + random[:2], volumes), volumes)
    assert pair.p is None


def test_what_cannot_be_compared() -> None:
    other = _study("b", model="other", task={"data": "sst2", "metric": "loss"})
    assert objections([_study("a"), _study("c")]) == []
    said = " ".join(objections([_study("a"), other]))
    assert "metrics: accuracy, loss" in said
    assert "data: sst2, starter" in said
    assert "backbones: other, starter" in said
