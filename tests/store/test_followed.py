"""Trials that are followed are those that the database has, whatever has happened to them since the last look."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event

from autopeft.errors import StudyError
from autopeft.nouns import Study, Trial, TrialKind, TrialStatus
from autopeft.store import Repository, followed

from .conftest import a_configuration

which = st.integers(0, 5)


class Following(RuleBasedStateMachine):
    """Writes by anyone; one who looks after each of them, and one who looks now and then."""

    repository: ClassVar[Repository]
    names: ClassVar[Iterator[int]]

    def __init__(self) -> None:
        super().__init__()
        self.study = self.repository.create_study(f"s{next(self.names)}", {}, 1000, "autopeft")
        other = self.repository.create_study(f"s{next(self.names)}", {}, 1000, "autopeft")
        self.repository.add_trial(other.id, TrialKind.SEARCH, a_configuration(), 1, 0)
        self.often = self.repository.follow(self.study.id)
        self.seldom = self.repository.follow(self.study.id)
        self.ids: list[int] = []

    @rule()
    def add(self) -> None:
        rank = len(self.ids) + 1
        added = self.repository.add_trial(self.study.id, TrialKind.SEARCH, a_configuration(rank), rank, 0)
        self.ids.append(added.id)

    def of(self, number: int) -> int:
        return self.ids[number % len(self.ids)]

    @precondition(lambda self: self.ids)
    @rule(number=which)
    def start(self, number: int) -> None:
        if self.repository.trial_by_id(self.of(number)).status is TrialStatus.WAITING:
            self.repository.start_trial(self.of(number))

    @precondition(lambda self: self.ids)
    @rule(number=which, rung=st.integers(1, 3), score=st.sampled_from([0.5, 0.6, float("nan")]))
    def report(self, number: int, rung: int, score: float) -> None:
        self.repository.report(self.of(number), rung, {"score": score, "train_loss": 1.0})

    @precondition(lambda self: self.ids)
    @rule(number=which, end=st.sampled_from(["complete", "stop", "fail", "lose", "requeue"]))
    def end(self, number: int, end: str) -> None:
        ends: dict[str, Callable[[int], object]] = {
            "complete": lambda of: self.repository.complete(of, {"seconds": 1.0}, {"threads": 1}, "/a"),
            "stop": self.repository.stop,
            "fail": lambda of: self.repository.fail(of, "no memory"),
            "lose": lambda of: self.repository.lose(of, "gone", retries=0),
            "requeue": self.repository.requeue,
        }
        with contextlib.suppress(StudyError):  # there is no score yet
            ends[end](self.of(number))

    @rule()
    def retry(self) -> None:
        self.repository.retry(self.study.id)

    @precondition(lambda self: self.ids)
    @rule(number=which)
    def retry_and_come_to_the_same_end(self, number: int) -> None:
        trial = self.repository.trial_by_id(self.of(number))
        if trial.status is TrialStatus.FAILED:
            self.repository.retry(self.study.id, [trial.number])
            self.repository.fail(trial.id, trial.reason)

    @rule()
    def look(self) -> None:
        assert self.seldom.read() == self.repository.trials(self.study.id)

    @invariant()
    def it_is_what_the_database_has(self) -> None:
        assert self.often.read() == self.repository.trials(self.study.id)


@pytest.mark.parametrize("most", [500, 1])
def test_what_is_followed_is_what_is_there(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(followed, "_MOST_BY_ID", most)
    machine = type("OnThis", (Following,), {"repository": repository, "names": count()})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=20, stateful_step_count=30, deadline=None)
    )


def test_only_what_may_have_changed_is_read(
    repository: Repository, study: Study, add: Callable[..., Trial]
) -> None:
    trials = [add(rank) for rank in range(1, 31)]
    for trial in trials[:20]:
        repository.report(trial.id, 1, {"score": 0.5})
        repository.complete(trial.id, {}, {})
    for trial in trials[20:25]:
        repository.fail(trial.id, "no memory")
    seen = repository.follow(study.id)
    seen.read()
    repository.retry(study.id, [21])
    repository.start_trial(trials[21].id)
    repository.fail(trials[21].id, "no memory")
    repository.report(trials[26].id, 1, {"score": 0.6})
    new = add(100)
    asked: list[Any] = []
    event.listen(
        repository._engine,
        "before_cursor_execute",
        lambda c, cursor, statement, parameters, *rest: asked.append((statement, parameters)),
    )
    found = seen.read()
    read = next(p for s, p in asked if "trial.configuration" in s)
    ids = set(read.values() if isinstance(read, dict) else read)
    assert {t.id for t in [trials[21], *trials[25:], new]} <= ids
    assert not {t.id for t in trials[:20]} & ids
    assert found == repository.trials(study.id)
