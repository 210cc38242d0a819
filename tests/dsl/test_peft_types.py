"""Costs and refusals of peft's types, against numbers written out by hand; tests of adapters hold them against peft."""

import importlib.util
from typing import Any

import pytest

from autopeft.dsl.peft_types import PEFT_TYPES, WAVELETS, changes_base, clash, factors, replaces_product
from autopeft.nouns import BackboneShape, LayerShape, Place, Size

MAP = Place("linear", 12, 8, bias=8)
CONV1D = Place("linear", 12, 8, bias=8, transposed=True)
SHAPE = BackboneShape(
    1_000,
    12,
    4,
    24,
    layers=(
        LayerShape(
            {"q": MAP, "up": Place("linear", 12, 24), "attention": Place("block", 12, 12, prefix_width=6)}
        ),
        LayerShape({"q": Place("linear", 10, 8), "attention": Place("block", 12, 12, prefix_width=4)}),
    ),
    input=Place("input", 12, 12),
)


def options(name: str, size: Size = 1, **given: Any) -> dict[str, Any]:
    fields = PEFT_TYPES[name].fields.items()
    return {field: f.default if f.times_size is None else size * f.times_size for field, f in fields} | given


@pytest.mark.parametrize(
    ("name", "size", "given", "expected"),
    [
        ("lora", 3, {}, 3 * 20),
        ("lora", 3, {"dora": True}, 3 * 20 + 8),
        ("adalora", 3, {"target_rank": 1}, 3 * 20 + 3),
        ("ia3", 1, {}, 8),
        ("ia3", 1, {"feedforward": True}, 12),
        ("loha", 3, {}, 2 * 3 * 20),
        ("lokr", 1, {}, 2 * 3 + 1 * (4 + 4)),  # 8 = 2 x 4 outputs, 12 = 3 x 4 inputs
        ("lokr", 2, {}, 2 * 3 + 4 * 4),  # from half of 4 on, the larger factor is whole
        ("lokr", 1, {"decompose_both": True}, 1 * (2 + 3) + 1 * (4 + 4)),
        ("lokr", 1, {"decompose_factor": 2}, 2 * 2 + 1 * (4 + 6)),
        ("oft", 4, {}, 3 * 6),
        ("oft", 4, {"block_share": True}, 6),
        ("boft", 4, {}, 3 * 16 + 8),
        ("hra", 2, {}, 2 * 12),
        ("vera", 5, {}, 5 + 8),
        ("vblora", 2, {"num_vectors": 7, "vector_length": 4}, 2 * (3 + 2) * 7),
        ("randlora", 3, {}, 3 * (3 + 8)),  # three bases of rank 3 span the 8 of the smaller side
        ("fourierft", 9, {}, 9),
        ("waveft", 9, {}, 9),
        ("miss", 5, {}, 5 * 8),
        ("miss", 4, {"mode": "bat"}, 2 * 4 * 4),
        ("miss", 5, {"mode": "mini", "mini_r": 2}, 5 * 2),
        ("c3a", 4, {}, 3 * 2 * 4),
        ("delora", 3, {}, 3 * 20 + 1),
        ("gralora", 4, {}, 4 * 20),
        ("gralora", 4, {"hybrid_r": 3}, 7 * 20),
        ("hira", 3, {}, 3 * 20),
        ("psoft", 4, {}, 6 + 4 + 4),
        ("psoft", 4, {"psoft_orth": False, "psoft_mag_a": False}, 16 + 4),
        ("shira", 2, {}, 2 * 20),
        ("supertuning", 0.25, {}, 24),
        ("supertuning", 0.3, {}, 28),  # 28.8, cut off
        ("supertuning", 0.25, {"rank": 2}, 24 + 2 * 20),
    ],
)
def test_what_is_trained_at_a_linear_map(name: str, size: Size, given: dict[str, Any], expected: int) -> None:
    known = PEFT_TYPES[name]
    assert known.trainable(size, options(name, size, **given), MAP) == expected
    assert known.objection(size, options(name, size, **given), MAP) == ""


def test_what_is_trained_elsewhere() -> None:
    assert PEFT_TYPES["ln_tuning"].trainable(1, {}, Place("norm", 24, 24, bias=12)) == 36
    prompt, prefix = PEFT_TYPES["prompt_tuning"], PEFT_TYPES["prefix_tuning"]
    assert SHAPE.input is not None
    assert prompt.trainable(5, options("prompt_tuning"), SHAPE.input) == 5 * 12
    assert prefix.trainable(5, options("prefix_tuning"), SHAPE.input) == 0
    assert prefix.shared(5, options("prefix_tuning"), SHAPE) == 5 * 2 * (6 + 4)
    bank = options("vblora", num_vectors=7, vector_length=4)
    assert PEFT_TYPES["vblora"].shared(2, bank, SHAPE) == 7 * 4


def test_what_is_saved_besides() -> None:
    for name, known in PEFT_TYPES.items():
        expected = {"delora": 12, "shira": 2 * 3 * 20, "supertuning": 19}.get(name, 0)
        size = 0.2 if name == "supertuning" else 3
        assert known.stored(size, options(name, 3, target_rank=1), MAP) == expected, name
    for init in ("pissa", "olora", "corda"):
        assert PEFT_TYPES["lora"].stored(3, options("lora", init=init), MAP) == 3 * 20
    vera = PEFT_TYPES["vera"]
    assert vera.stored_shared(5, options("vera", sites=("q", "up")), SHAPE) == 5 * (12 + 24)
    assert vera.stored_shared(5, options("vera", sites=("q",)), SHAPE) == 5 * (12 + 8)
    assert vera.stored_shared(5, options("vera", save_projection=False), SHAPE) == 0


@pytest.mark.parametrize(
    ("name", "size", "given", "place", "expected"),
    [
        ("oft", 5, {}, MAP, "block_size 5 does not divide 12 inputs: allowed are 2, 3, 4, 6, 12"),
        ("oft", 1, {}, MAP, "block_size 1 is too small to turn anything: allowed are 2, 3, 4, 6, 12"),
        ("oft", 4, {}, CONV1D, "peft has no OFT for GPT-2's Conv1D: allowed are maps of torch.nn.Linear"),
        ("boft", 8, {}, MAP, "block_size 8 does not divide 12 inputs: allowed are 2, 3, 4, 6, 12"),
        ("c3a", 3, {}, MAP, "block_size 3 does not divide both 12 inputs and 8 outputs: allowed are 1, 2, 4"),
        (
            "vblora",
            2,
            {},
            MAP,
            "vector_length 256 does not divide both 12 inputs and 8 outputs: allowed are 1, 2, 4",
        ),
        (
            "vblora",
            2,
            {"num_vectors": 3, "topk": 4},
            MAP,
            "topk 4 is more than the 3 vectors: allowed are 1 to 3",
        ),
        (
            "miss",
            3,
            {"mode": "bat"},
            MAP,
            "rank 3 does not divide both 12 inputs and 8 outputs: allowed are 1, 2, 4",
        ),
        (
            "miss",
            3,
            {"mode": "mini", "mini_r": 3},
            MAP,
            "mini_r 3 does not divide 8 outputs: allowed are 1, 2, 4, 8",
        ),
        ("miss", 13, {}, MAP, "rank 13 is more than the 12 inputs: allowed are 1 to 12"),
        ("gralora", 3, {}, MAP, "gralora_k 2 does not divide rank 3: allowed are 1, 3"),
        (
            "gralora",
            8,
            {"gralora_k": 8},
            MAP,
            "gralora_k 8 does not divide both 12 inputs and 8 outputs: allowed are 1, 2, 4",
        ),
        (
            "hra",
            3,
            {},
            MAP,
            "rank 3 is odd, and reflections start in pairs that cancel: allowed are even ranks",
        ),
        ("psoft", 9, {}, MAP, "rank 9 is more than the 8 singular values of the weight: allowed are 1 to 8"),
        (
            "psoft",
            1,
            {},
            MAP,
            "rank 1 leaves nothing to turn: allowed are ranks of at least 2, or psoft_orth: false",
        ),
        (
            "fourierft",
            97,
            {},
            MAP,
            "n_frequency 97 is more than the 96 entries of the weight: allowed are 1 to 96",
        ),
        ("randlora", 9, {}, MAP, "rank 9 is more than the 8 of the smaller side: allowed are 1 to 8"),
        (
            "shira",
            5,
            {},
            MAP,
            "rank 5 is more than a weight of 96 entries has room for, 20 a rank: allowed are 1 to 4",
        ),
        (
            "supertuning",
            0.01,
            {},
            MAP,
            "density 0.01 leaves none of 96 entries: allowed are densities of at least 0.0105",
        ),
        (
            "adalora",
            4,
            {"target_rank": 4},
            MAP,
            "target_rank 4 is not below the initial rank 4: allowed are 1 to 3",
        ),
        (
            "adalora",
            1,
            {"target_rank": 1},
            MAP,
            "rank 1 leaves nothing to prune: allowed are ranks of at least 2",
        ),
        (
            "lora",
            9,
            {"init": "pissa"},
            MAP,
            "rank 9 is more than the 8 singular values that init pissa can choose from: allowed are 1 to 8",
        ),
        (
            "lora",
            13,
            {"init": "eva"},
            MAP,
            "rank 13 is more than the 12 directions that init eva can choose from: allowed are 1 to 12",
        ),
        (
            "lora",
            3,
            {"init": "orthogonal"},
            MAP,
            "init orthogonal makes pairs of ranks, and 3 is odd: allowed are even ranks",
        ),
        (
            "lora",
            2,
            {"init": "olora"},
            CONV1D,
            "init olora takes GPT-2's Conv1D for its transpose: allowed are the other inits",
        ),
    ],
)
def test_objections_say_what_is_allowed(
    name: str, size: Size, given: dict[str, Any], place: Place, expected: str
) -> None:
    assert PEFT_TYPES[name].objection(size, options(name, size, **given), place) == expected


def test_loftq_needs_its_quantiser(monkeypatch: pytest.MonkeyPatch) -> None:
    lora = PEFT_TYPES["lora"]
    chosen = options("lora", init="loftq")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert lora.objection(2, chosen, MAP) == (
        "init loftq needs the package bitsandbytes, which is not installed: allowed are the other inits"
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert lora.objection(2, chosen, MAP) == ""
    assert changes_base("lora", chosen)


def test_what_can_be_at_one_linear_map() -> None:
    default = {name: options(name) for name in PEFT_TYPES}
    bat, pissa, dora = options("miss", mode="bat"), options("lora", init="pissa"), options("lora", dora=True)
    assert [name for name in PEFT_TYPES if replaces_product(name, default[name])] == [
        "hra",
        "shira",
        "supertuning",
    ]
    assert replaces_product("miss", bat)
    assert clash("lora", default["lora"], "oft", default["oft"]) == ""
    assert clash("hra", {}, "miss", bat).startswith("hra and miss both multiply with the weight itself")
    assert clash("oft", default["oft"], "lora", pissa).startswith("lora with init pissa takes a part out")
    assert clash("lora", pissa, "lora", dora).startswith("lora with init pissa takes a part out")
    assert clash("lora", pissa, "lora", options("lora", init="olora")) == (
        "lora and lora both take a part out of the weight: allowed is one of them"
    )
    for name in ("adalora", "delora", "psoft", "vera", "miss"):
        assert clash("lora", pissa, name, default[name]) == ""


@pytest.mark.parametrize(
    ("dimension", "factor", "expected"),
    [
        (24, -1, (4, 6)),
        (24, 3, (3, 8)),
        (24, 5, (4, 6)),
        (24, 24, (24, 1)),
        (7, -1, (1, 7)),
        (1, -1, (1, 1)),
        (36, 0, (1, 36)),
    ],
)
def test_the_factors_of_lokr(dimension: int, factor: int, expected: tuple[int, int]) -> None:
    assert factors(dimension, factor) == expected


def test_the_table_is_whole() -> None:
    assert len(WAVELETS) == len(set(WAVELETS)) == 24
    for name, known in PEFT_TYPES.items():
        assert known.name == name
        assert known.about
        assert known.source
        assert known.refusal() == ""
        assert "sites" not in known.fields
        assert known.size not in known.fields
        for field, one in known.fields.items():
            assert one.about, (name, field)
            if one.kind == "word":
                assert one.default in one.words
            for value in (one.default, one.times_size):
                if isinstance(value, int | float) and not isinstance(value, bool):
                    assert one.low <= value <= one.high


def test_a_field_that_counts_hang_on_says_so() -> None:
    """Each field at another value, at one place: only where `costs` says so may anything change."""
    for name, known in PEFT_TYPES.items():
        place = {"norm": Place("norm", 24, 24, bias=12), "input": Place("input", 12, 12)}.get(
            known.at, Place("linear", 24, 16)
        )
        size: Size = 0.25 if known.size_kind == "fraction" else 1 if name == "lokr" else 4

        def counts(
            chosen: dict[str, Any], name: str = name, size: Size = size, place: Place = place
        ) -> tuple[int, ...]:
            one = PEFT_TYPES[name]
            return (
                one.trainable(size, chosen, place),
                one.stored(size, chosen, place),
                one.shared(size, chosen, SHAPE),
                one.stored_shared(size, chosen, SHAPE),
            )

        base = options(name, size, target_rank=2)
        for field, one in known.fields.items():
            others: tuple[Any, ...] = one.words or ((not base[field],) if one.kind == "boolean" else (3, 7))
            modes = (
                [{"mode": mode} for mode in known.fields["mode"].words] if "mode" in known.fields else [{}]
            )
            changed = any(
                counts({**base, **mode, field: other}) != counts({**base, **mode})
                for other in others
                for mode in modes
            )
            assert changed == one.costs, (name, field)
