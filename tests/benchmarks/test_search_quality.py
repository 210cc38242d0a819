import json
from pathlib import Path

import elastic
import fidelity
import numpy as np
import pytest
import search_quality
import suggest_time
import warm_start
from replay import Run

from .small import small_table

DOCS = Path(__file__).resolve().parents[2] / "docs"


def run(*found):
    return Run(found, found, (0.1,) * len(found), 0)


def test_evaluations_to_95_are_counted_from_one_and_capped():
    summary = search_quality.summarise([run(0.2, 0.95, 1.0), run(0.1, 0.2, 0.3)], 1.0, 3)
    assert summary["evaluations_to_95"] == [2, 3]
    assert summary["reached_95"] == 1
    assert summary["curve"]["mean"] == pytest.approx([0.85, 0.425, 0.35])


def test_the_band_holds_the_mean_and_narrows_with_repeats():
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(5, 1)), rng.normal(size=(500, 1))
    widths = []
    for values in (few, many):
        low, high = search_quality.bootstrap(values)
        assert low[0] <= values.mean() <= high[0]
        widths.append(high[0] - low[0])
    assert widths[1] < widths[0]


def test_ours_is_compared_with_every_other():
    good = [run(*(1 - 0.5**i for i in range(30))) for _ in range(8)]
    bad = [run(*(0.01 * i for i in range(30))) for _ in range(8)]
    methods = {
        name: search_quality.summarise(runs, 1.0, 30) for name, runs in (("autopeft", good), ("x", bad))
    }
    found = search_quality.compare(methods)
    assert list(found) == ["x"]
    assert found["x"]["regret_at_25"]["ratio"] < 0.5
    assert found["x"]["regret_at_25"]["p"] < 0.05


@pytest.fixture
def results():
    table = small_table()
    runs = [run(*(table.total * i / 60 for i in range(60))) for _ in range(3)]
    methods = {name: search_quality.summarise(runs, table.total, 60) for name in ("autopeft", "random")}
    return search_quality.record(methods, table, 60, "x")


def test_the_results_have_what_others_read(results):
    assert set(results["evaluations_to_95"]) == {"autopeft", "random"}
    assert results["regret_at_50"]["autopeft"] == pytest.approx(1 - 49 / 60, abs=1e-3)
    assert "regret_at_100" in results
    assert 0 < results["without_search"]["median"]["regret"] <= 1
    assert json.loads(json.dumps(results)) == results


def test_the_markdown_has_a_row_a_method(results):
    lines = search_quality.markdown(results).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert any(line.startswith("| autopeft (ours) |") for line in lines)


def test_methods_of_another_table_are_not_kept(results, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    assert set(search_quality.measured_before(path, "made up")) == {"autopeft", "random"}
    with pytest.raises(SystemExit, match="another table"):
        search_quality.measured_before(path, "else")


def test_the_documents_have_what_was_recorded():
    recorded = json.loads(search_quality.RESULTS.read_text(encoding="utf-8"))
    assert search_quality.markdown(recorded) in (DOCS / "results.md").read_text(encoding="utf-8")
    assert search_quality.ablation_markdown(recorded) in (DOCS / "suggesting.md").read_text(encoding="utf-8")
    seconds = json.loads(suggest_time.RESULTS.read_text(encoding="utf-8"))
    assert suggest_time.table(seconds) in (DOCS / "results.md").read_text(encoding="utf-8")


def test_the_table_of_stopping_is_what_was_recorded() -> None:
    record = json.loads(fidelity.RESULTS.read_text(encoding="utf-8"))
    words = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    assert fidelity.table_of(record) in words
    rows = {(row["sampler"], row["fidelity"]): row for row in record["rows"]}
    part = rows["random", "epochs"]["epochs_for_the_same"]["mean"]
    assert f"Random search needs {part:.0%} of them" in words
    assert f"it has {rows['botorch', 'epochs']['share'][49]:.3f} of the hypervolume" in words


def test_the_table_of_earlier_studies_is_what_was_recorded() -> None:
    record = json.loads(warm_start.RESULTS.read_text(encoding="utf-8"))
    assert warm_start.markdown(record) in (DOCS / "results.md").read_text(encoding="utf-8")
    for name in ("related", "unrelated", "reversed"):  # none is worse than a cold start in the long run
        _, high = record["against_cold"][name]["100"]["band"]
        assert high > 0


def test_the_table_of_the_super_adapter_is_what_was_recorded() -> None:
    record = json.loads(elastic.RESULTS.read_text(encoding="utf-8"))
    assert elastic.table(record) in (DOCS / "results.md").read_text(encoding="utf-8")
