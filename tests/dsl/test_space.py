"""Spaces meet backbones: names are bound, and what a backbone lacks is said."""

import pytest

from autopeft.dsl import Choice, Real, read_space
from autopeft.errors import BackboneError, BudgetError
from autopeft.nouns import BackboneShape, LayerShape
from autopeft.registry import space_names, space_text

from .shapes import BERT, UNEVEN, VIT


@pytest.mark.parametrize("shape", [VIT, BERT], ids=["vit", "bert"])
@pytest.mark.parametrize("name", space_names())
def test_shipped_spaces_bind(name: str, shape: BackboneShape) -> None:
    limit = shape.parameters // 20
    bound = read_space(space_text(name), name).bind(shape, limit)
    assert bound.limit == limit
    assert 0 < bound.smallest <= limit
    assert len({d.name for d in bound.decisions}) == len(bound.decisions)
    assert isinstance(bound.decisions[-1], Real)


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
    assert isinstance(sizes, Choice)
    assert sizes.values == (0, 1, 3, 6, 12, 24, 48, 64, 96, 192)  # `hidden` is 64 here, and in its place


@pytest.mark.parametrize(
    ("word", "size"), [("hidden", 64), ("heads", 4), ("intermediate", 128), ("layers", 4)]
)
def test_names_are_bound_to_the_backbone(word: str, size: int) -> None:
    bound = a_space(f"{{type: prefix, size: {{choice: [1, {word}]}}}}").bind(VIT, 10**9)
    assert bound.specs[0].sizes == (1, size)
    bound = a_space(f"{{type: prefix, size: {word}}}").bind(VIT, 10**9)
    assert bound.specs[0].sizes == (size,)


def test_equal_sizes_are_one() -> None:
    assert a_space("{type: prefix, size: {choice: [4, heads, layers]}}").bind(VIT, 10**9).specs[0].sizes == (
        4,
    )


def test_constraints_of_the_space_join_the_budget() -> None:
    space = a_space("{type: prefix, size: 1}", "constraints: [trainable <= 1%, trainable <= 1500]")
    assert space.bind(VIT, 10**9).limit == 1500
    assert space.bind(VIT, 1000).limit == 1000


def test_all_sites_are_those_that_every_layer_has() -> None:
    bound = a_space("{type: lora, sites: {subset: all}, rank: 1}").bind(UNEVEN, 10**6)
    assert bound.specs[0].sites is not None
    assert bound.specs[0].sites.of == ("q", "up", "v", "down")


NO_PREFIX = BackboneShape(100, 8, 2, 16, (LayerShape({"q": (8, 8), "v": (8, 8)}, 0),))
NOTHING_SHARED = BackboneShape(100, 8, 2, 16, (LayerShape({"q": (8, 8)}, 8), LayerShape({"v": (8, 8)}, 8)))


@pytest.mark.parametrize(
    ("module", "more", "shape", "message"),
    [
        (
            "{type: prefix, size: 1}",
            "",
            NO_PREFIX,
            "s.yaml:2:16: this backbone's attention cannot take a prefix; leave 'one' out of the space.",
        ),
        (
            "{type: bottleneck, position: serial, size: 1}",
            "",
            NO_PREFIX,
            "s.yaml:2:16: no feed-forward block was found in this backbone, so 'one' has no place; "
            "its sites are q, v.",
        ),
        (
            "{type: lora, sites: [q, qkv], rank: 1}",
            "",
            VIT,
            "s.yaml:2:36: unknown site 'qkv': this backbone has q, k, v, o, up, down.",
        ),
        (
            "{type: lora, sites: all, rank: 1}",
            "",
            NOTHING_SHARED,
            "s.yaml:2:36: the space asks for at least 1 sites; all layers of this backbone have none.",
        ),
        (
            "{type: lora, sites: {subset: all, min: 7}, rank: 1}",
            "",
            VIT,
            "s.yaml:2:36: the space asks for at least 7 sites; "
            "all layers of this backbone have q, k, v, o, up, down.",
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
    with pytest.raises(BudgetError, match="the space 's' holds no module of a size above 0"):
        a_space("{type: prefix, size: 0}").bind(VIT, 10**9)


def a_space(module: str, more: str = ""):  # type: ignore[no-untyped-def]
    text = f"name: s\nmodules: {{one: {module}}}\ntraining: {{learning_rate: 0.001}}\n{more}\n"
    return read_space(text, "s.yaml")
