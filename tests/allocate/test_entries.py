"""Numbers of entries: which of them densities can say, and how they grow within a budget."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.allocate.entries import grown, plan, swapped, unmasked
from autopeft.allocate.units import Unit
from autopeft.dsl import trainable_parameters
from autopeft.dsl.own_types import sparse_count, sparse_density
from autopeft.nouns import BackboneShape, Configuration, LayerShape, Module, Place, rounded

MAPS = st.builds(lambda i, o: Place("linear", i, o), st.integers(4, 900), st.integers(4, 900))


DENSITIES = np.array(
    sorted({rounded(digits * 10.0**power) for digits in range(100, 1000) for power in range(-9, -2)} | {1.0})
)


def every_number(place: Place) -> list[int]:
    """All that densities of three digits mean."""
    found: list[int] = (
        np.unique(np.maximum(1, np.round(DENSITIES * place.inputs * place.outputs))).astype(int).tolist()
    )
    return found


@given(MAPS, st.data())
def test_a_density_is_the_largest_that_means_no_more(place: Place, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, place.inputs * place.outputs))
    density = sparse_density(count, place)
    assert density == rounded(density)
    assert sparse_count(density, place) == max(n for n in every_number(place) if n <= count)


@settings(max_examples=40, deadline=None)
@given(st.lists(MAPS, min_size=1, max_size=4), st.data())
def test_growth_can_be_said_and_keeps_to_its_budget(places: list[Place], data: st.DataObject) -> None:
    now, wanted, most = [], [], []
    for place in places:
        now.append(data.draw(st.sampled_from([0, *every_number(place)])))
        most.append(data.draw(st.integers(0, place.inputs * place.outputs - now[-1])))
        wanted.append(data.draw(st.integers(0, most[-1])))
    budget = sum(now) + sum(wanted) + data.draw(st.integers(0, 5))
    after = grown(now, wanted, most, budget, places)
    assert sum(after) <= budget
    for n, more, room, found, place in zip(now, wanted, most, after, places, strict=True):
        numbers = [0, *every_number(place)]
        assert found in numbers
        assert n <= found <= n + room
        assert found >= max(i for i in numbers if i <= n + more)
        if not more:
            assert found == n


def test_a_training_spends_its_budget_to_a_thousandth() -> None:
    places = [Place("linear", 768, 768)] * 6
    now, budget = [0] * 6, 0
    for step in range(50):
        budget = unmasked(step, 50, 60_000)
        lots = budget - sum(now)
        wanted = [lots // 6] * 5 + [lots - 5 * (lots // 6)]
        after = grown(now, wanted, [10_000] * 6, budget, places)
        assert all(b >= a for a, b in zip(now, after, strict=True))
        now = list(after)
    assert 0.999 * budget <= sum(now) <= budget == 60_000


def test_shares_fall_to_nothing() -> None:
    found = [swapped(1_000, 0.2, step, 100) for step in range(101)]
    assert found[0] == 200
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0


def test_a_plan_costs_what_it_counts_and_names_its_allocator() -> None:
    place = Place("linear", 768, 768)
    shape = BackboneShape(2 * 768**2, 768, 12, 768, (LayerShape({"q": place, "v": place}),))
    whole = Configuration.of(
        [
            Module("sparse", 0.01, (0,), (("mask", "random"), ("sites", ("q", "v")))),
            Module("lora", 2, (0,), (("sites", ("q",)),)),
        ],
        1e-3,
        {"weight_decay": 0.1},
        {"type": "id3", "power": 1},
    )
    counts = {Unit(0, "q"): 9_970, Unit(0, "v"): 0}
    assert sparse_count(sparse_density(9_970, place), place) == 9_968  # to a thousandth
    counts[Unit(0, "q")] = 9_968
    found = plan(whole, counts, shape)
    assert trainable_parameters(found, shape) == 9_968 + 2 * 2 * 768
    assert (found.training, found.allocation) == (whole.training, whole.allocation)
    assert [m.sites for m in found.modules if m.type == "sparse"] == [("q",)]
