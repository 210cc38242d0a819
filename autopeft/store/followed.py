"""The trials of one study for who asks for them again and again: only those that may have changed are read."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, Text, cast, select
from sqlalchemy.orm import Session

from autopeft.nouns import Trial, TrialStatus
from autopeft.store.engine import tried_again
from autopeft.store.rows import read_trials
from autopeft.store.tables import TrialRow

_OPEN = [status for status in TrialStatus if not status.final]
_MOST_BY_ID = (
    500  # of more, all trials of the study are read: a statement holds so many parameters and no more
)


class FollowedTrials:
    """The trials of a study, as `Repository.trials` has them. Made by `Repository.follow`; for one thread at a time.

    What is COMPLETE or STOPPED stays as it is. What is FAILED may have been tried again since, and have come to any end, also to
    the same one: its details then say one failure more, which is what they are compared for.
    """

    def __init__(self, study_id: int, reading: Callable[[], AbstractContextManager[Session]]) -> None:
        self._study_id = study_id
        self._reading = reading
        self._trials: dict[int, Trial] = {}  # by number, ascending
        self._open: set[int] = set()  # ids
        self._failed: dict[int, str] = {}  # id -> details

    @tried_again
    def read(self) -> list[Trial]:
        """Every trial, by number, all of one moment.

        Raises:
            StudyError: The database does not answer.
        """
        with self._reading() as session:
            failed = self._read_failed(session)
            found = read_trials(session, self._which(session, failed))
        for trial in found:
            self._trials[trial.number] = trial  # numbers are given in ascending order, each once
            (self._open.discard if trial.status.final else self._open.add)(trial.id)
        self._failed = failed
        return list(self._trials.values())

    def _read_failed(self, session: Session) -> dict[int, str]:
        found = session.execute(
            select(TrialRow.id, cast(TrialRow.details, Text).label("details")).where(
                TrialRow.study_id == self._study_id, TrialRow.status == TrialStatus.FAILED
            )
        )
        return {row.id: row.details for row in found}

    def _which(self, session: Session, failed: dict[int, str]) -> ColumnElement[bool]:
        """Those that are new, those that are open now or were so, and those that failed, then or now, and differ."""
        of_study = TrialRow.study_id == self._study_id
        if not self._trials:
            return of_study
        ids = self._open | {trial_id for trial_id, _ in self._failed.items() ^ failed.items()}
        last = next(reversed(self._trials))
        # Two statements, each by an index of its own.
        for condition in (TrialRow.status.in_(_OPEN), TrialRow.number > last):
            ids.update(session.scalars(select(TrialRow.id).where(of_study, condition)))
        return TrialRow.id.in_(ids) if len(ids) <= _MOST_BY_ID else of_study
