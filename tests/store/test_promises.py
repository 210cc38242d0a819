"""The repository as a state machine: whatever is told by whomever in whatever order, against a model in plain Python."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

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

from autopeft.confirmation import FOUND
from autopeft.errors import StudyError, TakenError
from autopeft.nouns import Front, TrialKind, TrialStatus
from autopeft.store import Repository
from autopeft.store.repository import NOT_A_NUMBER

from .conftest import a_configuration

WAITING, RUNNING, COMPLETE, STOPPED, FAILED = TrialStatus
OWNERS = ("a", "b", "c")
GONE = "the search that trained it, process 1 on there, is gone."

owners = st.sampled_from(OWNERS)
trials = st.integers(0, 9)
"""Which of the trials that there are; the rest of the division by their number."""
retries = st.integers(0, 2)
values = st.floats(allow_nan=True, allow_infinity=True, width=32)
late = st.sampled_from([None, 0, 1])
"""Which attempt tells something: not said, the present one, the one before."""


@dataclass
class Known:
    """What the model knows of a trial."""

    id: int
    rank: int
    status: TrialStatus = WAITING
    attempt: int = 0
    owner: str | None = None
    losses: int = 0
    reason: str = ""
    rungs: dict[int, float | None] = field(default_factory=dict)

    @property
    def scores(self) -> dict[int, float]:
        return {rung: score for rung, score in self.rungs.items() if score is not None}

    def takes(self, attempt: int | None) -> bool:
        return not self.status.final and (
            attempt is None or (self.status is RUNNING and attempt == self.attempt)
        )

    def free(self) -> None:
        if not self.status.final:
            self.status, self.owner = WAITING, None

    def lose(self, reason: str, retries: int) -> None:
        self.owner, self.losses, self.status = None, self.losses + 1, WAITING
        if self.losses > retries:
            self.status, self.reason = FAILED, reason


class Promises(RuleBasedStateMachine):
    names: Iterator[int]
    repository: Repository

    def __init__(self) -> None:
        super().__init__()
        self.study = self.repository.create_study(f"study {next(self.names)}", {}, 1000, "x")
        # An owner is of one study only, so that the studies of earlier examples are no part of this one.
        self.owners = {name: f"{name} of {self.study.name}" for name in OWNERS}
        self.model: list[Known] = []
        self.drivers: dict[str, int] = {}
        self.fronts: list[Front] = []

    def known(self, trial: int) -> Known:
        return self.model[trial % len(self.model)]

    def attempt(self, known: Known, late: int | None) -> int | None:
        return None if late is None else known.attempt - late

    # Making trials

    @rule(rank=st.integers(1, 6))
    def add(self, rank: int) -> None:
        arguments = (self.study.id, TrialKind.SEARCH, a_configuration(rank), rank, 0)
        if any(known.rank == rank for known in self.model):
            with pytest.raises(StudyError, match="is already trial"):
                self.repository.add_trial(*arguments)
            return
        trial = self.repository.add_trial(*arguments)
        assert trial.number == len(self.model)
        self.model.append(Known(trial.id, rank))

    @rule(rank=st.integers(1, 9), owner=st.none() | owners, at_most=st.none() | st.integers(0, 6))
    def propose(self, rank: int, owner: str | None, at_most: int | None) -> None:
        trial = self.repository.propose(
            self.study.id,
            TrialKind.SEARCH,
            a_configuration(rank),
            rank,
            0,
            owner=owner and self.owners[owner],
            at_most=at_most,
        )
        there = any(known.rank == rank for known in self.model)
        assert (trial is None) == (there or (at_most is not None and len(self.model) >= at_most))
        if trial is not None:
            assert trial.number == len(self.model)
            self.model.append(Known(trial.id, rank, owner=owner))

    # Drivers

    @rule(owner=owners)
    def join(self, owner: str) -> None:
        self.repository.join(self.study.id, owner=self.owners[owner], host="there", pid=1)
        self.drivers.setdefault(owner, 0)
        for known in self.model:
            if known.owner not in self.drivers:
                known.free()

    @rule(owner=owners)
    def beat(self, owner: str) -> None:
        assert self.repository.beat(self.owners[owner]) == (owner in self.drivers)
        if owner in self.drivers:
            self.drivers[owner] += 1

    @rule(owner=owners)
    def leave(self, owner: str) -> None:
        self.repository.leave(self.study.id, self.owners[owner])
        self.drivers.pop(owner, None)
        for known in self.model:
            if known.owner == owner:
                known.free()

    @precondition(lambda self: self.drivers)
    @rule(owner=owners, alive=st.booleans(), retries=retries)
    def bury(self, owner: str, alive: bool, retries: int) -> None:
        found = {one.owner: one for one in self.repository.drivers(self.study.id)}
        assert {name: one.beats for name, one in found.items()} == {
            self.owners[name]: beats for name, beats in self.drivers.items()
        }
        if owner not in self.drivers:
            return
        if alive:
            self.beat(owner)
        buried = self.repository.bury(self.study.id, found[self.owners[owner]], retries=retries)
        assert buried == (not alive)
        if buried:
            del self.drivers[owner]
            for known in self.model:
                if known.owner == owner and known.status is RUNNING:
                    known.lose(GONE, retries)
                elif known.owner == owner:
                    known.free()

    @rule(owner=owners)
    def claim(self, owner: str) -> None:
        trial = self.repository.claim(self.study.id, self.owners[owner])
        free = [known for known in self.model if known.status is WAITING and known.owner is None]
        assert (None if trial is None else trial.id) == (free[0].id if free else None)
        if free:
            free[0].owner = owner

    # The way of a trial

    @precondition(lambda self: self.model)
    @rule(trial=trials, owner=st.none() | owners)
    def start(self, trial: int, owner: str | None) -> None:
        known = self.known(trial)
        try:
            started = self.repository.start_trial(known.id, owner and self.owners[owner])
        except TakenError:
            assert known.status is not WAITING or known.owner != owner
            return
        assert known.status is WAITING
        assert known.owner == owner
        known.status, known.attempt = RUNNING, known.attempt + 1
        assert started.attempt == known.attempt

    @precondition(lambda self: self.model)
    @rule(trial=trials, rung=st.integers(1, 3), value=values, late=late)
    def report(self, trial: int, rung: int, value: float, late: int | None) -> None:
        known = self.known(trial)
        attempt = self.attempt(known, late)
        used = self.repository.report(known.id, rung, {"score": value, "train_loss": 1.0}, attempt=attempt)
        assert used == known.takes(attempt)
        if used:
            known.rungs[rung] = value if math.isfinite(value) else None

    @precondition(lambda self: self.model)
    @rule(trial=trials, late=late)
    def complete(self, trial: int, late: int | None) -> None:
        known = self.known(trial)
        attempt = self.attempt(known, late)
        if known.takes(attempt) and not known.rungs:
            with pytest.raises(StudyError, match="no score was reported"):
                self.repository.complete(known.id, {}, {}, attempt=attempt)
            return
        used = self.repository.complete(known.id, {}, {}, "/a", attempt=attempt)
        assert used == known.takes(attempt)
        if used:
            finite = known.rungs[max(known.rungs)] is not None
            known.status, known.reason = (COMPLETE, "") if finite else (FAILED, NOT_A_NUMBER)

    @precondition(lambda self: self.model)
    @rule(trial=trials, reason=st.sampled_from(["", "out of memory"]), late=late)
    def fail(self, trial: int, reason: str, late: int | None) -> None:
        known = self.known(trial)
        attempt = self.attempt(known, late)
        used = self.repository.fail(known.id, reason, attempt=attempt)
        assert used == known.takes(attempt)
        if used:
            known.status, known.reason = FAILED, reason

    @precondition(lambda self: self.model)
    @rule(trial=trials, late=late)
    def stop(self, trial: int, late: int | None) -> None:
        known = self.known(trial)
        attempt = self.attempt(known, late)
        if known.takes(attempt) and not known.scores:
            with pytest.raises(StudyError, match="no score was reported"):
                self.repository.stop(known.id, attempt=attempt)
            return
        used = self.repository.stop(known.id, attempt=attempt)
        assert used == known.takes(attempt)
        if used:
            known.status = STOPPED

    @precondition(lambda self: self.model)
    @rule(trial=trials, late=late)
    def requeue(self, trial: int, late: int | None) -> None:
        known = self.known(trial)
        attempt = self.attempt(known, late)
        used = self.repository.requeue(known.id, attempt=attempt)
        assert used == (known.status is RUNNING and known.takes(attempt))
        if used:
            known.free()

    @precondition(lambda self: self.model)
    @rule(trial=trials, retries=retries, late=late)
    def lose(self, trial: int, retries: int, late: int | None) -> None:
        known = self.known(trial)
        attempt = self.attempt(known, late)
        used = self.repository.lose(known.id, "gone", retries=retries, attempt=attempt)
        assert used == (known.status is RUNNING and known.takes(attempt))
        if used:
            known.lose("gone", retries)

    # Fronts

    @precondition(lambda self: any(known.status is COMPLETE for known in self.model))
    @rule(late=st.booleans())
    def record_front(self, late: bool) -> None:
        members = tuple(n for n, known in enumerate(self.model) if known.status is COMPLETE)
        changed = not self.fronts or set(self.fronts[-1].members) != set(members)
        stored = self.repository.record_front(
            self.study.id, members[-1], members, 0.5, complete=len(members) - late
        )
        assert stored == (changed and not late)
        if stored:
            self.fronts.append(Front(members, 0.5, members[-1]))

    @invariant()
    def the_database_is_as_the_model(self) -> None:
        found: list[Any] = [
            (t.number, t.id, t.trainable, t.status, t.attempt, t.reason, dict(t.scores))
            for t in self.repository.trials(self.study.id)
        ]
        assert found == [
            (n, known.id, known.rank, known.status, known.attempt, known.reason, known.scores)
            for n, known in enumerate(self.model)
        ]
        assert self.repository.fronts(self.study.id) == self.fronts
        assert self.repository.standing(self.study.id, FOUND).front == (
            self.fronts[-1] if self.fronts else None
        )


def test_the_database_does_as_it_promises(repository: Repository) -> None:
    machine = type("OnThis", (Promises,), {"repository": repository, "names": count()})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=20, stateful_step_count=30, deadline=None)
    )
