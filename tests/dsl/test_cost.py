"""Trainable parameters against formulas written out by hand."""

import random

import pytest
from shapes import BERT, UNEVEN, VIT

from autopeft.dsl import MODULE_TYPES, adapter_bytes, read_space, trainable_parameters
from autopeft.dsl.parts import BYTES
from autopeft.nouns import Configuration, Module

AT = (("sites", ("attention",)),)


def count(*modules: Module) -> int:
    return trainable_parameters(Configuration.of(modules, 1e-3), BERT)


def test_counts_that_papers_state() -> None:
    every = tuple(range(12))
    assert count(Module("lora", 8, every, (("alpha", 16), ("sites", ("q", "v"))))) == 294_912  # Hu et al.
    assert count(Module("bottleneck", 48, every, (("position", "serial"), ("sites", ("ffn",))))) == 12 * (
        2 * 768 * 48 + 48 + 768
    )
    assert count(Module("prefix", 10, every, AT)) == 184_320  # 0.17 % of BERT-base (Zhou et al.)
    assert count() == 0


def test_counts_are_those_of_each_layer() -> None:
    lora = Module("lora", 3, (0, 2), (("alpha", 6), ("sites", ("q", "v"))))
    prefix = Module("prefix", 5, (1, 2), AT)
    configuration = Configuration.of([lora, prefix], 1e-3)
    expected = 3 * (8 + 8 + 8 + 4 + 8 + 6 + 8 + 6) + 2 * 5 * (2 + 6)
    assert trainable_parameters(configuration, UNEVEN) == expected


def test_what_is_shared_counts_once() -> None:
    """VB-LoRA's vectors are one bank, however its places are written down."""
    bank = 64 * 256
    options = (("num_vectors", 64), ("vector_length", 256))
    one = count(Module("vblora", 2, (0,), (*options, ("sites", ("q",)))))
    two = count(*[Module("vblora", 2, (i,), (*options, ("sites", ("q",)))) for i in (0, 1)])
    assert two - one == one - bank


def test_a_place_that_is_not_there_costs_nothing() -> None:
    lora = Module("lora", 1, (0, 1), (("alpha", 2), ("sites", ("q", "gate"))))
    assert count(lora) == 2 * (768 + 768)


def test_bytes_count_what_is_saved_beside() -> None:
    sparse = Module("sparse", 0.01, (0,), (("sites", ("q",)),))
    entries = round(0.01 * 768 * 768)
    assert adapter_bytes(Configuration.of([sparse], 1e-3), BERT) == 4 * 2 * entries  # values and indices


NEEDED = {
    "bottleneck": "position: {choice: [serial, parallel]}",
    "adalora": "target_rank: 1",
    "vblora": "vector_length: 8, num_vectors: 4",
}


@pytest.mark.parametrize("axis", ["", "layer", "site", "[layer, site]"])
@pytest.mark.parametrize("name", [name for name in MODULE_TYPES if name != "frozen"])
def test_tables_and_formulas_agree_on_every_type(name: str, axis: str) -> None:
    """`BoundSpace.cost` looks up what `trainable_parameters` adds up; so for the bytes that are saved."""
    known = MODULE_TYPES[name]
    if axis and (known.alone or not known.size or known.at == "input"):
        return  # its size is the same everywhere
    domain = "{float: [0.05, 0.2], step: 0.05}" if known.size_kind == "fraction" else "{choice: [2, 4]}"
    fields = [f"type: {name}", NEEDED.get(name, "")]
    if known.size:
        fields.append(f"{known.size}: " + (f"{{per: {axis}, of: {domain}}}" if axis else domain))
    if not known.sites:
        fields.append("sites: {subset: [q, down]}")
    text = ", ".join(field for field in fields if field)
    space = read_space(f"name: s\nmodules: {{a: {{{text}}}}}\ntraining: {{learning_rate: 0.01}}", "s.yaml")
    bound = space.bind(VIT, 10**9)
    for assignment in bound.sample(random.Random(0), 20):
        configuration = bound.configuration(assignment)
        assert bound.cost(assignment) == trainable_parameters(configuration, VIT) > 0
        assert bound.costs.measure(assignment, BYTES) == adapter_bytes(configuration, VIT)
