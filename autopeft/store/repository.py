"""What the rest of autopeft asks of the database, in its own nouns; no row and no SQL leaves this package.

Every method is one short transaction, may be called from any thread, and has committed when it returns. A
final trial (COMPLETE, STOPPED or FAILED) never changes again, whatever is told about it and however often.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from autopeft.errors import StudyError, nearest
from autopeft.nouns import Configuration, Front, Study, Trial, TrialKind, TrialStatus
from autopeft.store import lease
from autopeft.store.engine import connect, for_writing, migrate, unusable
from autopeft.store.place import parse_url
from autopeft.store.rows import SCORE, now, read_fronts, read_trials, to_study
from autopeft.store.tables import (
    NAME_LENGTH,
    ArtifactRow,
    FrontMemberRow,
    FrontRow,
    MeasurementRow,
    StudyRow,
    TrialRow,
)

NOT_A_NUMBER = "score is not a number"
"""The reason of a trial whose last score is not finite."""


class Repository:
    """A database of studies. Made by `Repository.open`; close it, or use it in a `with` statement.

    Each method may also raise StudyError when the database does not answer: locked by another program for
    more than ten seconds, disk full, server gone; and when there is no study or trial of the given id.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = for_writing(engine)

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a database, make it if there is none, and bring its tables up to date.

        Args:
            url: As `place.parse_url` reads it: a URL, or the path of an SQLite file.

        Raises:
            StudyError: It cannot be opened, is not a database of ours, or was written by a newer autopeft.
        """
        engine = connect(parse_url(url))
        try:
            migrate(engine)
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

    def create_study(self, name: str, settings: dict[str, Any], limit: int, space: str) -> Study:
        """Store a new study.

        Args:
            name: 1 to 200 characters.
            settings: What the results depend on; JSON.
            limit: The budget in trainable parameters.
            space: The space's name.

        Raises:
            StudyError: There is a study of that name already, or the name is empty or too long.
        """
        if not 0 < len(name) <= NAME_LENGTH:
            raise StudyError(f"a study's name has 1 to {NAME_LENGTH} characters, not {len(name)}.")
        row = StudyRow(name=name, settings=settings, parameter_limit=limit, space=space, created_at=now())
        try:
            with self._writing() as session:
                session.add(row)
                session.flush()
                return to_study(row)
        except IntegrityError:
            raise StudyError(
                f"there is already a study '{name}'.", "Continue it, or choose another name."
            ) from None

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

    def studies(self) -> list[Study]:
        """Every study, newest first."""
        with self._reading() as session:
            return [to_study(row) for row in session.scalars(select(StudyRow).order_by(StudyRow.id.desc()))]

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

    # The lease: one driver at a time

    def acquire(
        self, study_id: int, *, owner: str, host: str, pid: int, stale_after_seconds: float = 60
    ) -> None:
        """Make a driver the only one of a study, and put trials that are still RUNNING back to WAITING.

        A driver is live while its process runs, judged on its own host, or while its last heartbeat is
        younger than `stale_after_seconds`, judged from any other. The lease of a dead one is taken over.
        Acquiring again from the same process, with the same owner, is a heartbeat and moves no trial.

        Args:
            owner: Names this run of the driver; unique, so that an earlier run's owner cannot release it.
            host: The driver's host.
            pid: The driver's process on that host.

        Raises:
            StudyError: Another live driver holds it; the message names its host and process.
        """
        with self._writing() as session:
            study = _locked_study(session, study_id)
            lease.take(
                session, study, owner=owner, host=host, pid=pid, stale_after_seconds=stale_after_seconds
            )

    def heartbeat(self, study_id: int, owner: str) -> bool:
        """Note that the driver lives. False: the lease was taken over, and the driver should stop."""
        with self._writing() as session:
            return lease.beat(session, study_id, owner)

    def release(self, study_id: int, owner: str) -> bool:
        """Give the lease back. False: it was not (or no longer) this owner's, and nothing was changed."""
        with self._writing() as session:
            return lease.give_up(session, study_id, owner)

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
            earlier = session.scalar(
                select(TrialRow.number).where(
                    TrialRow.study_id == study_id,
                    TrialRow.kind == kind,
                    TrialRow.configuration_key == configuration.key,
                    TrialRow.seed == seed,
                )
            )
            if earlier is not None:
                raise StudyError(
                    f"the configuration {configuration.key} with seed {seed} is already trial {earlier} of "
                    "the study."
                )
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
            )
            session.add(row)
            session.flush()
            return read_trials(session, TrialRow.id == row.id)[0]

    def start_trial(self, trial_id: int) -> Trial:
        """Put a WAITING trial to RUNNING, one attempt further; what earlier attempts reported stays.

        Raises:
            StudyError: The trial is not WAITING.
        """
        with self._writing() as session:
            row = _locked_trial(session, trial_id)
            if row.status != TrialStatus.WAITING:
                raise StudyError(f"trial {row.number} cannot be started: it is {row.status}.")
            row.status = TrialStatus.RUNNING
            row.attempt += 1
            row.started_at = now()
            session.flush()
            return read_trials(session, TrialRow.id == trial_id)[0]

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
            row.details = details
            if last.value is None:
                _end(row, TrialStatus.FAILED, NOT_A_NUMBER)
                return True
            _end(row, TrialStatus.COMPLETE)
            if artifact:
                session.add(ArtifactRow(trial_id=trial_id, folder=artifact, created_at=now()))
            return True

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

    def requeue(self, trial_id: int) -> bool:
        """Put a RUNNING trial back to WAITING, because its worker was lost. False if it was not RUNNING."""
        with self._writing() as session:
            row = _locked_trial(session, trial_id)
            if row.status != TrialStatus.RUNNING:
                return False
            row.status = TrialStatus.WAITING
            return True

    def trials(self, study_id: int) -> list[Trial]:
        """Every trial of a study, by number."""
        with self._reading() as session:
            return read_trials(session, TrialRow.study_id == study_id)

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

    def waiting(self, study_id: int) -> list[Trial]:
        """The WAITING trials of a study, by number."""
        with self._reading() as session:
            return read_trials(
                session, (TrialRow.study_id == study_id) & (TrialRow.status == TrialStatus.WAITING)
            )

    def count(self, study_id: int, kind: TrialKind) -> dict[TrialStatus, int]:
        """How many trials of a kind stand where; every status is in it."""
        with self._reading() as session:
            found = session.execute(
                select(TrialRow.status, func.count())
                .where(TrialRow.study_id == study_id, TrialRow.kind == kind)
                .group_by(TrialRow.status)
            ).all()
        counted = {TrialStatus(status): n for status, n in found}
        return {status: counted.get(status, 0) for status in TrialStatus}

    # Fronts

    def record_front(
        self, study_id: int, after_trial: int, members: Sequence[int], hypervolume: float
    ) -> bool:
        """Store the front as it is after a trial, unless it has the same members as the last stored one.

        Args:
            after_trial: Number of the trial whose completion made this front.
            members: Trial numbers, by ascending trainable parameters.
            hypervolume: See `autopeft.pareto.hypervolume`.

        Returns:
            Whether it was stored.

        Raises:
            StudyError: One of the numbers is not a trial of the study.
        """
        with self._writing() as session:
            _locked_study(session, study_id)
            earlier = read_fronts(session, study_id)
            if earlier and set(earlier[-1].members) == set(members):
                return False
            ids = {
                number: trial_id
                for trial_id, number in session.execute(
                    select(TrialRow.id, TrialRow.number).where(TrialRow.study_id == study_id)
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

    def fronts(self, study_id: int) -> list[Front]:
        """Every stored front of a study, in order."""
        with self._reading() as session:
            return read_fronts(session, study_id)

    def _reading(self) -> AbstractContextManager[Session]:
        return self._session(self._engine)

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
# that what was read still holds when it is written.


def _locked_study(session: Session, study_id: int) -> StudyRow:
    row = session.get(StudyRow, study_id, with_for_update=True)
    if row is None:
        raise StudyError(f"there is no study with the id {study_id}.")
    return row


def _locked_trial(session: Session, trial_id: int) -> TrialRow:
    row = session.get(TrialRow, trial_id, with_for_update=True)
    if row is None:
        raise StudyError(f"there is no trial with the id {trial_id}.")
    return row


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
