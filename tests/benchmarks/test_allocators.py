"""The record of allocators is what docs say, and every row had the same budget."""

import json
from pathlib import Path

import allocators

RECORD = json.loads(allocators.RESULTS.read_text(encoding="utf-8"))
DOCS = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")


def test_docs_have_the_record() -> None:
    assert allocators.markdown(RECORD) in DOCS


def test_every_method_is_measured_on_both_backbones_with_every_seed() -> None:
    rows = {(row["backbone"], row["method"]): row for row in RECORD["rows"]}
    assert set(rows) == {
        (backbone, name) for backbone in ("starter", "minilm") for name in allocators.METHODS
    }
    assert all(len(row["scores"]) == RECORD["seeds"] >= 5 for row in rows.values())


def test_no_row_has_more_parameters_than_the_uniform_one() -> None:
    for row in RECORD["rows"]:
        (uniform,) = (
            r for r in RECORD["rows"] if (r["backbone"], r["method"]) == (row["backbone"], "uniform")
        )
        assert row["trainable"] <= uniform["trainable"]
    for method in allocators.METHODS.values():
        assert method.control in ("", *allocators.METHODS)


def test_a_difference_is_told_with_its_error() -> None:
    rows = [
        {"backbone": "b", "method": "random", "scores": [0.5, 0.6]},
        {"backbone": "b", "method": "spt", "scores": [0.6, 0.9]},
    ]
    assert allocators.against(rows, rows[1], "random") == "+0.200 ± 0.100 (2 of 2)"
    assert allocators.against(rows, rows[0], "random") == ""
    assert allocators.against(rows, rows[1], "rst") == ""
