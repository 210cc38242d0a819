"""What a probe's gradients say of configurations."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import VIT

from autopeft.allocate.gradients import Gradients, some_sizes
from autopeft.allocate.spots import Cut, Spot, cuts, scale
from autopeft.nouns import Configuration, Module


def bottleneck(size: int, layers: tuple[int, ...], position: str = "serial", scaling: float = 1.0) -> Module:
    options = (("position", position), ("scaling", scaling), ("sites", ("ffn",)))
    return Module("bottleneck", size, layers, options)


def lora(rank: int, alpha: float, layer: int = 0) -> Module:
    return Module("lora", rank, (layer,), (("alpha", alpha), ("sites", ("q",))))


WHOLE = Configuration.of([bottleneck(4, (0, 1)), bottleneck(2, (0,), "parallel", 4.0), lora(2, 4.0)], 1e-3)


@pytest.fixture
def gradients() -> Gradients:
    largest = cuts(WHOLE, VIT)
    squares = {
        spot: (
            tuple(range(1, cut.size + 1)),
            tuple(float(10**spot.layer * w) for w in range(1, cut.size + 1)),
        )
        for spot, cut in largest.items()
    }
    return Gradients(largest, squares)


def test_each_kind_has_a_part_of_its_own(gradients: Gradients) -> None:
    assert sorted(gradients.kinds) == ["bottleneck parallel ffn", "bottleneck serial ffn", "lora q"]
    parts = dict(zip(gradients.kinds, gradients.parts(WHOLE, VIT), strict=True))
    assert parts["bottleneck serial ffn"] == pytest.approx(math.sqrt(4 + 40))
    assert parts["bottleneck parallel ffn"] == pytest.approx(math.sqrt(2))
    assert parts["lora q"] == pytest.approx(math.sqrt(2))
    small = Configuration.of([bottleneck(3, (1,))], 1e-3)
    assert sum(gradients.parts(small, VIT)) == pytest.approx(math.sqrt(30))
    assert gradients.parts(Configuration.of([], 1e-3), VIT) == [0.0, 0.0, 0.0]


def test_a_gradient_is_as_large_as_what_the_output_is_multiplied_with(gradients: Gradients) -> None:
    half = Configuration.of([bottleneck(2, (0,), "parallel", 2.0)], 1e-3)
    assert sum(gradients.parts(half, VIT)) == pytest.approx(math.sqrt(2) / 2)
    # alpha / rank: at rank 1 the same alpha multiplies with twice as much, and half the gradient is there.
    one = Configuration.of([lora(1, 4.0)], 1e-3)
    assert sum(gradients.parts(one, VIT)) == pytest.approx(2.0)


def test_between_two_sizes_it_is_on_a_line() -> None:
    spot = next(iter(cuts(Configuration.of([bottleneck(9, (0,))], 1e-3), VIT)))
    gradients = Gradients({spot: Cut(9, 1.0)}, {spot: ((1, 5, 9), (1.0, 5.0, 21.0))})
    found = [gradients.parts(Configuration.of([bottleneck(w, (0,))], 1e-3), VIT)[0] ** 2 for w in (1, 3, 7)]
    assert found == pytest.approx([1.0, 3.0, 13.0])


def test_what_the_super_adapter_lacks_is_no_zero(gradients: Gradients) -> None:
    with pytest.raises(KeyError):
        gradients.parts(Configuration.of([bottleneck(2, (3,))], 1e-3), VIT)


def test_written_and_read_it_says_the_same(gradients: Gradients) -> None:
    assert Gradients.from_json(json.loads(json.dumps(gradients.to_json()))) == gradients


@given(st.integers(1, 5_000))
def test_sizes_go_from_one_to_the_largest(largest: int) -> None:
    sizes = some_sizes(largest)
    assert (sizes[0], sizes[-1]) == (1, largest)
    assert list(sizes) == sorted(set(sizes))
    assert len(sizes) <= 40


def test_scale_is_peft_s() -> None:
    spot = Spot("lora", (("rslora", False),), 0, "q")
    assert scale(spot, Cut(4, 8.0)) == 2.0
    assert scale(spot._replace(options=(("rslora", True),)), Cut(4, 8.0)) == 4.0
    assert scale(Spot("prefix", (), 0, "attention"), Cut(7, 1.0)) == 1.0
