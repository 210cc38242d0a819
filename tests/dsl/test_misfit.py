"""Why a configuration is not in a space: the sentence names what does not fit, and says nothing of what does."""

import random
from typing import Any

import pytest
from shapes import VIT

from autopeft.dsl import read_space
from autopeft.dsl.misfit import misfit
from autopeft.nouns import Configuration, Module
from autopeft.registry import space_names, space_text

SPACE = """
name: mine
modules:
  adapter:
    one_of:
      - {type: lora, sites: {subset: [q, k, v]}, rank: {choice: [1, 2, 4, 8]}, alpha: {tied: rank, times: 2}, dora: {choice: [false, true]}}
      - {type: ia3, sites: [k, v, down]}
layers: {subset: all}
training:
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
  weight_decay: {choice: [0.0, 0.1]}
constraints: [trainable <= 2000]
"""


def lora(
    size: Any = 2, layers: tuple[int, ...] = (0, 1), sites: tuple[str, ...] = ("q",), **options: Any
) -> Module:
    return Module("lora", size, layers, tuple(sorted({"alpha": 2 * size, **options, "sites": sites}.items())))


def made(*modules: Module, rate: float = 1e-3, allocation: Any = None, **training: Any) -> Configuration:
    return Configuration.of(modules, rate, {"weight_decay": 0.1, **training}, allocation)


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (made(lora()), ""),
        (made(lora(dora=True), rate=1e-4), ""),
        (made(lora(5)), "its adapter.lora.rank is 5, and allowed are 1, 2, 4, 8"),
        (made(lora(sites=("q", "o"))), "its lora is on o, and the space's sites are k, q, v"),
        (made(lora(layers=(0, 9))), "its lora is in layer 9, and the space's layers are 0, 1, 2, 3"),
        (made(lora(rslora=True)), "its lora has rslora True, and the space has False"),
        (made(lora(alpha=5)), "its lora has alpha 5, and the space has 4 there"),
        (made(Module("hira", 2, (0,), (("sites", ("q",)),))), "it has a hira, and the space has ia3, lora"),
        (made(lora(), rate=0.5), "its learning_rate is 0.5, and allowed is 0.0001 to 0.01"),
        (made(lora(), weight_decay=0.05), "its weight_decay is 0.05, and allowed are 0, 0.1"),
        (made(lora(), batch_size=8), "its batch_size is 8, and the space leaves batch_size as the search has it"),
        (made(lora(), allocation={"type": "spt"}), "it is dealt out by spt, and the space has no allocation"),
        (made(lora(8, (0, 1, 2, 3))), "it trains 4,096 parameters, and the budget, or the space, allows 2,000"),
        (made(), "together as the space's layers and sites do not allow"),
    ],
)  # fmt: skip
def test_what_does_not_fit(configuration: Configuration, words: str) -> None:
    bound = read_space(SPACE, "mine").bind(VIT, 3000)
    found = misfit(bound, configuration)
    assert found.endswith(words) if words else found == ""


@pytest.mark.parametrize("name", space_names())
def test_what_fits_is_no_misfit(name: str) -> None:
    bound = read_space(space_text(name), name).bind(VIT, VIT.parameters // 20)
    for assignment in bound.sample(random.Random(0), 20):
        assert misfit(bound, bound.configuration(assignment)) == ""
