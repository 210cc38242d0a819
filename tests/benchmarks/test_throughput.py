"""The record of trials an hour is what docs say, and the small parts of its making."""

import json
from pathlib import Path

import pytest
import throughput
from trainers import ours, trials

RECORD = json.loads(throughput.RESULTS.read_text(encoding="utf-8"))
DOCS = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")


def test_docs_have_the_record() -> None:
    assert throughput.markdown(RECORD) in DOCS
    rows = {(row["backbone"], row["name"]): row for row in RECORD["rows"]}
    assert {name for backbone, name in rows if backbone == "starter"} == set(throughput.ROWS)
    peer = rows["starter", "peer"]["trials_per_hour"]
    words = " ".join(DOCS.split())
    for name, said in (
        ("solo", "On the starter ours runs {:.1f} times the trials of the peer"),
        ("prefix", "{:.1f} with the prefix kept"),
        ("packed", "{:.1f} packed, where five times was wanted"),
        ("bound", "The bound is at {:.1f} times"),
    ):
        assert said.format(rows["starter", name]["trials_per_hour"] / peer) in words


def test_every_row_has_done_the_same_work() -> None:
    assert all(row["counts"] for row in RECORD["rows"])
    for row in RECORD["rows"]:
        if row["name"] != "bound":
            assert len(row["scores"]) == row["trials"]


def test_a_row_of_other_scores_does_not_count() -> None:
    rows = [
        trials.Row("peer", "starter", 10.0, 10, 0, (0.7, 0.8)),
        trials.Row("solo", "starter", 5.0, 10, 0, (0.5, 0.6)),
        trials.Row("prefix", "starter", 5.0, 10, 0, (0.71, 0.79)),
    ]
    record = throughput.record(rows, 2, 1, "")
    assert [row["counts"] for row in record["rows"]] == [True, False, True]
    assert "does not count" in throughput.markdown(record)
    assert record["rows"][1]["trials_per_hour"] == 1440


def test_the_same_trials_each_time_and_modules_in_each() -> None:
    first, second = trials.sample(6, 24), trials.sample(6, 24)
    assert first == second
    assert all(one.layers and one.sites for one in first)
    assert {one.configuration.modules[0].size for one in first} <= set(trials.RANKS)


def test_between_is_what_neither_trial_took() -> None:
    found = [{"end": 10.0, "seconds": 4.0}, {"end": 4.0, "seconds": 3.0}, {"end": 15.0, "seconds": 4.9}]
    assert ours.between(found) == pytest.approx((2.0 + 0.1) / 2)
