"""Trials of another backbone, task or budget as points of this space."""

import random
from dataclasses import replace

import pytest
from dsl import generated  # tests/dsl
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from shapes import BERT, UNEVEN, VIT, transformer

from autopeft.dsl import BoundSpace, Interval, Levels, Space, read_space
from autopeft.errors import BackboneError, BudgetError
from autopeft.nouns import BackboneShape, Configuration, Module, Trial, TrialKind, TrialStatus
from autopeft.optimize.observation import Observation
from autopeft.optimize.transfer import carried_over, moved, spread
from autopeft.registry import space_text

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
LARGE = 10**9


def complete(configuration: Configuration, score: float) -> Trial:
    return Trial(0, 0, TrialKind.SEARCH, configuration, 0, 0, TrialStatus.COMPLETE, scores={1: score})


def trials(space: BoundSpace, n: int = 8, seed: int = 0) -> list[Trial]:
    """Different random configurations, each with a score of its own."""
    points = dict.fromkeys(map(space.canonical, space.sample(random.Random(seed), n)))
    return [complete(space.configuration(point), 0.01 * i) for i, point in enumerate(points)]


def same(space: BoundSpace, of: list[Trial]) -> list[Observation]:
    return [Observation(space.assignment(t.configuration), t.scores[1]) for t in of]


# A backbone that differs in nothing that a space can see: everything goes the long way.
ALIKE = replace(UNEVEN, parameters=UNEVEN.parameters + 1)


@quick
@given(generated.spaces(), st.sampled_from([UNEVEN, ALIKE]), st.integers(0, 10**6))
def test_on_the_same_backbone_every_trial_is_taken_as_it_is(
    written: Space, shape: BackboneShape, seed: int
) -> None:
    try:
        space = written.bind(UNEVEN, LARGE)
    except (BudgetError, BackboneError):
        assume(False)
    earlier = trials(space, seed=seed)
    assert carried_over(space, earlier, written, shape) == same(space, earlier)


@pytest.mark.parametrize("name", ["autopeft", "lora", "lora-anatomy"])
@pytest.mark.parametrize(("there", "here"), [(VIT, BERT), (BERT, VIT)], ids=["to more layers", "to fewer"])
def test_on_another_backbone_every_point_is_valid_and_much_is_kept(
    name: str, there: BackboneShape, here: BackboneShape
) -> None:
    written = read_space(space_text(name), name)
    source = written.bind(there, there.parameters // 50)
    earlier = trials(source, 60)
    space = written.bind(here, here.parameters // 50)
    found = carried_over(space, earlier, written, there)
    assert len(found) > 40
    for observation in found:
        assert space.valid(observation.assignment)
        assert space.canonical(observation.assignment) == observation.assignment
    # What was dear stays dear. (Scores say which trial it was; those of several are left aside.)
    costs = {t.scores[1]: source.cost(source.assignment(t.configuration)) for t in earlier}
    pairs = [(costs[o.score], space.cost(o.assignment)) for o in found if o.score in costs]
    assert spearmanr(*zip(*pairs, strict=True)).statistic > 0.8


def test_layers_go_by_depth_and_sizes_by_their_place() -> None:
    text = """
name: s
layers: {subset: all}
modules:
  serial: {type: bottleneck, position: serial, size: {choice: [0, hidden / 8, hidden / 2]}}
  lora: {type: lora, sites: {subset: [q, v]}, rank: {per: layer, of: {integer: [0, 4]}}}
training: {learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
"""
    written = read_space(text, "s")
    small, large = transformer(16, 3, 32), transformer(64, 6, 128)
    serial = Module("bottleneck", 8, (0, 2), (("position", "serial"), ("sites", ("ffn",))))
    lora = Module("lora", 3, (2,), (("alpha", 6.0), ("sites", ("v",))))
    trial = complete(Configuration.of([serial, lora], 0.003), 0.5)
    space = written.bind(large, LARGE)
    (found,) = carried_over(space, [trial], written, small)
    moved_to = space.configuration(found.assignment)
    (wide, deep) = sorted(moved_to.modules, key=lambda m: m.type)
    assert (wide.size, wide.layers) == (32, (0, 1, 4, 5))
    assert (deep.size, deep.layers, deep.sites) == (3, (4, 5), ("v",))
    assert moved_to.learning_rate == 0.003
    assert found.score == 0.5
    # And back again.
    bound = written.bind(small, LARGE)
    (back,) = carried_over(bound, [complete(moved_to, 0.5)], written, large)
    assert bound.configuration(back.assignment) == trial.configuration


def test_what_is_over_the_budget_goes_one_step_down_or_is_left_out() -> None:
    written = read_space(space_text("autopeft"), "autopeft")
    earlier = trials(written.bind(VIT, 20_000), 80)
    space = written.bind(VIT, 5_000)
    found = {o.assignment: o.score for o in carried_over(space, earlier, written, VIT)}
    assert all(map(space.valid, found))
    whole = written.bind(VIT, 20_000)
    for trial in earlier:
        point = whole.assignment(trial.configuration)
        if whole.cost(point) <= 5_000:
            assert found[point] == trial.score
    over = [whole.assignment(t.configuration) for t in earlier]
    over = [point for point in over if 5_000 < whole.cost(point) <= 7_500]
    stepped = [point for point in found if point not in {whole.assignment(t.configuration) for t in earlier}]
    assert over
    assert 0 < len(stepped) <= len(over)
    for point in stepped:
        assert any(point in map(space.canonical, space.neighbours(one)) for one in over)


def test_an_edited_space_takes_the_points_that_it_shares() -> None:
    text = "name: s\nmodules: {p: {type: prefix, size: {choice: [%s]}}}\ntraining: {learning_rate: %s}\n"
    before = read_space(text % ("0, 1, 2, 4", "{choice: [0.001, 0.01]}"), "s")
    after = read_space(text % ("0, 2, 4, 8", "0.01"), "s")
    prefix = {n: Module("prefix", n, (0, 1, 2, 3), (("sites", ("attention",)),)) for n in (1, 2, 4)}
    earlier = [complete(Configuration.of([m], 0.01), n / 10) for n, m in prefix.items()]
    earlier += [complete(Configuration.of([prefix[4]], 0.001), 0.9)]
    space = after.bind(VIT, LARGE)
    found = carried_over(space, earlier, before, VIT)
    assert [(space.configuration(o.assignment).modules[0].size, o.score) for o in found] == [
        (2, 0.2),
        (4, 0.4),
    ]


def test_trials_that_become_one_point_are_their_mean() -> None:
    written = read_space(space_text("autopeft"), "autopeft")
    bound = written.bind(VIT, 5_000)
    (one,) = trials(bound, 1)
    (found,) = carried_over(bound, [replace(one, scores={1: s}) for s in (0.2, 0.4)], written, VIT)
    assert found.score == pytest.approx(0.3)


def test_a_trial_without_a_score_says_nothing() -> None:
    written = read_space(space_text("autopeft"), "autopeft")
    bound = written.bind(VIT, 5_000)
    (one,) = trials(bound, 1)
    assert carried_over(bound, [replace(one, status=TrialStatus.FAILED)], written, VIT) == []


@given(
    st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))),
    st.integers(1, 30),
)
def test_the_share_of_layers_is_kept(there: tuple[int, set[int]], here: int) -> None:
    n, taken = there[0], sorted(there[1])
    found = spread(taken, n, here)
    assert found == sorted(set(found))
    assert set(found) <= set(range(here))
    assert spread(taken, n, n) == taken
    assert bool(found) == bool(taken)
    assert abs(len(found) - len(taken) * here / n) <= 1
    for most in range(1, len(found)):
        assert len(spread(taken, n, here, most)) == most


def test_a_value_goes_to_the_same_place_of_another_domain() -> None:
    old, new = Levels("r", (0, 1, 4, 16)), Levels("r", (0, 2, 8, 64), default=2)
    assert [moved(old, v, new) for v in old.values] == [0, 2, 8, 64]
    rate = Interval("lr", 1e-4, 1e-2, log=True)
    assert moved(rate, 0.00123, rate) == 0.00123
    wide = Levels("s", tuple(range(1, 1001)), log=True)
    assert moved(wide, 32, Interval("s", 1, 10**6, log=True, whole=True)) == 1024
    few = Levels("s", (0, 1, 2), default=1)
    many = Levels("s", tuple(range(65)))
    assert moved(many, 3, few, keep=True) == 1  # small is not absent
    assert moved(many, 0, few, keep=True) == 0
