"""A space in plain words."""

from autopeft.dsl import read_space
from autopeft.dsl.explain import count_decisions, explain, headline
from autopeft.registry import space_names, space_text

from .test_reader import GOOD

SAID = """\
layers: 2 to 4 of the layers that are there, neighbouring layers
serial: bottleneck, two linear maps with a non-linearity between, after or beside a block
  sites: ffn
  size: 1, hidden / 2 or 0 for absent, drawn 1 : 2 : 1
  position: serial
adapter: one of 4, drawn 4 : 2 : 1 : 1
  lora: a product of two thin matrices beside a weight
    sites: at least 1 of q, v
    rank: a whole number from 1 to 8, on a log scale, for each site of each layer by itself
    alpha: 4 times rank
    dora: no or yes, only if init is default
    init: default or pissa
  ia3: factors of a linear map's outputs, or of its inputs
    only if serial.size is at least 1
    sites: all of them
    layers of its own: 0, 2
  prefix+entries: these together
    only if serial.size is 1 or 384
    prefix: keys and values that a layer's queries attend to beside the sequence, in a softmax of their own
      sites: attention
      size: a whole number from 0 to 12, in steps of 3
    entries: sparse, a few entries of a weight, changed one by one
      sites: up
      density: from 0.01 to 0.1, in steps of 0.01
      mask: random
  one_of: one of 2, drawn 1 : 3
    frozen: no module: the frozen backbone, of which the head alone is trained
    bias: the biases that are there
      sites: all of them
training
  learning_rate (peak rate of modules and head): from 0.0001 to 0.01, on a log scale
  batch_size (examples a step): 16 or 32, only if adapter.type is lora
constraints
  trainable (trainable parameters, the head not counted): at most 0.5%
  adapter_bytes (bytes of the tensors that are saved with an adapter): at most 2 MB
  sites (places that have a module): at least 2\
"""


def test_every_form_in_words() -> None:
    lines = explain(read_space(GOOD, "s.yaml"))
    assert "\n".join("  " * line.depth + line.text for line in lines) == SAID


def test_decisions_are_counted_as_they_are_written() -> None:
    # layers; serial's size; two gates; lora's sites, rank, init, dora; sizes of prefix and entries; two of training
    assert count_decisions(read_space(GOOD, "s.yaml")) == 12


def test_shipped_spaces_say_in_a_sentence_what_they_are() -> None:
    for name in space_names():
        said = headline(space_text(name))
        assert 20 < len(said) <= 120
        assert said.endswith(".")
    assert headline(GOOD) == ""
