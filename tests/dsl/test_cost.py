"""Trainable parameters against formulas written out by hand."""

from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Module

from .shapes import BERT, UNEVEN


def count(*modules: Module) -> int:
    return trainable_parameters(Configuration.of(modules, 1e-3), BERT)


def test_counts_that_papers_state() -> None:
    every = tuple(range(12))
    assert count(Module("lora", 8, every, (("alpha", 16), ("sites", ("q", "v"))))) == 294_912  # Hu et al.
    assert count(Module("bottleneck", 48, every, (("position", "serial"),))) == 12 * (2 * 768 * 48 + 48 + 768)
    assert count(Module("prefix", 10, every)) == 184_320  # 0.17 % of BERT-base (Zhou et al.)
    assert count() == 0


def test_counts_are_those_of_each_layer() -> None:
    lora = Module("lora", 3, (0, 2), (("alpha", 6), ("sites", ("q", "v"))))
    prefix = Module("prefix", 5, (1, 2))
    configuration = Configuration.of([lora, prefix], 1e-3)
    expected = 3 * (8 + 8 + 8 + 4 + 8 + 6 + 8 + 6) + 2 * 5 * (2 + 6)
    assert trainable_parameters(configuration, UNEVEN) == expected
