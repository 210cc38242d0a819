import json
import random
from pathlib import Path

import pytest
import text_surrogate
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


def test_the_table_of_text_is_as_its_card_says():
    space, entries = table.load_text()
    assert len(entries) == 300
    assert sum(len(entry.curves) for entry in entries.values()) == 360
    assert all(len(curve.validation) == 3 for entry in entries.values() for curve in entry.curves.values())
    for entry in entries.values():
        assert space.cost(space.assignment(entry.configuration)) == entry.trainable


def test_what_a_surrogate_knows_of_it_is_what_was_recorded():
    root = Path(__file__).parents[2]
    record = json.loads(text_surrogate.RESULTS.read_text(encoding="utf-8"))
    assert text_surrogate.markdown(record) in (root / "docs" / "results.md").read_text(encoding="utf-8")
    card = (root / "benchmarks" / "peft_table" / "README.md").read_text(encoding="utf-8")
    found = record["predictors"]["surrogate"]
    assert f"root mean square error of {found['rmse']:.3f}" in " ".join(card.split())
    assert f"{found['explained']:.0%}".replace("%", " %") in card
