"""What Ray Tune's controller does with the answers of a worker, without a cluster."""

from pathlib import Path
from typing import Any

import pytest
from ray.tune.utils import flatten_dict

from autopeft.nouns import TrialKind, TrialStatus
from autopeft.optimize.suggest import suggest_random
from autopeft.run import tuner
from autopeft.run.tuner import StudyCallback, StudyScheduler
from autopeft.run.worker import Worker

from .test_driver import answer, make_driver, repository, space

__all__ = ["repository"]  # a fixture


def test_the_scheduler_stops_what_the_driver_stops(
    repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = make_driver(repository, tmp_path, wanted=5, at_once=5, rungs=(1,))
    monkeypatch.setitem(tuner._drivers, "a", driver)
    scheduler, callback = StudyScheduler("a"), StudyCallback("a")
    worker = Worker.__new__(Worker)

    def tell(trial_id: int, found: dict[str, Any]) -> str:
        """As the controller does: a last answer is no scheduler's business, all go to the callback."""
        worker._trials, worker._pack = [trial_id], None
        result = worker._result({0: found})
        decision = "STOP" if result["done"] else scheduler.on_trial_result(None, None, flatten_dict(result))
        callback.on_trial_result(0, [], None, result)
        return decision

    for _ in range(4):
        trials = repository.trials(driver.study.id)
        repository.add_trial(driver.study.id, TrialKind.SEARCH, suggest_random(space(), trials, 0), 500, 3)
    said = []
    for score in (0.9, 0.8, 0.7, 0.1):
        trial = driver.next_trial()
        driver.started(trial.id)  # type: ignore[union-attr]
        said.append(tell(trial.id, answer(1, score, last=False)))  # type: ignore[union-attr]
        if said[-1] == "CONTINUE":
            tell(trial.id, answer(2, score, last=True))  # type: ignore[union-attr]
    driver.close()
    assert said == ["CONTINUE", "CONTINUE", "CONTINUE", "STOP"]
    statuses = [t.status for t in repository.trials(driver.study.id)[:4]]
    assert statuses == [TrialStatus.COMPLETE] * 3 + [TrialStatus.STOPPED]


@pytest.mark.parametrize(
    ("cores", "workers", "threads"), [(8, 1, 7), (2, 1, 1), (1, 1, 1), (8, 4, 2), (8, 8, 1), (4, 16, 1)]
)
def test_a_worker_by_itself_leaves_a_core_to_the_suggestions(cores: int, workers: int, threads: int) -> None:
    assert tuner.threads_each(cores, workers) == threads
