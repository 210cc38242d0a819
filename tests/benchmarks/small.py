"""A made-up table of a small space on a made-up backbone: every configuration, with scores that follow a rule."""

import random

from peft_table.table import Curve, Entry, Table, points
from shapes import VIT

from autopeft.dsl import read_space
from autopeft.nouns import Configuration

SPACE = """
name: small
layers: {subset: all}
modules:
  serial:   {type: bottleneck, position: serial, size: {choice: [0, 2, 12]}}
  parallel: {type: bottleneck, position: parallel, scaling: 4, size: {choice: [0, 2, 12]}}
training: {learning_rate: 0.01}
"""


def small_table() -> Table:
    bound = read_space(SPACE, "small").bind(VIT, VIT.parameters)
    rng = random.Random(0)
    entries = {}
    for configuration in points(bound):
        cost = bound.cost(bound.assignment(configuration))
        score = 0.5 + 0.2 * bound.cost_coordinate(cost) + rng.gauss(0, 0.05)
        entries[configuration.key] = Entry(configuration, cost, {s: curve(score + s / 100) for s in (0, 1)})
    head = Entry(Configuration.of([], 0.01), 0, {0: curve(0.4)})
    return Table(bound, entries, head, "made up")


def curve(score: float) -> Curve:
    return Curve((score / 2, score), (score / 2, score), (1.0, 2.0))
