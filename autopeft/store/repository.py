"""What the rest of autopeft asks of the database, in its own nouns; no row and no SQL leaves this package.

Every method is one short transaction, may be called from any thread, and has committed when it returns. A
final trial (COMPLETE, STOPPED or FAILED) never changes again, whatever is told about it and however often;
a person may have one that FAILED tried again (`Repository.retry`).

What a server that goes away cuts off is tried again (`engine.tried_again`). That may have been committed, so each method is the
same done twice: what is told of a trial goes by its attempt, and is not used once that has ended, so that an answer of False may be to
what was done a moment before; an owner's row and its beats are its own; and who proposes, claims or starts a trial finds it to be
their own by then. `create_study`, `add_trial` and `retry` are for a person to do again, who sees what is there.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from autopeft.errors import StudyError, TakenError, nearest
from autopeft.naming import objection
from autopeft.nouns import Configuration, Front, Standing, Study, Trial, TrialKind, TrialStatus
from autopeft.store import lease
from autopeft.store.columns import read_columns, read_stops, read_version
from autopeft.store.engine import connect, for_reading, for_writing, is_sqlite, tried_again, unusable
from autopeft.store.followed import FollowedTrials
from autopeft.store.place import parse_url
from autopeft.store.rows import SCORE, now, read_fronts, read_last_front, read_trials, to_study
from autopeft.store.schema import migrate, require_newest
from autopeft.store.standing import Counts, read_counts, read_standings
from autopeft.store.tables import (
    ArtifactRow,
    FrontMemberRow,
    FrontRow,
    MeasurementRow,
    StudyRow,
    TrialRow,
)

EARLIER_FAILURES = "earlier_failures"
"""In a trial's details: why it failed each time before somebody had it tried again."""

NOT_A_NUMBER = "score is not a number"
"""The reason of a trial whose last score is not finite."""


class Repository:
    """A database of studies. Made by `Repository.open`; close it, or use it in a `with` statement.

    Each method may also raise StudyError when the database does not answer: locked by another program for
    more than a minute, disk full, server gone; and when there is no study or trial of the given id.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = for_reading(engine)
        self._writer = for_writing(engine)

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Self:
        """Open a database. An SQLite file is made if there is none, and its tables are brought up to date.

        A server's database is for `upgrade` to change, when nobody else is at work in it.

        Args:
            url: As `place.parse_url` reads it: a URL, or the path of an SQLite file.
            read_only: The database refuses every change, that of its tables too.

        Raises:
            StudyError: It cannot be opened, is not a database of ours, or was written by a newer autopeft; or a server's
                has to be upgraded first.
        """
        engine = connect(parse_url(url), read_only=read_only)
        try:
            if is_sqlite(engine) and not read_only:
                migrate(engine)
            else:
                require_newest(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    @property
    def url(self) -> str:
        """A URL that `open` takes in another process. Not for the screen: it may hold a password."""
        return self._engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Studies

    def create_study(
        self, name: str, settings: dict[str, Any], limit: int, space: str, *, owner: str = ""
    ) -> Study:
        """Store a new study.

        Args:
            name: As `autopeft.naming.objection` allows it.
            settings: What the results depend on; JSON.
            limit: The budget in trainable parameters.
            space: The space's name.
            owner: Login name of who asks for it.

        Raises:
            StudyError: There is a study of that name already, or none may be called so.
        """
        if refused := objection(name):
            raise StudyError(refused, "Choose another name.")
        row = StudyRow(
            name=name, settings=settings, parameter_limit=limit, space=space, created_at=now(), owner=owner
        )
        try:
            with self._writing() as session:
                session.add(row)
                session.flush()
                return to_study(row)
        except IntegrityError:
            raise StudyError(
                f"there is already a study '{name}'.", "Continue it, or choose another name."
            ) from None

    @tried_again
    def find_study(self, name: str) -> Study | None:
        """The study of that name, or None."""
        with self._reading() as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
            return None if row is None else to_study(row)

    def get_study(self, name: str) -> Study:
        """The study of that name.

        Raises:
            StudyError: There is none; the message lists the known ones, and the nearest.
        """
        study = self.find_study(name)
        if study is None:
            known = [other.name for other in self.studies()]
            listed = ", ".join(known) if known else "none"
            raise StudyError(f"unknown study '{name}': known are {listed}.", nearest(name, known))
        return study

    @tried_again
    def studies(self) -> list[Study]:
        """Every study, newest first."""
        with self._reading() as session:
            return [to_study(row) for row in session.scalars(select(StudyRow).order_by(StudyRow.id.desc()))]

    @tried_again
    def set_reference_score(self, study_id: int, score: float) -> bool:
        """Set the score from which hypervolume is counted, once: hypervolumes must stay comparable.

        Returns:
            False if the study has one already, which stays.

        Raises:
            ValueError: The score is not finite.
        """
        if not math.isfinite(score):
            raise ValueError(f"the reference score {score} is not a finite number")
        with self._writing() as session:
            study = _locked_study(session, study_id)
            if study.reference_score is not None:
                return False
            study.reference_score = score
            return True

    @tried_again
    def note_asked(self, study_id: int, asked: dict[str, Any]) -> None:
        """Note in a study's settings how much was last asked for; see `autopeft.settings.ASKED`."""
        with self._writing() as session:
            study = _locked_study(session, study_id)
            study.settings = {**study.settings, "asked": asked}

    # Drivers: several may run one study

    @tried_again
    def join(self, study_id: int, *, owner: str, host: str, pid: int) -> None:
        """Enter a driver of a study, so that it can claim trials; what is RUNNING and nobody's waits again.

        Args:
            owner: Names this run of the driver, and no other; at most 64 characters. Joining again changes nothing.
            host: The driver's host.
            pid: The driver's process on that host.
        """
        with self._writing() as session:
            _locked_study(session, study_id)
            lease.join(session, study_id, owner, host, pid)

    @tried_again
    def beat(self, owner: str) -> bool:
        """Note that a driver lives. False: the others have given it up, and have its trials; it may join again."""
        with self._writing() as session:
            return lease.beat(session, owner)

    @tried_again
    def drivers(self, study_id: int) -> list[lease.Member]:
        """The drivers of a study; a `lease.Lookout` says which of them are gone."""
        with self._reading() as session:
            return lease.members(session, study_id)

    @tried_again
    def bury(self, study_id: int, member: lease.Member, *, retries: int) -> bool:
        """Take a driver away that is gone. Its trials wait again; those that it trained count a loss, as of `lose`.

        Returns:
            Whether this call did it. False if it has given a sign of life since it was read, or is not there any more.
        """
        with self._writing() as session:
            _locked_study(session, study_id)
            return lease.bury(session, study_id, member, retries)

    @tried_again
    def leave(self, study_id: int, owner: str) -> None:
        """Take a driver away that ends of itself; its trials that are not final wait again, and lose nothing."""
        with self._writing() as session:
            _locked_study(session, study_id)
            lease.leave(session, study_id, owner)

    # Trials

    def add_trial(
        self, study_id: int, kind: TrialKind, configuration: Configuration, trainable: int, seed: int
    ) -> Trial:
        """Store a new trial, WAITING, with the study's next number; it is durable when this returns.

        Raises:
            StudyError: The study has a trial of this kind, configuration and seed already.
        """
        with self._writing() as session:
            _locked_study(session, study_id)
            earlier = _find(session, study_id, kind, configuration, seed)
            if earlier is not None:
                raise StudyError(
                    f"the configuration {configuration.key} with seed {seed} is already trial {earlier} of "
                    "the study."
                )
            return _add(session, study_id, kind, configuration, trainable, seed)

    def propose(
        self,
        study_id: int,
        kind: TrialKind,
        configuration: Configuration,
        trainable: int,
        seed: int,
        *,
        owner: str | None = None,
        at_most: int | None = None,
    ) -> Trial | None:
        """As `add_trial`, where other drivers may have been quicker.

        Args:
            owner: The driver that claims the new trial; None: whoever comes first.
            at_most: Trials of this kind that the study may have.

        Returns:
            None, and nothing is stored, if the study has this trial already, or as many as it may have.
        """
        if self._has(study_id, kind, configuration, seed):
            return None
        return self._propose(study_id, kind, configuration, trainable, seed, owner, at_most)

    @tried_again
    def _has(self, study_id: int, kind: TrialKind, configuration: Configuration, seed: int) -> bool:
        with self._reading() as session:
            return _find(session, study_id, kind, configuration, seed) is not None

    @tried_again
    def _propose(
        self,
        study_id: int,
        kind: TrialKind,
        configuration: Configuration,
        trainable: int,
        seed: int,
        owner: str | None,
        at_most: int | None,
    ) -> Trial | None:
        # The study was without this trial, and an owner proposes one at a time: one that is its own by now is of this very call.
        with self._writing() as session:
            _locked_study(session, study_id)
            number = _find(session, study_id, kind, configuration, seed)
            if number is not None:
                (found,) = session.scalars(
                    select(TrialRow).where(TrialRow.study_id == study_id, TrialRow.number == number)
                )
                own = owner is not None and found.claimed_by == owner and found.status == TrialStatus.WAITING
                return read_trials(session, TrialRow.id == found.id)[0] if own else None
            if at_most is not None:
                of_kind = (TrialRow.study_id == study_id) & (TrialRow.kind == kind)
                there = session.scalar(select(func.count()).select_from(TrialRow).where(of_kind)) or 0
                if there >= at_most:
                    return None
            return _add(session, study_id, kind, configuration, trainable, seed, owner)

    def claim(self, study_id: int, owner: str) -> Trial | None:
        """The first WAITING trial that no driver has, claimed for this one; None if there is none."""
        while True:
            first = self._free_trial(study_id)
            if first is None:
                return None
            claimed = self._claim(study_id, first, owner)
            if claimed is not None:
                return claimed

    @tried_again
    def _free_trial(self, study_id: int) -> int | None:
        waiting = (TrialRow.study_id == study_id) & (TrialRow.status == TrialStatus.WAITING)
        free = select(TrialRow.id).where(waiting, TrialRow.claimed_by.is_(None))
        with self._reading() as session:
            return session.scalar(free.order_by(TrialRow.number).limit(1))

    @tried_again
    def _claim(self, study_id: int, trial_id: int, owner: str) -> Trial | None:
        # The trial was nobody's, and an owner claims one at a time: if it is its own by now, it is so by this very call.
        with self._writing() as session:
            _locked_study(session, study_id)
            row = _locked_trial(session, trial_id)
            if row.status != TrialStatus.WAITING or row.claimed_by not in (None, owner):
                return None
            row.claimed_by = owner
            session.flush()
            return read_trials(session, TrialRow.id == trial_id)[0]

    def start_trial(self, trial_id: int, owner: str | None = None) -> Trial:
        """Put a WAITING trial to RUNNING, one attempt further; what earlier attempts reported stays.

        Args:
            trial_id: The trial.
            owner: The driver that starts it; None: nobody, of a trial that nobody has claimed.

        Raises:
            TakenError: The trial is not WAITING, or is not claimed by this driver.
        """
        before = self.trial_by_id(trial_id)
        return self._start(trial_id, owner, before.attempt if before.status is TrialStatus.WAITING else None)

    @tried_again
    def _start(self, trial_id: int, owner: str | None, before: int | None) -> Trial:
        with self._writing() as session:
            row = _locked_trial(session, trial_id)
            # It waited after so many attempts, and an owner starts a trial once: the next attempt, if its own, is this very call's.
            begun = row.status == TrialStatus.RUNNING and before is not None and row.attempt == before + 1
            if not (begun and owner is not None and row.claimed_by == owner):
                if row.status != TrialStatus.WAITING:
                    raise TakenError(f"trial {row.number} cannot be started: it is {row.status}.")
                if row.claimed_by != owner:
                    raise TakenError(
                        f"trial {row.number} cannot be started: it is another driver's, or was given up."
                    )
                row.status = TrialStatus.RUNNING
                row.attempt += 1
                row.started_at = now()
                session.flush()
            return read_trials(session, TrialRow.id == trial_id)[0]

    @tried_again
    def report(
        self, trial_id: int, rung: int, values: Mapping[str, float], *, attempt: int | None = None
    ) -> bool:
        """Record values of a trial at a rung; told again, the last value stands.

        A value that is not finite is remembered as such, and not among the trial's scores or measurements.

        Args:
            rung: From 1; 0 for quantities of the whole trial, which `score` is not.
            values: By objective.
            attempt: The attempt that measured them. If given, and the trial is not RUNNING in that attempt,
                they come from a worker that was given up, and are not used.

        Returns:
            Whether they were used. They are not, if the trial is final.

        Raises:
            ValueError: No such rung.
        """
        if rung < 0 or (rung == 0 and SCORE in values):
            raise ValueError(f"there is no score at rung {rung}: rungs count from 1")
        with self._writing() as session:
            row = _locked_trial(session, trial_id)
            if not _takes(row, attempt):
                return False
            _measure(session, trial_id, rung, values)
            return True

    @tried_again
    def complete(
        self,
        trial_id: int,
        values: Mapping[str, float],
        details: dict[str, Any],
        artifact: str = "",
        *,
        attempt: int | None = None,
    ) -> bool:
        """End a trial: COMPLETE, or FAILED with `NOT_A_NUMBER` if its last score is not finite.

        Args:
            values: Of the whole trial, by objective. A `score` among them is that of the last reported rung.
            details: How it was trained; JSON.
            artifact: Folder of the trained adapter, if it was kept.
            attempt: See `report`.

        Returns:
            Whether this call ended the trial. False if it was final already, and then nothing changes.

        Raises:
            StudyError: No score was ever reported.
        """
        with self._writing() as session:
            row = _locked_trial(session, trial_id)
            if not _takes(row, attempt):
                return False
            last = session.scalar(
                select(MeasurementRow)
                .where(MeasurementRow.trial_id == trial_id, MeasurementRow.objective == SCORE)
                .order_by(MeasurementRow.rung.desc())
                .limit(1)
            )
            if last is None:
                raise StudyError(f"trial {row.number} cannot be complete: no score was reported.")
            if SCORE in values:
                last.value = _finite(values[SCORE])
            _measure(session, trial_id, 0, {name: v for name, v in values.items() if name != SCORE})
            row.details = {**row.details, **details}
            if last.value is None:
                _end(row, TrialStatus.FAILED, NOT_A_NUMBER)
                return True
            _end(row, TrialStatus.COMPLETE)
            if artifact:
                session.add(ArtifactRow(trial_id=trial_id, folder=artifact, created_at=now()))
            return True

    @tried_again
    def fail(self, trial_id: int, reason: str, *, attempt: int | None = None) -> bool:
        """End a trial as FAILED; what it reported stays.

        Args:
            reason: For a person, one sentence.
            attempt: See `report`.

        Returns:
            Whether this call ended the trial. False if it was final already.
        """
        with self._writing() as session:
            row = _locked_trial(session, trial_id)
            if not _takes(row, attempt):
                return False
            _end(row, TrialStatus.FAILED, reason)
            return True

    @tried_again
    def stop(self, trial_id: int, *, attempt: int | None = None) -> bool:
        """End a trial as STOPPED, because others do better at the rung that it has reached; what it reported stays.

        Args:
            trial_id: The trial.
            attempt: See `report`.

        Returns:
            Whether this call ended the trial. False if it was final already.

        Raises:
            StudyError: No score was ever reported.
        """
        with self._writing() as session:
            row = _locked_trial(session, trial_id)
            if not _takes(row, attempt):
                return False
            if not read_trials(session, TrialRow.id == trial_id)[0].scores:
                raise StudyError(f"trial {row.number} cannot be stopped at a rung: no score was reported.")
            _end(row, TrialStatus.STOPPED)
            return True

    @tried_again
    def requeue(self, trial_id: int, *, attempt: int | None = None) -> bool:
        """Put a RUNNING trial back to WAITING, for any driver to claim. False if it was not RUNNING.

        Args:
            trial_id: The trial.
            attempt: See `report`.
        """
        with self._writing() as session:
            row = _locked_trial(session, trial_id)
            if row.status != TrialStatus.RUNNING or not _takes(row, attempt):
                return False
            row.status = TrialStatus.WAITING
            row.claimed_by = None
            return True

    @tried_again
    def lose(self, trial_id: int, reason: str, *, retries: int, attempt: int | None = None) -> bool:
        """Put a RUNNING trial whose worker is gone back to WAITING, for any driver to claim, at most `retries` times.

        Args:
            trial_id: The trial.
            reason: For a person, one sentence: why it is FAILED, if it has been lost too often.
            retries: Losses that a trial may have, those of its drivers among them.
            attempt: See `report`.

        Returns:
            Whether this call did either. False if the trial was not RUNNING, in this attempt.
        """
        with self._writing() as session:
            row = _locked_trial(session, trial_id)
            if row.status != TrialStatus.RUNNING or not _takes(row, attempt):
                return False
            lease.lose(row, reason, retries)
            return True

    def retry(self, study_id: int, numbers: Collection[int] | None = None) -> list[int]:
        """Put FAILED trials back to WAITING, because a person asks for it: nothing else changes what is final.

        Why it failed stays in a trial's details, under `EARLIER_FAILURES`; workers that were lost with it count no more.

        Args:
            study_id: The study.
            numbers: Of the trials; None: all that have failed.

        Returns:
            The numbers of the trials that were put back.

        Raises:
            StudyError: One of the trials is not there, or has not failed; then nothing was changed.
        """
        with self._writing() as session:
            rows = {
                row.number: row
                for row in session.scalars(select(TrialRow).where(TrialRow.study_id == study_id))
            }
            failed = [number for number in sorted(rows) if rows[number].status == TrialStatus.FAILED]
            for number in numbers or ():
                if number not in failed:
                    found = f"it is {rows[number].status}" if number in rows else "there is no such trial"
                    raise StudyError(
                        f"trial {number} cannot be tried again: {found}. "
                        f"Those that failed are: {', '.join(map(str, failed)) or 'none'}."
                    )
            chosen = failed if numbers is None else sorted(set(numbers))
            for number in chosen:
                row = rows[number]
                row.details = {EARLIER_FAILURES: [*row.details.get(EARLIER_FAILURES, ()), row.reason]}
                row.status, row.reason, row.finished_at = TrialStatus.WAITING, "", None
                row.claimed_by, row.losses = None, 0
            return chosen

    @tried_again
    def trials(self, study_id: int, numbers: Collection[int] | None = None) -> list[Trial]:
        """Every trial of a study, or those of these numbers, by number."""
        of_study = TrialRow.study_id == study_id
        with self._reading() as session:
            return read_trials(
                session, of_study if numbers is None else of_study & TrialRow.number.in_(numbers)
            )

    def follow(self, study_id: int) -> FollowedTrials:
        """For who asks for `trials` again and again: reads only what may have changed since the last time."""
        return FollowedTrials(study_id, self._reading)

    @tried_again
    def trial_by_id(self, trial_id: int) -> Trial:
        """One trial by its identity."""
        with self._reading() as session:
            found = read_trials(session, TrialRow.id == trial_id)
        if not found:
            raise _no_trial(trial_id)
        return found[0]

    @tried_again
    def trial(self, study_id: int, number: int) -> Trial:
        """One trial of a study.

        Raises:
            StudyError: There is none of that number; the message says which there are.
        """
        with self._reading() as session:
            of_study = TrialRow.study_id == study_id
            found = read_trials(session, of_study & (TrialRow.number == number))
            if found:
                return found[0]
            last = session.scalar(select(func.max(TrialRow.number)).where(of_study))
        known = "it has none yet" if last is None else f"they are 0 to {last}"
        raise StudyError(f"there is no trial {number} in the study: {known}.")

    @tried_again
    def trials_of(self, study_id: int, configuration: Configuration) -> list[Trial]:
        """The trials of a study with this configuration, of every kind and seed, by number."""
        same = TrialRow.configuration_key == configuration.key
        with self._reading() as session:
            return read_trials(session, (TrialRow.study_id == study_id) & same)

    @tried_again
    def standing(self, study_id: int, front_of: Collection[TrialKind]) -> Standing:
        """What a study has come to; of a large one, this reads few trials.

        Args:
            study_id: The study.
            front_of: Kinds whose trials can be members of a front.
        """
        with self._reading() as session:
            found = read_standings(session, front_of, study_id)
        if not found:
            raise _no_study(study_id)
        return found[0]

    @tried_again
    def standings(
        self, front_of: Collection[TrialKind], compared_by: Callable[[Study], Collection[str]]
    ) -> list[Standing]:
        """What every study has come to, the newest first; see `standing`.

        Args:
            front_of: Kinds whose trials can be members of a front.
            compared_by: The objectives of a study that its trials are asked for, its score among them; they come without others,
                and without details.
        """
        with self._reading() as session:
            return read_standings(session, front_of, compared_by=compared_by)

    @tried_again
    def columns(self, study_id: int, objectives: Sequence[str]) -> list[tuple[Any, ...]]:
        """A study's trials without their configurations, a row each; see `autopeft.store.columns.read_columns`."""
        with self._reading() as session:
            return read_columns(session, study_id, objectives)

    @tried_again
    def stops(self, study_id: int) -> dict[int, int]:
        """By epoch: how many trials were stopped after it."""
        with self._reading() as session:
            return read_stops(session, study_id)

    @tried_again
    def version(self, study_id: int | None = None) -> tuple[Any, ...]:
        """Another one whenever a study has changed, or any study; see `autopeft.store.columns.read_version`."""
        with self._reading() as session:
            return read_version(session, study_id)

    @tried_again
    def counts(self, study_id: int) -> Counts:
        """How many trials of each kind stand where; every kind and every status is in it."""
        with self._reading() as session:
            found = read_counts(session, study_id)
        if not found:
            raise _no_study(study_id)
        return found[study_id]

    # Fronts

    @tried_again
    def record_front(
        self,
        study_id: int,
        after_trial: int,
        members: Sequence[int],
        hypervolume: float,
        *,
        complete: int | None = None,
    ) -> bool:
        """Store the front as it is after a trial, unless it has the same members as the last stored one.

        Args:
            after_trial: Number of the trial whose completion made this front.
            members: Trial numbers, by ascending trainable parameters.
            hypervolume: See `autopeft.pareto.hypervolume`.
            complete: COMPLETE trials of the study that the front was made from. If given, and there are more by now, it is
                of the past, and is not stored: whoever completed those stores the front with them.

        Returns:
            Whether it was stored.

        Raises:
            StudyError: One of the numbers is not a trial of the study.
        """
        with self._writing() as session:
            study = _locked_study(session, study_id)
            if complete is not None:
                if complete < _count_complete(session, study_id):
                    return False
                study.front_complete = complete
            last = read_last_front(session, study_id)
            if last is not None and set(last.members) == set(members):
                return False
            wanted = {after_trial, *members}
            ids = {
                number: trial_id
                for trial_id, number in session.execute(
                    select(TrialRow.id, TrialRow.number).where(
                        TrialRow.study_id == study_id, TrialRow.number.in_(wanted)
                    )
                ).all()
            }
            absent = [number for number in (after_trial, *members) if number not in ids]
            if absent:
                raise StudyError(f"a front cannot hold trial {absent[0]}: the study has no such trial.")
            front = FrontRow(
                study_id=study_id,
                after_trial_id=ids[after_trial],
                hypervolume=hypervolume,
                created_at=now(),
            )
            session.add(front)
            session.flush()
            session.add_all(
                FrontMemberRow(front_id=front.id, position=position, trial_id=ids[number])
                for position, number in enumerate(members)
            )
            return True

    @tried_again
    def fronts(self, study_id: int) -> list[Front]:
        """Every stored front of a study, in order."""
        with self._reading() as session:
            return read_fronts(session, study_id)

    @tried_again
    def last_front(self, study_id: int) -> Front | None:
        """The front of a study as it was stored last; None before the first."""
        with self._reading() as session:
            return read_last_front(session, study_id)

    @tried_again
    def hypervolumes(self) -> dict[int, list[float]]:
        """By study: the hypervolumes of its stored fronts, in order; studies without a front are not in it."""
        found: dict[int, list[float]] = {}
        with self._reading() as session:
            for study_id, volume in session.execute(
                select(FrontRow.study_id, FrontRow.hypervolume).order_by(FrontRow.id)
            ):
                found.setdefault(study_id, []).append(volume)
        return found

    def _reading(self) -> AbstractContextManager[Session]:
        return self._session(self._reader)

    def _writing(self) -> AbstractContextManager[Session]:
        return self._session(self._writer)

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        try:
            with Session(engine) as session, session.begin():
                yield session
        except IntegrityError:
            raise  # a broken rule, not a broken database: the method that knows the rule says the sentence
        except DBAPIError as error:
            raise unusable(self._engine, error) from error


# The rows are locked where the server can do so (on SQLite the whole transaction is, from its beginning), so
# that what was read still holds when it is written. `key_share`: rows that only refer to them need not wait. Who needs
# both locks takes the study's first, or two transactions could wait for each other.


def _no_study(study_id: int) -> StudyError:
    return StudyError(f"there is no study with the id {study_id}.")


def _no_trial(trial_id: int) -> StudyError:
    return StudyError(f"there is no trial with the id {trial_id}.")


def _locked_study(session: Session, study_id: int) -> StudyRow:
    row = session.get(StudyRow, study_id, with_for_update={"key_share": True})
    if row is None:
        raise _no_study(study_id)
    return row


def _locked_trial(session: Session, trial_id: int) -> TrialRow:
    row = session.get(TrialRow, trial_id, with_for_update={"key_share": True})
    if row is None:
        raise _no_trial(trial_id)
    return row


def _count_complete(session: Session, study_id: int) -> int:
    complete = (TrialRow.study_id == study_id) & (TrialRow.status == TrialStatus.COMPLETE)
    return session.scalar(select(func.count()).select_from(TrialRow).where(complete)) or 0


def _find(
    session: Session, study_id: int, kind: TrialKind, configuration: Configuration, seed: int
) -> int | None:
    """The number of the study's trial of this kind, configuration and seed."""
    return session.scalar(
        select(TrialRow.number).where(
            TrialRow.study_id == study_id,
            TrialRow.kind == kind,
            TrialRow.configuration_key == configuration.key,
            TrialRow.seed == seed,
        )
    )


def _add(
    session: Session,
    study_id: int,
    kind: TrialKind,
    configuration: Configuration,
    trainable: int,
    seed: int,
    owner: str | None = None,
) -> Trial:
    last = session.scalar(select(func.max(TrialRow.number)).where(TrialRow.study_id == study_id))
    row = TrialRow(
        study_id=study_id,
        number=0 if last is None else last + 1,
        kind=kind,
        configuration=configuration.to_json(),
        configuration_key=configuration.key,
        trainable=trainable,
        seed=seed,
        status=TrialStatus.WAITING,
        attempt=0,
        reason="",
        details={},
        created_at=now(),
        claimed_by=owner,
    )
    session.add(row)
    session.flush()
    return read_trials(session, TrialRow.id == row.id)[0]


def _takes(row: TrialRow, attempt: int | None) -> bool:
    """Whether what an attempt says of a trial is used."""
    if TrialStatus(row.status).final:
        return False
    return attempt is None or (row.status == TrialStatus.RUNNING and row.attempt == attempt)


def _end(row: TrialRow, status: TrialStatus, reason: str = "") -> None:
    row.status = status
    row.reason = reason
    row.finished_at = now()


def _measure(session: Session, trial_id: int, rung: int, values: Mapping[str, float]) -> None:
    for objective, value in values.items():
        # merge is an upsert on every database; nobody else writes this trial's rows meanwhile.
        session.merge(MeasurementRow(trial_id=trial_id, objective=objective, rung=rung, value=_finite(value)))


def _finite(value: float) -> float | None:
    """As the database keeps it: None is "not a finite number", because SQLite cannot hold NaN."""
    return float(value) if math.isfinite(value) else None
