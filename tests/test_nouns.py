import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from shapes import BERT, UNEVEN

from autopeft.nouns import (
    BackboneShape,
    Configuration,
    LayerShape,
    Module,
    Place,
    Trial,
    TrialKind,
    TrialStatus,
)

AT = (("sites", ("attention",)),)
modules = st.builds(
    lambda kind, size, layers, alpha, sites: Module(
        kind[0],
        size,
        tuple(layers),
        (("alpha", alpha), ("sites", tuple(sites)))
        if kind[0] == "lora"
        else ((("position", kind[1]), ("sites", ("ffn",))) if kind[1] else AT),
    ),
    st.sampled_from([("lora", ""), ("bottleneck", "serial"), ("bottleneck", "parallel"), ("prefix", "")]),
    st.integers(0, 400),
    st.lists(st.integers(0, 11), unique=True),
    st.one_of(st.integers(1, 64), st.floats(0.1, 100)),
    st.lists(st.sampled_from(["q", "k", "v"]), unique=True),
)
further = st.dictionaries(st.sampled_from(["batch_size", "weight_decay"]), st.floats(0.1, 64), max_size=2)
configurations = st.builds(Configuration.of, st.lists(modules, max_size=4), st.floats(1e-6, 1.0), further)


@given(configurations)
def test_json_is_read_back_with_the_same_key(configuration: Configuration) -> None:
    data = json.loads(json.dumps(configuration.to_json()))
    copy = Configuration.from_json(data)
    assert copy == configuration
    assert copy.key == configuration.key
    assert hash(copy) == hash(configuration)
    assert json.loads(json.dumps(copy.to_json())) == data


@given(st.lists(modules, max_size=4), st.floats(1e-6, 1.0), st.randoms())
def test_order_does_not_matter(parts: list[Module], rate: float, random: object) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Configuration.of(shuffled, rate).key == Configuration.of(parts, rate).key


@given(configurations)
def test_canonical_form_is_a_fixed_point(configuration: Configuration) -> None:
    again = Configuration.of(configuration.modules, configuration.learning_rate, dict(configuration.training))
    assert again == configuration
    assert all(m.size > 0 and m.layers for m in configuration.modules)


def test_what_is_absent_is_not_in_it() -> None:
    kept = Module("prefix", 3, (0,), AT)
    absent = [
        Module("bottleneck", 0, (0,), (("position", "serial"), ("sites", ("ffn",)))),
        Module("bottleneck", 3, (), (("position", "parallel"), ("sites", ("ffn",)))),
        Module("lora", 4, (0,), (("alpha", 8), ("sites", ()))),
    ]
    assert Configuration.of([*absent, kept], 1e-3).modules == (kept,)
    assert Configuration.of(absent, 1e-3).modules == ()


def test_equal_configurations_have_one_key() -> None:
    """16 equals 16.0 in Python, but not as JSON text."""
    whole = Configuration.of([Module("lora", 8, (0, 1), (("alpha", 16), ("sites", ("q",))))], 1e-3)
    real = Configuration.of([Module("lora", 8, (1, 0), (("alpha", 16.0), ("sites", ("q",))))], 1e-3)
    assert whole == real
    assert whole.key == real.key


def test_the_key_never_changes() -> None:
    """The key is in people's databases."""
    configuration = Configuration.of(
        [Module("lora", 8, (0, 1), (("alpha", 16.0), ("sites", ("q", "v"))))], 1e-3
    )
    assert configuration.key == "3f4e333899e6f5d4"


def test_rates_have_three_digits() -> None:
    assert Configuration.of([], 0.00123456).learning_rate == 0.00123
    assert Configuration.of([], 0.00123456) == Configuration.of([], 0.001234)


def test_options() -> None:
    module = Module("lora", 8, (0,), (("alpha", 16), ("sites", ("q", "v"))))
    assert module.option("sites") == ("q", "v")
    assert module.to_json() == {"type": "lora", "size": 8, "layers": [0], "alpha": 16, "sites": ["q", "v"]}
    assert Module.from_json(module.to_json()) == module


def lora(size: int, layers: tuple[int, ...], *sites: str) -> Module:
    return Module("lora", size, layers, (("alpha", 2 * size), ("sites", sites)))


def test_places_are_grouped_into_the_fewest_modules() -> None:
    """However an arrangement is written down, it is one configuration."""
    whole = Configuration.of([lora(4, (0, 1, 2), "q", "v"), lora(8, (3,), "q")], 1e-3)
    pieces = [lora(4, (i,), site) for i in (2, 0, 1) for site in ("v", "q")]
    assert Configuration.of([lora(8, (3,), "q"), *pieces], 1e-3) == whole
    assert len(whole.modules) == 2
    uneven = Configuration.of([lora(4, (0, 1), "q"), lora(4, (1,), "v")], 1e-3)
    assert {(m.layers, m.sites) for m in uneven.modules} == {((0,), ("q",)), ((1,), ("q", "v"))}


def test_what_the_first_version_wrote_is_read() -> None:
    """It wrote no sites where a type had one only."""
    old = {"type": "bottleneck", "size": 6, "layers": [0, 2], "position": "serial"}
    assert Module.from_json(old).sites == ("ffn",)
    assert Module.from_json({"type": "prefix", "size": 3, "layers": [1]}).sites == ("attention",)


def test_training_is_part_of_a_configuration() -> None:
    plain = Configuration.of([], 1e-3)
    decayed = Configuration.of([], 1e-3, {"weight_decay": 0.01234567, "batch_size": 16.0})
    assert decayed.training == (("batch_size", 16), ("weight_decay", 0.0123))
    assert decayed.key != plain.key
    assert decayed.to_json()["weight_decay"] == 0.0123


def test_sites_of_a_shape_are_those_of_some_layer() -> None:
    linear = Place("linear", 4, 4)
    both, one = LayerShape({"v": linear, "q": linear}), LayerShape({"q": linear, "ffn": Place("block", 4, 4)})
    shape = BackboneShape(1, 4, 1, 8, (both, one), Place("input", 4, 4))
    assert shape.sites == ("q", "v")
    assert shape.place(1, "v") is None
    assert shape.place(0, "v") == linear
    assert shape.place(0, "input") == Place("input", 4, 4)
    assert shape.place(1, "input") is None


def test_a_score_is_that_of_the_last_rung_of_a_complete_trial() -> None:
    empty = Configuration.of([], 1e-3)
    scores = {2: 0.8, 10: 0.9, 1: 0.7}
    running = Trial(1, 0, TrialKind.SEARCH, empty, 0, 0, TrialStatus.RUNNING, scores=scores)
    complete = Trial(1, 0, TrialKind.SEARCH, empty, 0, 0, TrialStatus.COMPLETE, scores=scores)
    assert running.score is None
    assert complete.score == 0.9


def test_a_backbones_shape_comes_back_from_json() -> None:
    for shape in (BERT, UNEVEN, replace(UNEVEN, input=Place("input", 8, 0), refused={"q": "why"})):
        written = json.dumps(shape.to_json())
        assert BackboneShape.from_json(json.loads(written)) == shape
    assert len(BERT.to_json()["kinds"]) == 1  # layers that are alike are written once
