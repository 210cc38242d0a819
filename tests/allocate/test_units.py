"""What there is to deal out of a configuration."""

import pytest
from shapes import VIT

from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Module

PREFIX = Module("prefix", 3, (0, 1), (("sites", ("attention",)),))
LORA = Module("lora", 4, (0, 2), (("alpha", 8), ("sites", ("q", "up"))))
OTHER = Module("lora", 2, (1,), (("alpha", 4), ("dora", True), ("sites", ("v",))))
WHOLE = Configuration.of([PREFIX, LORA, OTHER], 1e-3, {"batch_size": 16}, {"type": "spt"})


def test_every_place_of_a_lora_is_a_unit_and_nothing_else() -> None:
    dealt = Dealt.of(WHOLE, VIT)
    assert dealt.ranks == {
        Unit(0, "q"): 4,
        Unit(0, "up"): 4,
        Unit(1, "v"): 2,
        Unit(2, "q"): 4,
        Unit(2, "up"): 4,
    }
    alone = Configuration.of([LORA, OTHER], 1e-3)
    assert dealt.cost == trainable_parameters(alone, VIT)


def test_the_plan_of_the_same_ranks_is_the_configuration_without_its_allocator() -> None:
    dealt = Dealt.of(WHOLE, VIT)
    plan = dealt.plan(dealt.lora(unit, rank) for unit, rank in dealt.ranks.items())
    assert plan == Configuration.of([PREFIX, LORA, OTHER], 1e-3, {"batch_size": 16})
    assert plan.allocation == ()


def test_another_rank_has_the_same_scale_and_costs_in_proportion() -> None:
    dealt = Dealt.of(WHOLE, VIT)
    unit = Unit(0, "q")
    assert dict(dealt.lora(unit, 6).options)["alpha"] == pytest.approx(12)
    assert dealt.lora_cost(unit, 6) == 6 * dealt.lora_cost(unit, 1) == 6 * dealt.rank_cost(unit)
    dora = Unit(1, "v")
    place = dealt.place(dora)
    assert dealt.lora_cost(dora, 3) - dealt.lora_cost(dora, 2) == place.inputs + place.outputs
    assert dealt.lora_cost(dora, 2) == 2 * (place.inputs + place.outputs) + place.outputs
