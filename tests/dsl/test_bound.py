"""What holds for every space on every backbone inside every budget."""

import itertools
import math
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from shapes import BERT, UNEVEN, VIT

from autopeft.dsl import (
    Assignment,
    BoundSpace,
    Levels,
    Space,
    adapter_bytes,
    read_space,
    trainable_parameters,
    write_space,
)
from autopeft.dsl.parts import BYTES
from autopeft.dsl.sampling import walk
from autopeft.errors import BackboneError, BudgetError
from autopeft.nouns import BackboneShape, Configuration, Module
from autopeft.registry import space_text

from . import generated

FINITE = """
name: finite
layers: {subset: all%s}
modules:
  %s
training: {learning_rate: 0.001}
"""
SERIAL = "{type: bottleneck, position: serial, size: {choice: [%s]}}"
LORA = "{type: lora, sites: {subset: [%s], min: %d}, rank: {choice: [%s]}}"
MODULES = {
    "serial": "{serial: " + SERIAL % "0, 1, 2" + "}",
    "serial always": "{serial: " + SERIAL % "1, 2" + "}",
    "lora": "{lora: " + LORA % ("q, up, v, down", 1, "1, 2") + "}",
    "lora two sites": "{lora: " + LORA % ("q, up, v, down", 2, "1, 2") + "}",
    "larger is cheaper": "{c: {type: c3a, sites: {subset: [q]}, block_size: {choice: [1, 2]}}}",
    "lora at neighbours": "{lora: {type: lora, sites: {subset: [q, up, v, down], max: 2, contiguous: true}, rank: 2}}",
    "lora or nothing, and a prefix": "{lora: "
    + LORA % ("up, v", 1, "0, 1")
    + ", p: {type: prefix, size: {choice: [0, 2]}}}",
    "lora and serial, both always": "{lora: "
    + LORA % ("up, q, v", 2, "1, 2")
    + ", s: "
    + SERIAL % "1, 4"
    + "}",
    "one of three": "{a: {one_of: ["
    + LORA % ("q, up", 1, "1, 2")
    + ", {type: ia3, sites: {subset: [v, q]}}, {type: frozen}]}}",
    "a tie and a condition": "{p: {type: prefix, size: {choice: [0, 1, 2]}}, s: {type: bottleneck, position: serial, "
    "size: {tied: p.size, times: 2}, activation: {choice: [relu, tanh], when: {p.size: 2}}}}",
}
PER_PLACE = {
    "ranks of layers": "{lora: {type: lora, sites: [q, down], rank: {per: layer, of: {choice: [0, 1, 2]}}}}",
    "ranks of sites": "{lora: {type: lora, sites: [q, down], rank: {per: site, of: {choice: [1, 2]}}}}",
    "ranks of both": "{lora: {type: lora, sites: [q, v], rank: {per: [layer, site], of: {choice: [0, 1]}}}}",
}


def finite(modules: str, more: str = "", shape: BackboneShape = UNEVEN) -> BoundSpace:
    """A small space; inside 100 000 parameters, which none of its configurations exceeds on `UNEVEN`."""
    return read_space(FINITE % (more, MODULES[modules]), "f").bind(shape, 100_000)


def per_place(modules: str) -> BoundSpace:
    text = f"name: f\nmodules: {PER_PLACE[modules]}\ntraining: {{learning_rate: 0.001}}"
    return read_space(text, "f").bind(UNEVEN, 100_000)


def inside(space: BoundSpace, limit: int) -> BoundSpace:
    return replace(space, limit=limit)


def everything(space: BoundSpace) -> Iterator[Assignment]:
    """All assignments of a space without intervals but the learning rate, valid or not."""
    values = [d.values if isinstance(d, Levels) else (d.low,) for d in space.decisions]
    return itertools.product(*values)


@st.composite
def spaces(draw: st.DrawFn) -> BoundSpace:
    """Spaces of every form, and shipped ones, with budgets from the smallest configuration to all of them."""
    if draw(st.integers(0, 3)):
        written: Space = draw(generated.spaces())
        try:
            space = written.bind(UNEVEN, 10**6)
        except (BudgetError, BackboneError):
            assume(False)
    else:
        shape = draw(st.sampled_from([VIT, BERT]))
        name = draw(st.sampled_from(["autopeft", "lora"]))
        space = read_space(space_text(name), name).bind(shape, shape.parameters)
    place = draw(st.floats(0, 1))
    smallest = max(1, space.smallest)
    limit = math.ceil(smallest * (max(1, space.largest) / smallest) ** place)
    return inside(space, max(limit, smallest))


quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@quick
@given(spaces(), st.integers(0, 10**6))
def test_samples_are_valid_and_their_cost_is_exact(space: BoundSpace, seed: int) -> None:
    for assignment in space.sample(random.Random(seed), 5):
        assert space.valid(assignment)
        configuration = space.configuration(assignment)
        cost = space.cost(assignment)
        assert cost == trainable_parameters(configuration, space.shape)
        assert cost <= min(space.limit, space.largest)
        assert cost >= space.smallest or not configuration.modules
        assert space.costs.measure(assignment, BYTES) == adapter_bytes(configuration, space.shape)


@quick
@given(spaces(), st.integers(0, 10**6))
def test_a_configuration_is_read_back(space: BoundSpace, seed: int) -> None:
    for assignment in space.sample(random.Random(seed), 5):
        configuration = space.configuration(assignment)
        back = space.assignment(configuration)
        assert space.configuration(back) == configuration
        assert space.assignment(Configuration.from_json(configuration.to_json())) == back
        assert space.canonical(assignment) == back
        assert space.canonical(back) == back
        assert space.valid(back)


@quick
@given(spaces(), st.integers(0, 10**6))
def test_neighbours_are_valid_others_one_step_away(space: BoundSpace, seed: int) -> None:
    (sample,) = space.sample(random.Random(seed), 1)
    assignment = space.canonical(sample)
    neighbours = space.neighbours(assignment)
    assert assignment not in neighbours
    assert len(set(neighbours)) == len(neighbours)
    for neighbour in neighbours:
        assert space.valid(neighbour)
        changed = [i for i, (a, b) in enumerate(zip(assignment, neighbour, strict=True)) if a != b]
        assert len(changed) in (1, 2)
        if len(changed) == 2:  # a swap: one on, one off
            assert {neighbour[i] for i in changed} == {True, False}


@quick
@given(spaces(), st.integers(0, 10**6), st.integers(1, 40))
def test_near_are_some_of_the_neighbours(space: BoundSpace, seed: int, n: int) -> None:
    rng = random.Random(seed)
    (sample,) = space.sample(rng, 1)
    assignment = space.canonical(sample)
    neighbours = space.neighbours(assignment)
    near = space.near(assignment, rng, n)
    assert len(set(near)) == len(near) == min(n, len(neighbours))
    assert set(near) <= set(neighbours)


@quick
@given(spaces(), st.integers(0, 10**6))
def test_encoding_is_inside_the_unit_cube_and_is_read_back(space: BoundSpace, seed: int) -> None:
    for assignment in space.sample(random.Random(seed), 5):
        canonical = space.canonical(assignment)
        for each in (assignment, canonical):
            vector, mask = space.encode(each)
            assert len(vector) == len(mask) == sum(d.width for d in space.decisions) + 1
            assert all(0.0 <= x <= 1.0 for x in vector)
            assert vector[-1] == space.cost_coordinate(space.cost(each))
        assert space.decode(*space.encode(canonical)) == canonical


@quick
@given(spaces(), st.integers(0, 10**6))
def test_what_has_no_effect_has_no_effect(space: BoundSpace, seed: int) -> None:
    rng = random.Random(seed)
    (sample,) = space.sample(rng, 1)
    assignment = space.canonical(sample)
    for i, (decision, on) in enumerate(zip(space.decisions, space.active(assignment), strict=True)):
        if not on:
            other = (*assignment[:i], decision.draw(rng), *assignment[i + 1 :])
            assert space.configuration(other) == space.configuration(assignment)


@quick
@given(spaces(), st.integers(0, 10**6))
def test_shrinking_ends_inside(space: BoundSpace, seed: int) -> None:
    rng = random.Random(seed)
    anything = tuple(decision.draw(rng) for decision in space.decisions)
    shrunk = space.shrink(rng, anything)
    assert space.valid(shrunk)
    assert shrunk == anything or not space.valid(anything)


@quick
@given(generated.spaces())
def test_text_to_tree_to_text(space: Space) -> None:
    text = write_space(space)
    again = read_space(text, "again")
    assert again == space
    assert write_space(again) == text


@pytest.mark.parametrize("more", ["", ", min: 2", ", min: 3"])
@pytest.mark.parametrize("modules", sorted(MODULES))
def test_the_smallest_and_the_largest_by_brute_force(modules: str, more: str) -> None:
    space = finite(modules, more)
    costs = [space.cost(a) for a in everything(space) if space.valid(a) and space.cost(a)]
    assert (space.smallest, space.largest) == (min(costs), max(costs))


@pytest.mark.parametrize("modules", sorted(MODULES))
def test_validity_and_cardinality_by_brute_force(modules: str) -> None:
    space = finite(modules)
    keys = {space.configuration(a).key for a in everything(space) if space.valid(a)}
    assert space.cardinality == len(keys)
    cheap = inside(space, max(150, space.smallest))
    for assignment in everything(cheap):
        configuration = cheap.configuration(assignment)
        if cheap.valid(assignment):
            assert cheap.valid(cheap.assignment(configuration))


@pytest.mark.parametrize("modules", sorted(PER_PLACE))
def test_sizes_that_differ_by_brute_force(modules: str) -> None:
    space = per_place(modules)
    every = [a for a in everything(space) if space.valid(a)]
    assert (space.smallest, space.largest) == (min(map(space.cost, every)), max(map(space.cost, every)))
    assert space.cardinality == len({space.configuration(a).key for a in every}) == len(every)
    for assignment in every:
        assert space.assignment(space.configuration(assignment)) == assignment


@pytest.mark.parametrize(
    "modules", ["serial", "lora two sites", "lora or nothing, and a prefix", "one of three"]
)
def test_every_configuration_can_be_sampled(modules: str) -> None:
    space = finite(modules)
    cheap = inside(space, space.smallest + (space.largest - space.smallest) // 3)
    wanted = {space.configuration(a).key for a in everything(cheap) if cheap.valid(a)}
    rng = random.Random(0)
    found = {space.configuration(a).key for a in cheap.sample(rng, 120 * len(wanted))}
    assert found <= wanted
    assert len(found) >= 0.95 * len(wanted)  # the rest is rare, not out of reach


@pytest.mark.parametrize("limit", [1_536, 1_537, 2_000])
def test_a_sliver_of_a_space_is_sampled_at_once(limit: int) -> None:
    """Of this space's 4 million assignments (times a learning rate) a handful is inside the budget."""
    space = read_space(space_text("autopeft"), "a").bind(BERT, limit)
    rng = random.Random(0)
    uniform = [
        tuple(rng.choice(d.values) for d in space.decisions if isinstance(d, Levels)) for _ in range(3000)
    ]
    assert not any(space.valid((*a, 1e-3)) for a in uniform)
    started = time.process_time()
    samples = space.sample(rng, 100)
    assert time.process_time() - started < 1.0
    assert all(space.valid(a) for a in samples)
    assert {space.configuration(a).modules[0].layers for a in samples} == {(layer,) for layer in range(12)}


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        ("sites >= 3", lambda c, shape: sum(len(m.layers) for m in c.modules) >= 3),
        ("sites <= 2", lambda c, shape: sum(len(m.layers) for m in c.modules) <= 2),
        ("adapter_bytes <= 20kB", lambda c, shape: adapter_bytes(c, shape) <= 20_000),
        ("trainable >= 0.9%", lambda c, shape: trainable_parameters(c, shape) >= 1_800),
    ],
)
def test_constraints_are_kept(constraint: str, holds) -> None:  # type: ignore[no-untyped-def]
    text = space_text("autopeft") + f"\nconstraints: [{constraint}, trainable <= 3%]"
    space = read_space(text, "a").bind(VIT, 10**9)
    assert space.limit == 6_000
    samples = [space.configuration(a) for a in space.sample(random.Random(0), 100)]
    assert all(holds(configuration, VIT) for configuration in samples)
    assert len(set(samples)) > 30


def test_priors_decide_how_often_a_sample_begins_there() -> None:
    text = """
name: weighted
modules:
  a:
    one_of: [{type: ia3, sites: [v]}, {type: lora, sites: [q], rank: 1, init: {choice: [default, pissa], priors: [9, 1]}}]
    priors: [1, 4]
training: {learning_rate: 0.001}
"""
    space = read_space(text, "w").bind(VIT, 10**9)
    samples = [space.configuration(a) for a in space.sample(random.Random(0), 2000)]
    loras = [dict(c.modules[0].options) for c in samples if c.modules[0].type == "lora"]
    assert 0.76 < len(loras) / len(samples) < 0.84
    assert 0.07 < sum(o.get("init") == "pissa" for o in loras) / len(loras) < 0.13


def test_what_alone_fits_is_sampled_though_its_prior_is_zero() -> None:
    text = """
name: unlikely
modules: {a: {one_of: [{type: ia3, sites: [v]}, {type: lora, sites: [q], rank: 1}], priors: [0, 1]}}
training: {learning_rate: 0.001}
"""
    space = read_space(text, "u").bind(VIT, 400)  # a LoRA has 512
    assert {space.configuration(a).modules[0].type for a in space.sample(random.Random(0), 20)} == {"ia3"}


def test_a_least_number_of_places_is_reached_through_layers_that_are_off() -> None:
    """Switching on a layer whose rank is 0 adds no place, and the rank of a layer that is off none either."""
    text = """
name: grown
layers: {subset: all, min: 2}
modules:
  a:
    one_of:
      - {type: lora, sites: {subset: [q, v, down]}, rank: {per: layer, of: {choice: [0, 1, 4, 8]}}}
      - {type: ia3, sites: [k, v, down]}
      - modules:
          p: {type: prefix, size: {choice: [1, 8]}}
          f: {type: bottleneck, position: parallel, size: {choice: [1, 8]}}
    priors: [3, 1, 1]
training: {learning_rate: 0.001}
constraints: [sites >= 8]
"""
    space = read_space(text, "g").bind(VIT, 10**9)
    samples = [space.configuration(a) for a in space.sample(random.Random(0), 1500)]
    assert all(sum(len(m.layers) * len(m.sites) for m in c.modules) >= 8 for c in samples)
    kinds = [{m.type for m in c.modules} for c in samples]
    for wanted, share in (({"lora"}, 0.6), ({"ia3"}, 0.2), ({"prefix", "bottleneck"}, 0.2)):
        assert (
            abs(kinds.count(wanted) / len(samples) - share) < 4 * (share * (1 - share) / len(samples)) ** 0.5
        )


def test_a_billionth_of_a_space_is_sampled_at_once() -> None:
    sizes = ", ".join(map(str, range(1, 1001)))
    text = f"""
name: vast
layers: {{subset: all}}
modules:
  serial:   {{type: bottleneck, position: serial, size: {{choice: [0, {sizes}]}}}}
  parallel: {{type: bottleneck, position: parallel, size: {{choice: [0, {sizes}]}}}}
  prefix:   {{type: prefix, size: {{choice: [0, {sizes}]}}}}
training: {{learning_rate: 0.001}}
"""
    space = read_space(text, "v").bind(BERT, 1_536)
    volume = 2**12 * 1001**3
    fitting = 12  # a prefix of one token in one layer
    assert fitting / volume < 1e-9
    started = time.process_time()
    found = {space.configuration(a) for a in space.sample(random.Random(0), 200)}
    assert time.process_time() - started < 5.0
    assert found == {Configuration.of([Module("prefix", 1, (i,), AT)], 1e-3) for i in range(12)}


@pytest.mark.parametrize("name", ["autopeft", "lora"])
@pytest.mark.parametrize("shape", [VIT, BERT], ids=["vit", "bert"])
def test_samples_cover_log_cost_roughly_evenly(name: str, shape: BackboneShape) -> None:
    space = read_space(space_text(name), name).bind(shape, shape.parameters // 50)
    places = [space.cost_coordinate(space.cost(a)) for a in space.sample(random.Random(0), 600)]
    for quarter, uniform in zip(statistics.quantiles(places, n=4), (0.25, 0.5, 0.75), strict=True):
        assert abs(quarter - uniform) < 0.17  # few costs are there at the low end


def test_a_budget_beyond_the_space_does_not_skew_the_samples() -> None:
    space = read_space(space_text("lora"), "lora").bind(VIT, 10**9)
    low, high = math.log(space.smallest), math.log(space.largest)
    places = [(math.log(space.cost(a)) - low) / (high - low) for a in space.sample(random.Random(0), 600)]
    for quarter, uniform in zip(statistics.quantiles(places, n=4), (0.25, 0.5, 0.75), strict=True):
        assert abs(quarter - uniform) < 0.17  # few costs are there at the low end


def test_the_sampler_forgets_its_start_where_there_is_room() -> None:
    """From two opposite starts, the frequency of every switch and the mean size of every module agree."""
    space = read_space(space_text("autopeft"), "a").bind(VIT, 10**9)
    bound = 20_000
    first, last = space.starts[0].assignment, space.starts[-1].assignment
    assert first != last
    n, rng = 1500, random.Random(0)
    ends = [[walk(space, rng, start, bound) for _ in range(n)] for start in (first, last)]
    for i, decision in enumerate(space.decisions[:-1]):
        assert isinstance(decision, Levels)
        means = [statistics.mean(decision.place(a[i]) for a in end) for end in ends]
        # Four standard errors of a difference between two means of numbers in [0, 1].
        assert abs(means[0] - means[1]) < 4 * 0.5 * math.sqrt(2 / n), decision.name


def test_sampling_is_a_function_of_the_generator() -> None:
    space = read_space(space_text("autopeft"), "a").bind(VIT, 5_000)
    assert space.sample(random.Random(3), 20) == space.sample(random.Random(3), 20)


def test_a_place_bounds_the_cost() -> None:
    space = read_space(space_text("autopeft"), "a").bind(VIT, 10_000)
    rng = random.Random(0)
    for k in range(11):
        bound = space.smallest * (space.limit / space.smallest) ** min(1.0, 1.05 * k / 10)
        bound = max(bound, *(starts[0].cost for starts in space.start_groups))
        assert all(space.cost(space.sample_at(rng, k / 10)) <= bound + 1e-6 for _ in range(20))


AT = (("sites", ("attention",)),)


@pytest.mark.parametrize(
    "configuration",
    [
        Configuration.of([], 1e-3),
        Configuration.of([Module("prefix", 5, (0,), AT)], 1e-3),
        Configuration.of([Module("prefix", 1, (9,), AT)], 1e-3),
        Configuration.of([Module("prefix", 1, (0,), AT)], 0.5),
        Configuration.of([Module("prefix", 64, (0, 1, 2, 3), AT)], 1e-3),
        Configuration.of([Module("lora", 1, (0,), (("alpha", 2), ("sites", ("q",))))], 1e-3),
        Configuration.of(
            [
                Module("prefix", 1, (0,), AT),
                Module("bottleneck", 1, (1,), (("position", "serial"), ("sites", ("ffn",)))),
            ],
            1e-3,
        ),
    ],
    ids=["empty", "size", "layer", "rate", "over budget", "type", "different layers"],
)
def test_what_is_no_point_of_the_space_is_refused(configuration: Configuration) -> None:
    space = read_space(space_text("autopeft"), "a").bind(VIT, 10_000)
    with pytest.raises(ValueError, match="not a point of the space 'autopeft'"):
        space.assignment(configuration)
