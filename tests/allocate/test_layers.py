"""Importance of layers read out: what is planted comes first, ties have an answer, and nothing costs more."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import VIT, layer_shape

from autopeft.allocate.layers import layer_set, multipliers, scaled, within
from autopeft.dsl import trainable_parameters
from autopeft.dsl.types import MODULE_TYPES, options_of
from autopeft.nouns import BackboneShape, Configuration, Module

LAYERS = (0, 1, 2, 3)
LORA = Module("lora", 4, LAYERS, (("alpha", 8), ("sites", ("q", "up"))))
DORA = Module("lora", 3, LAYERS, (("dora", True), ("sites", ("v",))))
BOTTLENECK = Module("bottleneck", 6, LAYERS, (("position", "parallel"), ("scaling", 4), ("sites", ("ffn",))))
PREFIX = Module("prefix", 3, LAYERS, (("sites", ("attention",)),))
WIDE = layer_shape({**dict.fromkeys("qkvo", (64, 64)), "up": (64, 512), "down": (512, 64)}, prefix=64)
SHAPE = replace(VIT, layers=(*VIT.layers[:3], WIDE))
PLANTED = {0: 0.1, 1: 0.8, 2: 0.3, 3: 0.4}


def chosen(*modules: Module, kind: str = "ist") -> Configuration:
    return Configuration.of(modules, 1e-3, {"batch_size": 16}, {"type": kind, "active": 0.5})


def sizes(configuration: Configuration, kind: str) -> dict[int, int]:
    return {i: int(m.size) for m in configuration.modules if m.type == kind for i in m.layers}


def test_the_most_important_layers_in_order_of_ties() -> None:
    assert layer_set(PLANTED, 2) == (1, 3)
    assert layer_set(dict(reversed(PLANTED.items())), 3) == (1, 2, 3)
    assert layer_set(dict.fromkeys(LAYERS, 0.5), 2) == (0, 1)
    assert layer_set(PLANTED, 9) == LAYERS


def test_multipliers_are_one_on_average_and_one_where_nothing_is_known() -> None:
    found = multipliers(PLANTED)
    assert found == pytest.approx({0: 0.25, 1: 2.0, 2: 0.75, 3: 1.0})
    assert multipliers(dict.fromkeys(LAYERS, 0.0)) == dict.fromkeys(LAYERS, 1.0)


def test_modules_of_the_layer_set_alone_and_others_as_they_are() -> None:
    found = within(chosen(LORA, BOTTLENECK, PREFIX), (1, 3))
    wanted = [replace(LORA, layers=(1, 3)), replace(BOTTLENECK, layers=(1, 3)), PREFIX]
    assert found == Configuration.of(wanted, 1e-3, {"batch_size": 16})
    nothing = within(chosen(replace(LORA, layers=(0,))), (1, 3))
    assert nothing.modules == ()


def test_sizes_follow_the_multipliers() -> None:
    alike = replace(SHAPE, layers=VIT.layers[:1] * 4)
    found = scaled(chosen(LORA, PREFIX), multipliers(PLANTED), alike)
    assert sizes(found, "lora") == {0: 1, 1: 8, 2: 3, 3: 4}
    assert all(m.option("alpha") == 2 * m.size for m in found.modules if m.type == "lora")
    assert PREFIX in found.modules
    assert found.allocation == ()
    assert trainable_parameters(found, alike) == trainable_parameters(chosen(LORA, PREFIX), alike)
    widths = scaled(chosen(BOTTLENECK), multipliers(PLANTED), alike)
    assert sizes(widths, "bottleneck") == {0: 2, 1: 12, 2: 4, 3: 6}  # of 1.5 and 4.5 the first is made larger
    assert all(m.option("scaling") == 4 for m in widths.modules)


def test_where_nothing_is_known_all_stays() -> None:
    whole = chosen(LORA, BOTTLENECK, PREFIX)
    assert scaled(whole, multipliers(dict.fromkeys(LAYERS, 0.5)), SHAPE).modules == whole.modules


def test_a_layer_of_no_importance_has_no_module() -> None:
    found = scaled(chosen(LORA), multipliers({0: 0.0, 1: 0.5, 2: 0.5, 3: 0.5}), SHAPE)
    assert set(sizes(found, "lora")) == {1, 2, 3}


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.lists(st.sampled_from([LORA, DORA, BOTTLENECK]), min_size=1, unique=True),
    st.sampled_from(["default", "orthogonal", "pissa"]),
)
def test_nothing_costs_more_or_cannot_be(values: list[float], modules: list[Module], init: str) -> None:
    inits = [
        replace(m, size=4, options=tuple(sorted((*m.options, ("init", init))))) if m == LORA else m
        for m in modules
    ]
    whole = chosen(*inits)
    found = scaled(whole, multipliers(dict(enumerate(values))), SHAPE)
    assert trainable_parameters(found, SHAPE) <= trainable_parameters(whole, SHAPE)
    assert can_be(found, SHAPE)


def can_be(configuration: Configuration, shape: BackboneShape) -> bool:
    return not any(
        MODULE_TYPES[m.type].objection(m.size, options_of(m), place)
        for m in configuration.modules
        for i in m.layers
        for site in m.sites
        if (place := shape.place(i, site)) is not None
    )
