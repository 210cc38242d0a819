"""Sensitivity-aware tuning, against the sweep of the paper's code, written out by hand, and on sensitivities that are planted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import UNEVEN, VIT

from autopeft.allocate.sensitivity import Histogram, plan
from autopeft.allocate.structures import biases, maps_of_structures, structures
from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl import trainable_parameters
from autopeft.nouns import BackboneShape, Configuration, Module

LORA = Module("lora", 2, (0, 1), (("alpha", 4), ("sites", ("q", "v", "up"))))
DEALT = Dealt.of(Configuration.of([LORA], 1e-3, None, {"type": "spt"}), VIT)


TIMES = 4.0


def squares(seed: int, scale: dict[Unit, float]) -> dict[Unit, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {}
    for unit in DEALT.units:
        place = DEALT.place(unit)
        found[unit] = rng.exponential(scale.get(unit, 1.0), (place.outputs, place.inputs)) ** 2
    return found


def planned(values: dict[Unit, np.ndarray], threshold: float) -> tuple[set[Unit], dict[Unit, float], int]:
    weights = {unit: Histogram.of(one) for unit, one in values.items()}
    found = plan(DEALT, weights, {}, threshold=threshold, times=TIMES, vectors=5.0)
    structured = {Unit(i, s) for m in found.modules if m.type == "lora" for i in m.layers for s in m.sites}
    single = {
        Unit(i, s): float(m.size)
        for m in found.modules
        if m.type == "sparse"
        for i in m.layers
        for s in m.sites
    }
    return structured, single, trainable_parameters(found, VIT)


@pytest.mark.parametrize("threshold", [0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_costs_the_budget_within_a_hundredth_and_never_more(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    scale = {unit: float(rng.lognormal(0, 1.5)) for unit in DEALT.units}
    _, _, cost = planned(squares(seed, scale), threshold)
    assert 0.99 * DEALT.cost <= cost <= DEALT.cost


@pytest.mark.parametrize("threshold", [1.0, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_has_modules_where_the_sweep_has_them(seed: int, threshold: float) -> None:
    """He et al.: for growing t, LoRA wherever a matrix has c / threshold of the t most sensitive weights."""
    rng = np.random.default_rng(seed)
    values = squares(seed, {unit: float(rng.lognormal(0, 1.5)) for unit in DEALT.units})
    owner = np.concatenate([np.full(one.size, i) for i, one in enumerate(values.values())])
    order = np.argsort(-np.concatenate([one.reshape(-1) for one in values.values()]), kind="stable")
    prices = np.array([DEALT.lora_cost(unit, int(TIMES * DEALT.ranks[unit])) for unit in values])
    best: set[Unit] = set()
    for t in range(1, 60_000, 50):
        counts = np.bincount(owner[order[:t]], minlength=len(prices))
        flags = counts * threshold >= prices
        if np.where(flags, prices, counts).sum() > DEALT.cost:
            break
        best = {unit for unit, flag in zip(values, flags, strict=True) if flag}
    structured, _, _ = planned(values, threshold)
    assert structured >= best  # t in steps of 50 here, and to 1 % there
    assert len(structured - best) <= 1


def test_single_entries_are_where_few_weights_matter() -> None:
    """Planted: one matrix all of whose weights matter somewhat, and another that has a few that matter most."""
    values = {unit: np.full_like(one, 1e-12) for unit, one in squares(0, {}).items()}
    dense, few = DEALT.units[0], DEALT.units[-1]
    values[dense][:] = 1.0
    values[few].reshape(-1)[:5] = 100.0
    structured, single, _ = planned(values, 1.0)
    assert dense in structured
    assert few not in structured
    place = DEALT.place(few)
    assert single[few] * place.inputs * place.outputs >= 4.9


def test_weights_without_any_gradient_are_taken_last_and_harm_nothing() -> None:
    values = {unit: np.zeros_like(one) for unit, one in squares(0, {}).items()}
    _, _, cost = planned(values, 10.0)
    assert cost <= DEALT.cost


TYPES = ("lora", "bottleneck")
SERIAL = Module("bottleneck", 2, (0, 1, 2, 3), (("position", "serial"), ("sites", ("ffn",))))
BESIDE = Module("bottleneck", 1, (0, 1), (("position", "parallel"), ("sites", ("attention", "ffn"))))
MIXTURE = Dealt.of(Configuration.of([LORA, SERIAL], 1e-3, None, {"type": "spt"}), VIT, TYPES)
Numbers = dict[Unit, np.ndarray]


def drawn(dealt: Dealt, seed: int, spread: float = 1.5) -> tuple[Numbers, Numbers]:
    """Sensitivities of weights and biases, each tensor's of its own scale."""
    rng = np.random.default_rng(seed)

    def one(size: int) -> np.ndarray:
        return rng.exponential(float(rng.lognormal(0, spread)), size) ** 2

    places = {unit: dealt.place(unit) for unit in maps_of_structures(dealt)}
    weights = {unit: one(place.inputs * place.outputs) for unit, place in places.items()}
    return weights, {unit: one(length) for unit, length in biases(dealt).items()}


def of_all(
    dealt: Dealt, values: tuple[Numbers, Numbers], threshold: float, times: float, vectors: float = 5.0
) -> Configuration:
    weights, vectors_ = ({unit: Histogram.of(one) for unit, one in numbers.items()} for numbers in values)
    return plan(dealt, weights, vectors_, threshold=threshold, times=times, vectors=vectors)


def at(found: Configuration, kind: str) -> set[Unit]:
    return {Unit(i, s) for m in found.modules if m.type == kind for i in m.layers for s in m.sites}


def flat(dealt: Dealt, value: float) -> tuple[Numbers, Numbers]:
    weights, vectors = drawn(dealt, 0)
    return {u: np.full_like(v, value) for u, v in weights.items()}, {
        u: np.full_like(v, value) for u, v in vectors.items()
    }


@st.composite
def mixes(draw: st.DrawFn) -> Dealt:
    """Any LoRA and bottlenecks, on places that are all alike or all different, beside what is not dealt out."""
    shape: BackboneShape = draw(st.sampled_from([UNEVEN, VIT]))
    layers = st.sets(st.integers(0, len(shape.layers) - 1), min_size=1).map(lambda s: tuple(sorted(s)))
    sites = st.sets(st.sampled_from(["q", "v", "up", "down"]), min_size=1).map(lambda s: tuple(sorted(s)))
    blocks = st.sets(st.sampled_from(["attention", "ffn"]), min_size=1).map(lambda s: tuple(sorted(s)))
    lora = st.builds(
        lambda rank, where, sites: Module("lora", rank, where, (("sites", sites),)),
        *(st.integers(1, 3), layers, sites),
    )
    bottleneck = st.builds(
        lambda width, where, position, sites: Module(
            "bottleneck", width, where, (("position", position), ("sites", sites))
        ),
        *(st.integers(1, 2), layers, st.sampled_from(["serial", "parallel"]), blocks),
    )
    bias = Module("bias", 1, (0, 1), (("sites", ("q",)),))
    modules = draw(st.sampled_from([[lora], [bottleneck], [lora, bottleneck]]))
    others = draw(st.sampled_from([[], [bias]]))
    chosen = Configuration.of([*(draw(one) for one in modules), *others], 1e-3, None, {"type": "spt"})
    return Dealt.of(chosen, shape, TYPES)


@settings(max_examples=40, deadline=None)
@given(
    mixes(),
    st.integers(0, 1_000),
    st.floats(-2, 3).map(lambda power: 10.0**power),
    st.sampled_from([1.0, 1.5, 4.0, 16.0]),
    st.sampled_from([0.0, 1.0, 5.0, 100.0]),
    st.booleans(),
)
def test_whatever_is_dealt_out_costs_the_budget_within_a_hundredth_and_never_more(
    dealt: Dealt, seed: int, threshold: float, times: float, vectors: float, ties: bool
) -> None:
    values = drawn(dealt, seed)
    if ties:
        for numbers in values:
            for unit, one in numbers.items():
                numbers[unit] = 2.0 ** np.round(np.log2(one))
    found = of_all(dealt, values, threshold, times, vectors)
    cost = trainable_parameters(found, dealt.shape) - trainable_parameters(
        Configuration.of(dealt.others, 1.0), dealt.shape
    )
    entries = sum(one.size for one in values[0].values())
    assert 0.99 * min(dealt.cost, entries) <= cost <= dealt.cost
    assert {m.type for m in found.modules} <= {"lora", "bottleneck", "sparse", "bias"}
    assert not found.allocation


@pytest.mark.parametrize("threshold", [1.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_and_biases_have_modules_where_the_sweep_has_them(seed: int, threshold: float) -> None:
    """The sweep of the paper's code over t, tensor by tensor, with a price for a block and none for a bias's entries."""
    weights, vectors = drawn(MIXTURE, seed)
    found = structures(MIXTURE, TIMES)
    tensors = [*weights.values(), *vectors.values()]
    owner = np.concatenate([np.full(one.size, i) for i, one in enumerate(tensors)])
    order = np.argsort(-np.concatenate([one.reshape(-1) for one in tensors]), kind="stable")
    best: tuple[set[Unit], set[Unit]] = set(), set()
    for t in range(1, 60_000, 50):
        n = dict(
            zip(
                [*weights, *((unit,) for unit in vectors)],
                np.bincount(owner[order[:t]], minlength=len(tensors)),
                strict=True,
            )
        )
        cost, blocks, whole = 0, set(), set()
        for one in found:
            sensitive = sum(n[unit] for unit in one.maps)
            structured = sensitive * threshold >= one.price
            cost += one.price if structured else sensitive
            if structured and one.modules[0].type == "bottleneck":
                blocks.add(Unit(one.modules[0].layers[0], "ffn"))
        for unit, vector in vectors.items():
            if n[unit,] * 5 >= vector.size:
                cost += vector.size
                whole.add(unit)
        if cost > MIXTURE.cost:
            break
        best = blocks, whole
    chosen = of_all(MIXTURE, (weights, vectors), threshold, TIMES)
    for kind, wanted in zip(("bottleneck", "bias"), best, strict=True):
        assert at(chosen, kind) >= wanted  # t in steps of 50 here, and to 1 % there
        assert len(at(chosen, kind) - wanted) <= 1
    assert any(best)


def test_a_block_that_matters_gets_its_bottleneck_and_no_entries_of_its_matrices() -> None:
    """Planted: the feed-forward matrices of one layer matter, together as many as a bottleneck has parameters."""
    dealt = Dealt.of(Configuration.of([SERIAL], 1e-3, None, {"type": "spt"}), VIT, TYPES)
    values = flat(dealt, 1e-12)
    for site in ("up", "down"):  # neither alone is enough
        values[0][Unit(2, site)][: int(0.6 * structures(dealt, 2.0)[2].price)] = 1.0
    found = of_all(dealt, values, 1.0, 2.0)
    assert at(found, "bottleneck") == {Unit(2, "ffn")}
    (module,) = (m for m in found.modules if m.type == "bottleneck")
    assert module == replace(SERIAL, size=4, layers=(2,))
    assert at(found, "sparse") == {Unit(i, s) for i in (0, 1, 3) for s in ("up", "down")}


def test_bottlenecks_of_a_block_stand_or_fall_together_and_a_lora_speaks_for_its_matrix() -> None:
    dealt = Dealt.of(Configuration.of([LORA, SERIAL, BESIDE], 1e-3, None, {"type": "spt"}), VIT, TYPES)
    found = {one.maps: {m.type for m in one.modules} for one in structures(dealt, 1.0)}
    for layer in (0, 1):
        for site in LORA.sites:
            assert found.pop((Unit(layer, site),)) == {"lora"}
        assert found.pop((Unit(layer, "k"), Unit(layer, "o"))) == {"bottleneck"}
        assert found.pop((Unit(layer, "down"),)) == {"bottleneck"}
    assert found == {(Unit(layer, "up"), Unit(layer, "down")): {"bottleneck"} for layer in (2, 3)}
    assert sum(one.price for one in structures(dealt, 1.0)) == dealt.cost
    serial, beside = (m for m in structures(dealt, 3.0)[-3].modules)
    assert {serial.size, beside.size} == {3 * SERIAL.size, 3 * BESIDE.size}


def test_a_bias_that_matters_is_trained_as_a_whole() -> None:
    """Planted: a quarter of one bias matters, and less of another."""
    values = flat(MIXTURE, 1e-12)
    here, there = Unit(1, "q"), Unit(3, "up")
    values[1][here][: values[1][here].size // 4] = 1.0
    values[1][there][: values[1][there].size // 4 - 1] = 1.0
    assert at(of_all(MIXTURE, values, 1.0, TIMES, vectors=4.0), "bias") == {here}
    assert at(of_all(MIXTURE, values, 1.0, TIMES, vectors=5.0), "bias") == {here, there}
    values[1][here][:] = 1.0
    assert at(of_all(MIXTURE, values, 1.0, TIMES, vectors=0.0), "bias") == set()


def test_a_bias_that_is_trained_in_any_case_is_not_dealt_out() -> None:
    trained = Module("bias", 1, (0, 1), (("sites", ("q", "norm")),))
    dealt = Dealt.of(Configuration.of([LORA, trained], 1e-3, None, {"type": "spt"}), VIT, TYPES)
    assert set(biases(dealt)) == {Unit(i, s) for i in (0, 1) for s in ("v", "up")}
    assert trained in of_all(dealt, drawn(dealt, 0), 1.0, TIMES, vectors=0.0).modules


def test_entries_of_matrices_that_have_a_module_are_taken_once_there_are_no_others() -> None:
    """Each map of the block has a LoRA, so that nothing else is left to spend the bottleneck's parameters on."""
    lora = Module("lora", 1, (0,), (("sites", ("up", "down")),))
    wide = replace(SERIAL, size=16, layers=(0,))
    dealt = Dealt.of(Configuration.of([lora, wide], 1e-3, None, {"type": "spt"}), VIT, TYPES)
    found = of_all(dealt, drawn(dealt, 0), 1e6, 1.0, vectors=0.0)
    assert at(found, "lora") == at(found, "sparse") == {Unit(0, "up"), Unit(0, "down")}
    assert 0.99 * dealt.cost <= trainable_parameters(found, VIT) <= dealt.cost


def test_without_any_gradient_entries_are_dealt_out_evenly() -> None:
    found = of_all(MIXTURE, flat(MIXTURE, 0.0), 10.0, TIMES)
    assert {m.type for m in found.modules} == {"sparse"}
    sizes = [float(m.size) for m in found.modules]
    assert max(sizes) <= 1.02 * min(sizes)
    assert found == of_all(MIXTURE, flat(MIXTURE, 0.0), 10.0, TIMES)
