import random

import pytest
from peft_table import table
from peft_table.table import points

from autopeft.nouns import Configuration
from autopeft.pareto import hypervolume

from .small import small_table


def test_the_truth_is_the_mean_of_the_seeds_last_scores():
    entry = next(iter(small_table().entries.values()))
    last = [curve.validation[-1] for curve in entry.curves.values()]
    assert entry.truth == pytest.approx(sum(last) / 2)
    assert last[0] != last[1]


def test_every_point_of_the_space_is_listed_once():
    space = small_table().space
    found = points(space)
    assert len({c.key for c in found}) == len(found) == space.cardinality


def test_an_evaluation_is_one_of_the_recorded_trainings():
    small = small_table()
    entry = next(iter(small.entries.values()))
    drawn = {small.draw(entry.configuration, random.Random(i)) for i in range(20)}
    assert drawn == set(entry.curves.values())
    with pytest.raises(KeyError):
        small.draw(Configuration.of([], 0.5), random.Random(0))


def test_the_whole_tables_hypervolume_is_the_products_over_the_head_alone():
    small = small_table()
    truths = [(entry.truth, entry.trainable) for entry in small.entries.values()]
    assert small.total == hypervolume(
        truths, reference_score=0.4, smallest=small.space.smallest, limit=small.space.limit
    )
    assert 0 < small.hypervolume(list(small.entries.values())[:3]) < small.total


def test_the_table_of_images_is_whole():
    images = table.load_images()
    assert len(images.entries) == images.space.cardinality == 1_953
    assert images.space.limit == images.space.largest
    assert all(len(entry.curves) >= 2 for entry in images.entries.values())
    assert images.head.trainable == 0


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(table, "_trainings", lambda path: iter([]))
    with pytest.raises(ValueError, match="lacks 1953 of 1953 points"):
        table.load_images.__wrapped__()
