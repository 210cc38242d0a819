"""The making of the record of a large study's queries, on a small one."""

import importlib.util
from pathlib import Path

# By its path: `store` is also the name of the folder of tests of the store.
_spec = importlib.util.spec_from_file_location(
    "benchmark_store", Path(__file__).resolve().parents[2] / "benchmarks" / "store.py"
)
assert _spec is not None
assert _spec.loader is not None
store = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(store)


def test_a_small_study_is_measured() -> None:
    record = store.measure(50, small_studies=1)
    assert set(record["rows"]) == {"front", "study list", "trial page"}
    assert record["database_bytes"] > 0
    assert len(store.markdown(record).splitlines()) == 5
