"""The making of the record of a large study's queries, on a small one."""

import importlib.util
from pathlib import Path

from sqlalchemy import event

from autopeft.confirmation import FOUND
from autopeft.store import Repository

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


def test_a_large_study_waits_on_its_front_and_not_on_its_trials(tmp_path: Path) -> None:
    with Repository.open(str(tmp_path / "studies.db")) as repository:
        study = store.fill(repository, "large", 2_000)
        standing = repository.standing(study.id, FOUND)
        assert len(standing.trials) < 200
        assert standing.front is not None
        assert {t.number for t in standing.trials} > set(standing.front.members)
        statements: list[tuple[str, object]] = []
        event.listen(
            repository._engine,
            "before_cursor_execute",
            lambda c, cursor, statement, parameters, *rest: statements.append((statement, parameters)),
        )
        repository.standings(FOUND, lambda _: ("score",))
        repository.trials_of(study.id, standing.trials[0].configuration)
        with repository._engine.connect() as connection:
            plans = [
                row[3]
                for statement, parameters in [pair for pair in statements if pair[0].startswith("SELECT")]
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
    # What goes over a whole table is the list of studies, and the index that trials are counted by.
    scans = [
        plan for plan in plans if plan.startswith("SCAN") and "ix_trial_study_id_kind_status" not in plan
    ]
    assert all("study" in plan.split()[1] or "front" in plan for plan in scans), scans
    assert any("configuration_key=?" in plan for plan in plans)
