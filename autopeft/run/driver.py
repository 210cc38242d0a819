"""The driver's side of a search: which trial is next, and what becomes of reports. Knows no Ray.

Everything goes through the database: a trial is committed before it leaves, a report before anything depends on it. Several
drivers may run one study: each trains what it has claimed, and waits for what the others have, because one of them may go.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from autopeft import confirmation, pareto, trade_off
from autopeft.dsl import BoundSpace
from autopeft.errors import StudyError, TakenError, UsedUpError
from autopeft.naming import folder_name
from autopeft.nouns import Configuration, Study, Trial, TrialKind, TrialStatus
from autopeft.optimize import Suggester, halving, several
from autopeft.optimize.judged import expected_front
from autopeft.optimize.observation import searched
from autopeft.optimize.suggest import suggest_random
from autopeft.registry import Objective
from autopeft.store import LOST_WORKERS, Lookout, Repository, files

logger = logging.getLogger(__name__)

# A suggestion that takes longer than this is not waited for while workers are idle: a feasible sample goes instead.
_PATIENCE_SECONDS = 60.0
_HEARTBEAT_SECONDS = 5.0
_MOST_PACKED = 8
_MEMORY_SHARE = 0.8  # of a GPU's memory, that a pack may take by what one trial took


class Done:
    """`Driver.next_trial` says that nothing is left to start."""


@dataclass
class Driver:
    """One running search of one study.

    Attributes:
        repository: The open database.
        study: The study.
        space: Its space, bound.
        suggester: Proposes configurations.
        wanted: Search trials the study shall have, complete, stopped or failed.
        at_once: Packs that may be live: the workers', and one that waits so that no worker does.
        artifacts: Folder, or URL, under which trained adapters go.
        deadline: `time.monotonic()` after which nothing new is proposed, or None.
        owner: Names this run of the driver among those of the study, and no other.
        on_done: Called with every trial that has reached its end.
        rungs: Epochs after which a weak trial is stopped; see `autopeft.optimize.halving`.
        confirm_seeds: Seeds with which what the search found is trained anew; see `autopeft.confirmation`.
        pack: Trials that are trained together on one worker, where they can be; None: as many as a GPU has memory for, by
            what the first ones took. On a CPU that is one: its products are as fast for one trial's rows as for several's.
        objectives: What the search is for; score and trainable where none are given.
        retries: How many times a trial whose worker or driver was lost is given to another one.
        trial_seconds: A trial that a worker has had for longer has failed, and its worker is replaced; a pack may take so
            long for each of its trials. None: there is no bound.
        broken: Why no worker can train anything, such as data that have changed; else empty.
        finished: Whether nothing was left to start; after `close`, also that nothing was given up.
    """

    repository: Repository
    study: Study
    space: BoundSpace
    suggester: Suggester
    wanted: int
    at_once: int
    artifacts: str
    deadline: float | None
    owner: str
    on_done: Callable[[Trial], None] = lambda trial: None
    rungs: tuple[int, ...] = ()
    confirm_seeds: int = 0
    pack: int | None = 1
    objectives: tuple[Objective, ...] = ()
    retries: int = 0
    trial_seconds: float | None = None
    broken: str = ""
    finished: bool = False

    def __post_init__(self) -> None:
        self._live: dict[int, int] = {}  # trial id -> attempt, 0 until it starts
        self._until: dict[int, float] = {}  # trial id -> `time.monotonic()` at which it has taken too long
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="suggest")
        self._next: Future[Configuration] | None = None
        self._asked_at = 0.0
        self._asked_of: list[Trial] = []  # what the suggester was told
        self._used_up = False  # whether the suggester has nothing left to propose
        self._expected: tuple[frozenset[int], list[Trial]] | None = (
            None  # of the scored trials with these ids
        )
        self._filling: list[Trial] = []  # of the next pack
        self._measured_anew = False  # whether a trial has ended since its memory was asked for
        self._waits = False  # whether nothing can be said before another trial has ended, or a heartbeat
        self._trials = self.repository.follow(self.study.id)
        self._host = socket.gethostname()
        self._lookout = Lookout(self._host)
        self._join()
        self._record_front()  # the last driver may have gone before it did so
        self._closing = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._heart.start()

    # -- what is next --------------------------------------------------------------------------------------------

    def next_pack(self) -> list[Trial] | type[Done] | None:
        """The next trials to put on one worker together, committed; None: not now; `Done`: nothing is left."""
        while len(self._filling) < self._pack_size():
            trial = self.next_trial()
            if trial is None:
                if self._filling and self._next is None:
                    break  # no suggestion is under way that would join them
                return None
            if not isinstance(trial, Trial):
                break
            if self._filling and not _share(self._filling[0], trial):
                full, self._filling = self._filling, [trial]
                return full
            self._filling.append(trial)
        full, self._filling = self._filling, []
        return full or Done

    def _pack_size(self) -> int:
        if self.pack is None:
            trials = self._trials.read() if self._measured_anew else []
            self._measured_anew = False
            for trial in trials:
                memory = trial.details.get("device_memory_bytes")
                whole = trial.details.get("layers_left_out") == 0  # others keep fewer activations
                if trial.score is not None and memory is not None and whole:
                    most = int(_MEMORY_SHARE * memory / trial.measurements["peak_memory_bytes"])
                    self.pack = max(1, min(_MOST_PACKED, most))
                    break
        return self.pack or 1

    def next_trial(self) -> Trial | type[Done] | None:
        """The next trial to put on a worker, committed and claimed; None: not now; `Done`: nothing is left.

        Trials that were left behind come first, then what the suggester prepared in the background, then the
        confirmation.
        """
        late = self.deadline is not None and time.monotonic() > self.deadline
        stops = late or self.broken
        if not stops and (len(self._live) >= self.at_once * self._pack_size() or self._waits):
            return None  # asked ten times a second: the answer must cost nothing
        everything = self._trials.read()
        left = [t for t in everything if t.status is TrialStatus.WAITING and t.id not in self._live]
        # What confirms the search teaches it nothing: its seeds are others, and its scores are not chosen by.
        trials = [t for t in everything if t.kind is not TrialKind.CONFIRM]
        search = [t for t in trials if t.kind is TrialKind.SEARCH]
        if stops:
            self.finished = not self.broken
            return Done
        trial = self.repository.claim(self.study.id, self.owner) if left else None
        if trial is None:
            if self._used_up or len(search) >= self.wanted:
                return self._confirming(everything)
            try:
                configuration = self._prepared(trials)
            except UsedUpError:
                logger.warning("every configuration of the space has been tried: the search ends here")
                self._used_up = True
                return self._confirming(everything)
            if configuration is None:
                return None
            cost = self.space.cost(self.space.assignment(configuration))
            trial = self._propose(TrialKind.SEARCH, configuration, cost, self._seed, at_most=self.wanted)
            if trial is None:
                return None
            trials, search = [*trials, trial], [*search, trial]
        self._live[trial.id] = 0
        if len(search) < self.wanted and len(left) <= 1:  # what is left first, and what it teaches
            self._prepare(trials)
        return trial

    def _propose(
        self,
        kind: TrialKind,
        configuration: Configuration,
        trainable: int,
        seed: int,
        at_most: int | None = None,
    ) -> Trial | None:
        """The new trial, claimed; None if another driver was quicker: to be thought about again."""
        return self.repository.propose(
            self.study.id, kind, configuration, trainable, seed, owner=self.owner, at_most=at_most
        )

    def _confirming(self, trials: list[Trial]) -> Trial | type[Done] | None:
        """The next trial after the search's own; while some of those are under way, only what they cannot change."""
        under_way = any(t.kind is TrialKind.SEARCH and not t.status.final for t in trials)
        for of, seed in self.to_confirm(trials, searched=not under_way):
            trial = self._propose(TrialKind.CONFIRM, of.configuration, of.trainable, seed)
            if trial is not None:
                self._live[trial.id] = 0
            return trial
        # What is live or another driver's may yet be lost, and be this one's to train.
        if any(not t.status.final for t in trials):
            self._waits = True
            return None
        self.finished = True
        return Done

    def to_confirm(self, trials: list[Trial], *, searched: bool = True) -> list[tuple[Trial, int]]:
        """The confirming trials that are still to come, given all trials of the study.

        Args:
            trials: All of them.
            searched: Whether the search is through; see `confirmation.missing`.
        """
        if not searched or not self.confirm_seeds or not trade_off.is_default(self.objectives):
            return confirmation.missing(
                trials, self.confirm_seeds, searched=searched, objectives=self.objectives
            )
        scored = frozenset(t.id for t in trials if t.kind is TrialKind.SEARCH and t.score is not None)
        if self._expected is None or self._expected[0] != scored:
            self._expected = scored, expected_front(self.space, trials)
        return confirmation.missing(trials, self.confirm_seeds, expected=self._expected[1])

    def _prepared(self, trials: list[Trial]) -> Configuration | None:
        if self._next is None:
            self._prepare(trials)
        assert self._next is not None
        if not self._next.done():
            late = time.monotonic() - self._asked_at > _PATIENCE_SECONDS
            return self._sample(trials) if late else None
        prepared, self._next = self._next, None
        error = prepared.exception()
        if isinstance(error, UsedUpError):
            raise error
        if error is not None:
            logger.warning("the suggester failed (%s); a random configuration goes instead", error)
            return self._sample(trials)
        configuration = prepared.result()
        if not _is_among(configuration, trials):
            return configuration
        if _is_among(configuration, self._asked_of):
            return self._sample(trials)
        self._prepare(trials)  # another driver has proposed it meanwhile
        return None

    @property
    def _seed(self) -> int:
        return int(self.study.settings["seed"])

    def _sample(self, trials: list[Trial]) -> Configuration:
        return suggest_random(self.space, trials, self._seed)

    def _prepare(self, trials: list[Trial]) -> None:
        if self._next is None:
            self._asked_at, self._asked_of = time.monotonic(), trials
            self._next = self._pool.submit(self.suggester, self.space, trials, self._seed)

    def config(self, trial: Trial) -> dict[str, Any]:
        """What a worker needs to know of a trial; plain JSON."""
        return {
            "trial": trial.id,
            "configuration": trial.configuration.to_json(),
            "seed": trial.seed,
            "confirm": trial.kind is TrialKind.CONFIRM,
            "probe": trial.kind is TrialKind.PROBE,
            "folder": self._folder(trial),
        }

    def _folder(self, trial: Trial) -> str:
        return files.join(self.artifacts, folder_name(self.study.name), f"trial-{trial.number}")

    # -- what became of it ---------------------------------------------------------------------------------------

    def started(self, trial_id: int, together: int = 1) -> None:
        """A worker has taken the trial, with so many in a pack."""
        if self._live.get(trial_id) == 0:
            try:
                self._live[trial_id] = self.repository.start_trial(trial_id, self.owner).attempt
            except TakenError as error:
                self._dropped(trial_id, str(error))
                return
            if self.trial_seconds is not None:
                self._until[trial_id] = time.monotonic() + self.trial_seconds * together

    def reported(self, trial_id: int, result: Mapping[str, Any]) -> bool:
        """A worker reported a rung, the end, or a failure with its reason. Idempotent.

        Returns:
            Whether the trial goes on. If it does not, that is in the database already.
        """
        self.started(trial_id)  # a first report may overtake the news of the start
        attempt = self._live.get(trial_id)
        if attempt is None:
            return False
        if result.get("broken"):
            self.broken = result["reason"]
            self._give_back(trial_id)
            return False
        if result["reason"]:
            self.failed(trial_id, result["reason"])
            return False
        values = dict(result["values"])
        rung = {name: values.pop(name) for name in ("score", "train_loss") if name in values}
        if not self.repository.report(trial_id, result["rung"], rung, attempt=attempt):
            self._dropped(trial_id, "another driver has it.")
            return False
        if result["last"]:
            trial = self.repository.trial_by_id(trial_id)
            artifact = "" if trial.kind is TrialKind.PROBE else self._folder(trial)
            details = dict(result["details"])
            for part in details.pop("parts", ()):
                self._add_part(trial, part, result["rung"])
            self.repository.complete(trial_id, values, details, artifact, attempt=attempt)
            self._ended(trial_id)
            return False
        if result["rung"] in self.rungs:
            trials = self._trials.read()
            trial = next(t for t in trials if t.id == trial_id)
            if not halving.goes_on(trial, result["rung"], trials, self.rungs):
                self.repository.stop(trial_id, attempt=attempt)
                self._ended(trial_id)
                return False
        return True

    def _add_part(self, trial: Trial, part: Mapping[str, Any], rung: int) -> None:
        """What a trial's training hands out besides, as a complete trial of its own.

        Before the trial itself is complete: should this process end in between, the trial is trained again, and its parts
        are there already.
        """
        configuration = Configuration.from_json(part["configuration"])
        kind = TrialKind.TRUNCATED
        of_it = self.repository.trials_of(self.study.id, configuration)
        own = next((t for t in of_it if t.kind is kind and t.seed == trial.seed), None)
        if own is None:
            own = self._propose(kind, configuration, part["allocation"]["trainable"], trial.seed)
        if own is None or own.status.final:
            return
        values = dict(part["values"])
        if own.status is TrialStatus.WAITING:
            try:
                own = self.repository.start_trial(own.id, self.owner)
            except TakenError:
                return  # another driver trains it by itself, having found it left behind
        self.repository.report(own.id, rung, {"score": values.pop("score")}, attempt=own.attempt)
        details = {"allocation": part["allocation"], "of": trial.number}
        self.repository.complete(own.id, values, details, part["folder"], attempt=own.attempt)

    def failed(self, trial_id: int, reason: str) -> None:
        """The trial came to an end that is no result."""
        self.started(trial_id)  # what could not even begin may never have said that it began
        attempt = self._live.get(trial_id)
        if attempt is None:
            return
        self.repository.fail(trial_id, reason, attempt=attempt)
        self._ended(trial_id)

    def lost(self, trial_id: int, reason: str) -> None:
        """The trial's worker is gone. Another one goes on from its last checkpoint, if there was not too much of that."""
        self.started(trial_id)
        if trial_id not in self._live:
            return
        if not self.repository.lose(trial_id, reason, retries=self.retries, attempt=self._live[trial_id]):
            self._dropped(trial_id, "another driver has it.")
            return
        trial = self.repository.trial_by_id(trial_id)
        if trial.status.final:
            self._ended(trial_id)
            return
        times = len(trial.details[LOST_WORKERS])
        logger.warning("trial %d is taken up again (%d of %d): %s", trial.number, times, self.retries, reason)
        self._forget(trial_id)

    def _give_back(self, trial_id: int) -> None:
        self.repository.requeue(trial_id, attempt=self._live[trial_id])
        self._forget(trial_id)

    def _dropped(self, trial_id: int, why: str) -> None:
        """The trial is this driver's no longer: the others had given it up."""
        logger.warning("trial %d of the database is left to others: %s", trial_id, why)
        self._forget(trial_id)

    def overdue(self) -> set[int]:
        """The trials that workers have had for too long."""
        now = time.monotonic()
        return {trial_id for trial_id, until in self._until.items() if until < now}

    def ran_out_of_time(self, trial_id: int) -> None:
        """The trial is overdue, or shares a worker with one that is. It is not taken up again: it would take as long."""
        self.failed(trial_id, f"it was not through after {self.trial_seconds:g} seconds, its bound.")

    def _forget(self, trial_id: int) -> None:
        del self._live[trial_id]
        self._until.pop(trial_id, None)
        self._waits = False

    def _ended(self, trial_id: int) -> None:
        from autopeft.train import checkpoint  # with all of torch

        self._forget(trial_id)
        self._measured_anew = True
        trial = self.repository.trial_by_id(trial_id)
        try:
            checkpoint.remove(self._folder(trial))
        except OSError as error:
            logger.warning("the checkpoint of trial %d is still there: %s", trial.number, error)
        self._record_front()
        self.on_done(trial)

    def _record_front(self) -> None:
        """Store the front if it has changed. Hypervolume counts from the best frozen backbone, once it is known."""
        trials = self._trials.read()
        if self.study.reference_score is None:
            reference = _reference_score(trials)
            if reference is None:
                return
            self.repository.set_reference_score(self.study.id, reference)
            self.study = self.repository.get_study(self.study.name)
        assert self.study.reference_score is not None
        members = confirmation.search_front(trials, self.objectives)
        volume = self._volume(trials, self.study.reference_score)
        if not members or volume is None:
            return
        last = max(t.number for t in trials if t.kind in confirmation.FOUND and t.score is not None)
        complete = sum(t.status is TrialStatus.COMPLETE for t in trials)
        numbers = [t.number for t in members]
        self.repository.record_front(self.study.id, last, numbers, volume, complete=complete)

    def _volume(self, trials: list[Trial], reference_score: float) -> float | None:
        if not trade_off.is_default(self.objectives):
            reference = several.reference_point(trials, self.objectives, reference_score)
            return (
                None
                if reference is None
                else several.hypervolume(self.space, trials, self.objectives, reference)
            )
        complete = [t for t in trials if t.kind in confirmation.FOUND and t.score is not None]
        return pareto.hypervolume(
            [(t.score or 0.0, t.trainable) for t in complete],
            reference_score=reference_score,
            smallest=self.space.smallest,
            limit=self.space.limit,
        )

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the background threads, and leave what is live to others."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._heart.join()
        if self._live:
            self.finished = False  # stopped while the last trials were being trained
        self.repository.leave(self.study.id, self.owner)

    def _join(self) -> None:
        self.repository.join(self.study.id, owner=self.owner, host=self._host, pid=os.getpid())
        self._bury_the_gone()

    def _beat(self) -> None:
        while not self._closing.wait(_HEARTBEAT_SECONDS):
            try:
                if self.repository.beat(self.owner):
                    self._bury_the_gone()
                else:
                    logger.warning("the other drivers of the study had given this one up: it joins again")
                    self._join()
            except StudyError as error:  # the database does not answer: nobody is judged by that
                logger.warning("no heartbeat: %s", error)
            self._waits = False  # the others may have ended something

    def _bury_the_gone(self) -> None:
        for member in self._lookout.gone(self.repository.drivers(self.study.id)):
            if member.owner != self.owner:
                self.repository.bury(self.study.id, member, retries=self.retries)


def _is_among(configuration: Configuration, trials: list[Trial]) -> bool:
    return any(t.configuration.key == configuration.key for t in searched(trials))


def _share(first: Trial, second: Trial) -> bool:
    """Whether two trials can be trained on one model at once."""
    from autopeft.adapters.pack import can_share

    if any(trial.details.get(LOST_WORKERS) for trial in (first, second)):
        return False  # if it is one of them that ends workers, the others shall not pay for it again
    probes = TrialKind.PROBE in (first.kind, second.kind)
    return not probes and can_share(first.configuration, second.configuration)


def _reference_score(trials: list[Trial]) -> float | None:
    """The best of the frozen backbone with its head only, once all of those are through; else the lowest score."""
    heads = [t for t in trials if t.kind is TrialKind.HEAD_ONLY]
    if any(t.status in (TrialStatus.WAITING, TrialStatus.RUNNING) for t in heads):
        return None
    scores = [t.score for t in heads if t.score is not None]
    if scores:
        return max(scores)
    others = [t.score for t in trials if t.score is not None]
    return min(others) if others else None
