"""Ranks dealt out: planted worth is found, and no plan costs more than the configuration."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import VIT

from autopeft.allocate.ranks import by_promise, by_variance, drawn, evenly, pruned
from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Module

LORA = Module("lora", 4, (0, 1, 2), (("alpha", 8), ("sites", ("q", "up"))))
PREFIX = Module("prefix", 3, (0,), (("sites", ("attention",)),))
DEALT = Dealt.of(Configuration.of([LORA, PREFIX], 1e-3, None, {"type": "knapsack"}), VIT)


def ranks(plan: Configuration) -> dict[Unit, int]:
    return {
        Unit(i, s): int(m.size)
        for m in plan.modules
        if m.type in ("lora", "adalora")
        for i in m.layers
        for s in m.sites
    }


def cost(plan: Configuration) -> int:
    assert PREFIX in plan.modules  # what is not dealt out stays
    return trainable_parameters(plan, VIT)


WHOLE = trainable_parameters(DEALT.configuration, VIT)
worths = st.lists(st.floats(0, 10), min_size=16, max_size=16).map(lambda values: sorted(values, reverse=True))


@settings(deadline=None, max_examples=25)
@given(st.lists(worths, min_size=6, max_size=6), st.floats(1.0, 4.0), st.integers(0, 100))
def test_no_plan_costs_more(values: list[list[float]], rho: float, seed: int) -> None:
    found = dict(zip(DEALT.units, values, strict=True))
    for plan in (
        by_promise(DEALT, found),
        by_variance(DEALT, found, rho),
        drawn(DEALT, random.Random(seed)),
        evenly(DEALT, DEALT.units[:2]),
        pruned(DEALT, 0.6),
    ):
        assert cost(plan) <= WHOLE


def test_the_knapsack_finds_what_is_planted() -> None:
    """Three directions at one place are worth all there is: they are taken, and the rest of the budget goes where it can."""
    best = DEALT.units[3]
    values = {unit: [1e-3] * 16 for unit in DEALT.units}
    values[best] = [100.0, 90.0, 80.0, *[1e-3] * 13]
    found = ranks(by_promise(DEALT, values))
    assert found[best] >= 3
    nothing_more = {unit: [0.0] * 16 for unit in DEALT.units} | {best: [5.0] + [0.0] * 15}
    assert ranks(by_promise(DEALT, nothing_more))[best] >= 1


def test_variance_decides_rank_by_rank_up_to_its_bound() -> None:
    values = {unit: [0.1 / (k + 1) for k in range(16)] for unit in DEALT.units}
    best = DEALT.units[0]
    values[best] = [1.0 - 0.01 * k for k in range(16)]
    plan = by_variance(DEALT, values, 2.0)
    found = ranks(plan)
    assert found[best] == 8 == max(found.values())  # twice the rank of the configuration
    assert all(m.option("init") == "eva" for m in plan.modules if m.type == "lora")


def test_chance_draws_another_plan_for_another_seed_and_the_same_for_the_same() -> None:
    first, again, other = (drawn(DEALT, random.Random(seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert cost(first) >= WHOLE - max(DEALT.rank_cost(unit) for unit in DEALT.units)


def test_those_that_are_kept_have_one_rank_which_fills_the_budget() -> None:
    kept = DEALT.units[:3]
    found = ranks(evenly(DEALT, kept))
    assert set(found) == set(kept)
    rank = min(found.values())
    assert sum(DEALT.lora_cost(unit, rank + 1) for unit in kept) > DEALT.cost
    left = DEALT.cost - sum(DEALT.lora_cost(unit, size) for unit, size in found.items())
    assert left >= 0
    for unit in kept:  # the first ones have what is left
        assert found[unit] == rank + 1 or DEALT.rank_cost(unit) > left


@pytest.mark.parametrize(("keep", "target"), [(0.5, 2), (0.26, 1)])
def test_adalora_keeps_a_share(keep: float, target: int) -> None:
    plan = pruned(DEALT, keep)
    modules = [m for m in plan.modules if m.type == "adalora"]
    assert {m.option("target_rank") for m in modules if m.size == 4} == {target}
    assert all(m.option("alpha") == 2 * m.size for m in modules)
    assert {m.type for m in pruned(DEALT, 1.0).modules} == {"lora", "prefix"}
