"""Configurations in a line."""

import random

import pytest
from shapes import VIT

from autopeft.dsl import MODULE_TYPES, read_space
from autopeft.dsl.describe import describe
from autopeft.nouns import Configuration, Module
from autopeft.registry import space_names, space_text


def module(kind: str, size: float, layers: tuple[int, ...], *sites: str, **options: object) -> Module:
    return Module(kind, size, layers, tuple(sorted({"sites": sites, **options}.items())))


def line(*modules: Module, layers: int = 6, **training: float) -> str:
    said = describe(Configuration.of(modules, 1e-3, training), layers)
    assert ", lr 0.001" in said
    return said.replace(", lr 0.001", "")


def test_what_is_by_default_is_not_told() -> None:
    serial = module("bottleneck", 6, (0, 2), "ffn", position="serial")
    prefix = module("prefix", 3, (0, 2), "attention")
    assert line(serial, prefix) == "serial 6 + prefix 3 in layers 0 2"
    assert line(module("lora", 4, (1,), "q", "v", alpha=8)) == "lora 4 on q,v in layer 1"
    assert line(module("bottleneck", 6, (0,), "attention", position="parallel", activation="relu")) == (
        "parallel 6 on attention in layer 0"
    )
    assert line() == "no modules"


def test_options_are_in_brackets() -> None:
    lora = module("lora", 4, (0, 2), "q", alpha=16, init="pissa", dora=True)
    assert line(lora) == "lora 4 on q (alpha 16, dora, pissa) in layers 0 2"
    parallel = module("bottleneck", 6, (0, 2), "ffn", position="parallel", scaling=4)
    assert (
        line(lora, parallel) == "lora 4 on q (alpha 16, dora, pissa) + parallel 6 (scaling 4) in layers 0 2"
    )
    assert line(module("supertuning", 0.01, (0,), "q", select_top=False)) == (
        "supertuning 0.01 on q (no select_top) in layer 0"
    )


def test_types_without_a_size_or_a_place_in_layers() -> None:
    assert line(module("ia3", 1, (0,), "k", "down")) == "ia3 on k,down in layer 0"
    assert line(module("ln_tuning", 1, (0, 1), "norm"), layers=2) == "ln_tuning in all layers"
    assert line(module("prompt_tuning", 8, (0,), "input")) == "prompt_tuning 8"


def test_layers_that_follow_each_other() -> None:
    assert line(module("prefix", 1, (0, 1, 2, 5), "attention"), layers=12) == "prefix 1 in layers 0 1 2 5"
    assert (
        line(module("prefix", 1, (0, 1, 2, 3, 7, 11), "attention"), layers=12)
        == "prefix 1 in layers 0-3 7 11"
    )


def test_sizes_that_differ_from_place_to_place() -> None:
    per_layer = [
        module("lora", rank, (layer,), "q", "v", alpha=2 * rank) for layer, rank in ((0, 4), (1, 8), (2, 4))
    ]
    assert line(*per_layer) == "lora on q,v: 4 in layers 0 2, 8 in layer 1"
    per_site = [module("lora", 2, (0, 1), "q", alpha=4), module("lora", 8, (0, 1), "v", alpha=16)]
    assert line(*per_site, layers=2) == "lora: 2 on q, 8 on v in all layers"
    both = [module("lora", 2, (0,), "q", alpha=4), module("lora", 8, (1,), "v", alpha=16)]
    assert line(*both) == "lora: 2 on q in layer 0, 8 on v in layer 1"
    many = [module("lora", 2**i, (i,), "q" if i % 2 else "v", alpha=2 ** (i + 1)) for i in range(6)]
    assert line(*many, layers=7) == "lora: 1 to 32 on q,v in layers 0-5"
    different = [module("lora", 2, (0,), "q", alpha=4), module("lora", 8, (1,), "q", alpha=16, dora=True)]
    assert line(*different) == "lora 8 on q (dora) in layer 1; lora 2 on q in layer 0"


def test_training() -> None:
    said = describe(Configuration.of([], 1e-3, {"weight_decay": 0.1, "batch_size": 16}), 2)
    assert said == "no modules, lr 0.001, batch_size 16, weight_decay 0.1"


@pytest.mark.parametrize("name", space_names())
def test_every_configuration_fits_a_line(name: str) -> None:
    bound = read_space(space_text(name), name).bind(VIT, 10**9)
    for assignment in bound.sample(random.Random(0), 200):
        said = describe(bound.configuration(assignment), len(VIT.layers))
        assert "\n" not in said
        assert len(said) < 150, said
        assert "None" not in said


def test_every_type_can_be_told() -> None:
    for name, known in MODULE_TYPES.items():
        if name == "frozen":
            continue
        options = {n: f.words[0] for n, f in known.fields.items() if f.kind == "word" and f.default is None}
        options |= {n: 1 for n, f in known.fields.items() if f.kind == "integer" and f.default is None}
        told = line(module(name, 4, (0,), *(known.sites or ("q",)), **options))
        assert told.startswith(options.get("position", name))
