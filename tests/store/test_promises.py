"""The fault rules as a state machine: whatever is told in whatever order, against a model in plain Python."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from autopeft.errors import StudyError
from autopeft.nouns import Trial, TrialKind, TrialStatus
from autopeft.store import Repository

from .conftest import a_configuration

FINAL = (TrialStatus.COMPLETE, TrialStatus.STOPPED, TrialStatus.FAILED)
score_values = st.floats(allow_nan=True, allow_infinity=True, width=32)


class Telling(RuleBasedStateMachine):
    trials = Bundle("trials")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.repository = Repository.open(str(Path(self.folder.name) / "a.db"))
        self.study = self.repository.create_study("s", {}, 1000, "x")
        self.final: dict[int, Trial] = {}
        self.ranks: list[int] = []
        self.attempts: dict[int, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "repository"):
            self.repository.close()
            self.folder.cleanup()

    def now(self, trial: Trial) -> Trial:
        return self.repository.trial(self.study.id, trial.number)

    def settle(self, trial: Trial, used: bool) -> None:
        """After an attempt to end a trial: it was used exactly if the trial was not final before."""
        assert used == (trial.number not in self.final)
        if used:
            self.final[trial.number] = self.now(trial)
            assert self.final[trial.number].status in FINAL

    @rule(target=trials, rank=st.integers(1, 6))
    def add(self, rank: int) -> object:
        try:
            trial = self.repository.add_trial(
                self.study.id, TrialKind.SEARCH, a_configuration(rank), rank, seed=0
            )
        except StudyError:
            assert rank in self.ranks
            return multiple()
        assert rank not in self.ranks
        self.ranks.append(rank)
        self.attempts[trial.number] = 0
        return trial

    @rule(trial=trials)
    def start(self, trial: Trial) -> None:
        waiting = self.now(trial).status is TrialStatus.WAITING
        try:
            self.repository.start_trial(trial.id)
        except StudyError:
            assert not waiting
        else:
            assert waiting
            self.attempts[trial.number] += 1

    @rule(trial=trials, rung=st.integers(1, 3), value=score_values)
    def report(self, trial: Trial, rung: int, value: float) -> None:
        used = self.repository.report(trial.id, rung, {"score": value, "train_loss": 1.0})
        assert used == (trial.number not in self.final)

    @rule(trial=trials, seconds=st.floats(0, 9), artifact=st.sampled_from(["", "/a", "/b"]))
    def complete(self, trial: Trial, seconds: float, artifact: str) -> None:
        try:
            used = self.repository.complete(trial.id, {"seconds": seconds}, {"s": seconds}, artifact)
        except StudyError:
            assert not self.now(trial).scores
            assert trial.number not in self.final
        else:
            self.settle(trial, used)

    @rule(trial=trials, reason=st.text(max_size=5))
    def fail(self, trial: Trial, reason: str) -> None:
        self.settle(trial, self.repository.fail(trial.id, reason))

    @rule(trial=trials)
    def stop(self, trial: Trial) -> None:
        try:
            used = self.repository.stop(trial.id)
        except StudyError:
            assert not self.now(trial).scores
            assert trial.number not in self.final
        else:
            self.settle(trial, used)

    @rule(trial=trials)
    def requeue(self, trial: Trial) -> None:
        running = self.now(trial).status is TrialStatus.RUNNING
        assert self.repository.requeue(trial.id) == running

    @rule(owner=st.sampled_from(["a", "b"]))
    def take_over(self, owner: str) -> None:
        self.repository.acquire(self.study.id, owner=owner, host=owner, pid=1, stale_after_seconds=-1)

    @precondition(lambda self: hasattr(self, "repository"))
    @invariant()
    def final_trials_are_as_they_were_and_numbers_are_dense(self) -> None:
        trials = self.repository.trials(self.study.id)
        assert [trial.number for trial in trials] == list(range(len(self.ranks)))
        assert {trial.number: trial for trial in trials if trial.status in FINAL} == self.final
        assert {trial.number: trial.attempt for trial in trials} == self.attempts
        for trial in trials:
            assert (trial.score is not None) == (trial.status is TrialStatus.COMPLETE)


TestTelling = Telling.TestCase
TestTelling.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
