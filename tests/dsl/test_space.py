"""Spaces meet backbones: names are bound, and what a backbone lacks is said."""

import random

import optuna
import pytest
from shapes import BERT, UNEVEN, VIT, layer_shape

from autopeft.dsl import BoundSpace, Interval, Levels, read_space, trainable_parameters
from autopeft.errors import BackboneError, BudgetError
from autopeft.nouns import BackboneShape
from autopeft.registry import space_names, space_text


@pytest.mark.parametrize("shape", [VIT, BERT], ids=["vit", "bert"])
@pytest.mark.parametrize("name", space_names())
def test_shipped_spaces_bind(name: str, shape: BackboneShape) -> None:
    limit = shape.parameters // 20
    bound = read_space(space_text(name), name).bind(shape, limit)
    assert bound.limit == limit
    assert 0 < bound.smallest <= limit
    assert len({d.name for d in bound.decisions}) == len(bound.decisions)
    assert bound.decisions[-1].name == "learning_rate"


def test_decisions_of_the_autopeft_space() -> None:
    bound = read_space(space_text("autopeft"), "a").bind(VIT, 10_000)
    names = [d.name for d in bound.decisions]
    assert names == [
        *(f"layers.{i}" for i in range(4)),
        "serial.size",
        "parallel.size",
        "prefix.size",
        "learning_rate",
    ]
    sizes = bound.decisions[4]
    assert isinstance(sizes, Levels)
    assert sizes.values == (0, 1, 2, 4, 8, 16, 32, 64)  # `hidden` is 64 here; what is less than 1 is 0


def test_large_numbers_keep_their_digits() -> None:
    bound = a_space("{type: prefix, size: {choice: [1, intermediate + 1]}}").bind(BERT, 10**9)
    assert sizes(bound) == (1, 3073)


@pytest.mark.parametrize(
    ("word", "size"), [("hidden", 64), ("heads", 4), ("intermediate", 128), ("layers", 4)]
)
def test_names_are_bound_to_the_backbone(word: str, size: int) -> None:
    bound = a_space(f"{{type: prefix, size: {{choice: [1, {word}]}}}}").bind(VIT, 10**9)
    assert sizes(bound) == (1, size)
    bound = a_space(f"{{type: prefix, size: {word}}}").bind(VIT, 10**9)
    assert bound.parts[0].size.constant == size


def sizes(bound: BoundSpace) -> tuple[object, ...]:
    (index,) = bound.parts[0].size.indices.values()
    decision = bound.decisions[index]
    assert isinstance(decision, Levels)
    return decision.values


def test_equal_sizes_are_one() -> None:
    assert sizes(a_space("{type: prefix, size: {choice: [4, heads, layers]}}").bind(VIT, 10**9)) == (4,)


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        ("{choice: [0, hidden / 2, hidden // 5, 2 * heads + 1]}", (0, 9, 12, 32)),
        ("{choice: [hidden / 1000, 3]}", (0, 3)),  # rounded down
        ("{integer: [0, 3]}", (0, 1, 2, 3)),
        ("{integer: [2, 8], step: 3}", (2, 5, 8)),
        ("{integer: [1, heads], log: true}", (1, 2, 3, 4)),
    ],
)
def test_domains_of_whole_numbers(domain: str, values: tuple[int, ...]) -> None:
    assert sizes(a_space(f"{{type: prefix, size: {domain}}}").bind(VIT, 10**9)) == values


def test_a_long_range_is_an_interval() -> None:
    bound = a_space("{type: prefix, size: {integer: [1, 5000], log: true}}").bind(VIT, 10**9)
    decision = bound.decisions[0]
    assert isinstance(decision, Interval)
    assert decision.whole
    samples = [bound.configuration(a).modules[0].size for a in bound.sample(random.Random(0), 50)]
    assert all(isinstance(size, int) and 1 <= size <= 5000 for size in samples)
    assert len(set(samples)) > 20


def test_steps_of_a_float() -> None:
    text = "{type: sparse, sites: [q], density: {float: [0.1, 0.4], step: 0.1}}"
    assert sizes(a_space(text).bind(VIT, 10**9)) == (0.1, 0.2, 0.3, 0.4)


def test_a_tie_follows_each_place() -> None:
    text = "{type: lora, sites: [q], rank: {per: layer, of: {choice: [1, 4]}}, alpha: {tied: rank, times: 3}}"
    bound = a_space(text).bind(VIT, 10**9)
    configuration = bound.configuration((1, 4, 1, 4, 0.001))
    assert {(m.size, m.layers, m.option("alpha")) for m in configuration.modules} == {
        (1, (0, 2), 3),
        (4, (1, 3), 12),
    }


def test_a_tie_to_another_module() -> None:
    modules = "{a: {type: prefix, size: {choice: [1, 2]}}, b: {type: bottleneck, position: serial, size: {tied: a.size, times: 4}}}"
    space = read_space(f"name: s\nmodules: {modules}\ntraining: {{learning_rate: 0.001}}\n", "s.yaml")
    bound = space.bind(VIT, 10**9)
    assert [m.size for m in bound.configuration((2, 0.001)).modules] == [8, 2]


@pytest.mark.parametrize(("init", "dora"), [("default", True), ("olora", False)])
def test_a_condition_on_a_field(init: str, dora: bool) -> None:
    text = "{type: lora, sites: [q], rank: 1, init: {choice: [default, olora]}, dora: {choice: [false, true], when: {init: default}}}"
    bound = a_space(text).bind(VIT, 10**9)
    assert [d.name for d in bound.decisions] == ["one.dora", "one.init", "learning_rate"]
    (module,) = bound.configuration((True, init, 0.001)).modules
    assert dict(module.options).get("dora", False) is dora
    assert bound.active((True, init, 0.001)) == [dora, True, True]
    assert bound.cardinality == 3


def test_a_window_of_layers() -> None:
    space = a_space("{type: prefix, size: 1}", "layers: {subset: all, min: 2, contiguous: true}")
    bound = space.bind(VIT, 10**9)
    assert bound.cardinality == 3 + 2 + 1
    found = {bound.configuration(a).modules[0].layers for a in bound.sample(random.Random(0), 200)}
    assert found == {(0, 1), (1, 2), (2, 3), (0, 1, 2), (1, 2, 3), (0, 1, 2, 3)}


def test_layers_of_one_module_are_its_own() -> None:
    modules = "{a: {type: prefix, size: 1, layers: [0]}, b: {type: lora, sites: [q], rank: 1}}"
    space = read_space(
        f"name: s\nmodules: {modules}\nlayers: [2, 3]\ntraining: {{learning_rate: 0.001}}\n", "s"
    )
    configuration = space.bind(VIT, 10**9).configuration((0.001,))
    assert {(m.type, m.layers) for m in configuration.modules} == {("prefix", (0,)), ("lora", (2, 3))}


def test_training_fields_are_decisions() -> None:
    text = space_text("lora").replace(
        "training:", "training:\n  weight_decay: {choice: [0, 0.1]}\n  batch_size: 8"
    )
    bound = read_space(text, "lora").bind(VIT, 10**9)
    assert [d.name for d in bound.decisions][-2:] == ["weight_decay", "learning_rate"]
    configurations = [bound.configuration(a) for a in bound.sample(random.Random(0), 30)]
    assert {dict(c.training)["weight_decay"] for c in configurations} == {0, 0.1}
    assert all(dict(c.training)["batch_size"] == 8 for c in configurations)


def test_optuna_asks_for_what_has_an_effect() -> None:
    modules = """
  a:
    one_of:
      - {type: ia3, sites: [q]}
      - {type: lora, sites: [q], rank: {choice: [1, 2, 4]}, alpha: {float: [1, 8]}, init: {choice: [default, olora, pissa]}}
"""
    bound = read_space(f"name: s\nmodules: {modules}\ntraining: {{learning_rate: 0.001}}\n", "s").bind(
        VIT, 10**9
    )
    ia3 = optuna.trial.FixedTrial({"a.type": "ia3", "learning_rate": 0.001})
    assert bound.configuration(bound.to_optuna(ia3)).modules[0].type == "ia3"
    params = {"a.type": "lora", "a.lora.rank": 2, "a.lora.alpha": 3.0, "a.lora.init": "olora"}
    (module,) = bound.configuration(
        bound.to_optuna(optuna.trial.FixedTrial({**params, "learning_rate": 0.001}))
    ).modules
    assert (module.size, module.option("alpha"), module.option("init")) == (
        4,
        3,
        "olora",
    )  # index 2 of 1, 2, 4


def test_constraints_of_the_space_join_the_budget() -> None:
    space = a_space("{type: prefix, size: 1}", "constraints: [trainable <= 1%, trainable <= 1500]")
    assert space.bind(VIT, 10**9).limit == 1500
    assert space.bind(VIT, 1000).limit == 1000


def test_all_sites_are_those_that_some_layer_has() -> None:
    bound = a_space("{type: lora, sites: {subset: all}, rank: 1}").bind(UNEVEN, 10**6)
    assert bound.parts[0].sites.of == ("q", "v", "up", "down")
    configuration = a_space("{type: lora, sites: all, rank: 1}").bind(HYBRID, 10**6).configuration((0.001,))
    assert {(m.layers, m.sites) for m in configuration.modules} == {((0,), ("q",)), ((1,), ("v",))}


@pytest.mark.parametrize("axis", ["layer", "site", "[layer, site]"])
def test_sizes_where_a_layer_lacks_the_site(axis: str) -> None:
    text = f"{{type: lora, sites: [q], rank: {{per: {axis}, of: {{choice: [1, 2]}}}}}}"
    bound = a_space(text).bind(HYBRID, 10**6)
    assert len(bound.decisions) == 2  # one rank, and the learning rate
    assert bound.cost((2, 0.001)) == 2 * (8 + 8)
    assert bound.assignment(bound.configuration((2, 0.001))) == (2, 0.001)


def test_what_is_trained_once_counts_where_nothing_is_trained_at_a_place() -> None:
    bound = a_space("{type: prefix_tuning, tokens: {choice: [1, 3]}}").bind(VIT, 10**6)
    assert bound.smallest == 2 * 4 * 64
    for tokens in (1, 3):
        configuration = bound.configuration((tokens, 0.001))
        assert bound.cost((tokens, 0.001)) == trainable_parameters(configuration, VIT) == tokens * 2 * 4 * 64


NO_PREFIX = BackboneShape(100, 8, 2, 16, (layer_shape({"q": (8, 8), "v": (8, 8), "o": (8, 8)}),))
HYBRID = BackboneShape(100, 8, 2, 16, (layer_shape({"q": (8, 8)}), layer_shape({"v": (8, 8)})))
MAMBA = BackboneShape(100, 8, 0, 0, (layer_shape({"in": (8, 8)}),), refused={"out": "its kernels go past it"})


@pytest.mark.parametrize(
    ("module", "more", "shape", "message"),
    [
        (
            "{type: prefix, size: 1}",
            "",
            NO_PREFIX,
            "s.yaml:2:16: 'one' (prefix, size 1) cannot be at the site 'attention' of this backbone: its attention "
            "does not go through transformers' attention interface, where a prefix joins.",
        ),
        (
            "{type: bottleneck, position: serial, size: 1}",
            "",
            NO_PREFIX,
            "s.yaml:2:16: unknown site 'ffn' for 'one': this backbone has attention.",
        ),
        (
            "{type: lora, sites: [q, qkv], rank: 1}",
            "",
            VIT,
            "s.yaml:2:36: unknown site 'qkv' for 'one': this backbone has q, k, v, o, up, down.",
        ),
        (
            "{type: lora, sites: [in, out], rank: 1}",
            "",
            MAMBA,
            "s.yaml:2:36: nothing can be put at the site 'out' of this backbone: its kernels go past it.",
        ),
        (
            "{type: lora, sites: [q], rank: {choice: [hidden - 100]}}",
            "",
            VIT,
            "s.yaml:2:56: 'hidden - 100' is -36 on this backbone; allowed is 0 to 1e+09.",
        ),
        (
            "{type: lora, sites: {subset: all, min: 7}, rank: 1}",
            "",
            VIT,
            "s.yaml:2:36: the space asks for at least 7 sites; this backbone has q, k, v, o, up, down.",
        ),
        (
            "{type: prefix, size: 1}",
            "layers: [0, 4]",
            VIT,
            "s.yaml:4:9: the space names layer '4'; the backbone has the layers 0 to 3.",
        ),
        (
            "{type: prefix, size: 1}",
            "layers: {subset: all, min: 5}",
            VIT,
            "s.yaml:4:9: the space asks for at least 5 layers; the backbone has 4.",
        ),
    ],
)
def test_says_what_the_backbone_lacks(module: str, more: str, shape: BackboneShape, message: str) -> None:
    with pytest.raises(BackboneError) as raised:
        a_space(module, more).bind(shape, 10**9)
    assert str(raised.value) == message


def test_says_what_would_fit_when_nothing_does() -> None:
    with pytest.raises(BudgetError) as raised:
        read_space(space_text("autopeft"), "a").bind(VIT, 127)
    assert str(raised.value) == (
        "the budget is 127 parameters, but the smallest configuration of the space 'autopeft' on this backbone "
        "has 128 (0.064 % of 200,000). Allow at least 128."
    )
    assert read_space(space_text("autopeft"), "a").bind(VIT, 128).smallest == 128


def test_a_space_that_holds_nothing_says_so() -> None:
    with pytest.raises(BudgetError, match="the space 's' holds no module of a size above 0 that its"):
        a_space("{type: prefix, size: 0}").bind(VIT, 10**9)


def a_space(module: str, more: str = ""):  # type: ignore[no-untyped-def]
    text = f"name: s\nmodules: {{one: {module}}}\ntraining: {{learning_rate: 0.001}}\n{more}\n"
    return read_space(text, "s.yaml")
