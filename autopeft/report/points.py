"""A study's trials as a table, for charts: numbers only, however many there are."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from autopeft.nouns import Study, TrialStatus
from autopeft.registry import objectives_of
from autopeft.tasks.direction import MINIMISED
from autopeft.trade_off import further

if TYPE_CHECKING:
    from autopeft.store import Repository

MOST_DRAWN = 1_500
"""Points that a chart draws: more can neither be told apart nor be moved with ease."""


def points(repository: "Repository", study: Study) -> pd.DataFrame:
    """A row for each trial of a study, by number.

    Columns: `number`, `kind`, `status`, `trainable`, `seed`, `attempt`, `started_at` and `finished_at` (UTC; NaT until then),
    `score` (in values of the metric, as people see it; NaN unless complete), `last_score` (of the last rung so far), `seconds`, and
    each further objective of the study by its name.

    Raises:
        StudyError: The database does not answer.
    """
    from autopeft.store.columns import COLUMNS

    others = [objective.name for objective in further(objectives_of(study.settings))]
    names = ["score", *dict.fromkeys(["seconds", *others])]
    rows = repository.columns(study.id, names)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *names])
    for name in names:
        frame[name] = pd.to_numeric(frame[name])
    for name in ("started_at", "finished_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
    if study.settings["task"]["metric"] in MINIMISED:
        frame["score"] = -frame["score"]
    frame["last_score"] = frame["score"]
    frame.loc[frame["status"] != TrialStatus.COMPLETE, "score"] = np.nan
    return frame


def thinned(frame: pd.DataFrame, x: str, y: str, *, most: int = MOST_DRAWN) -> pd.DataFrame:
    """At most so many rows, from everywhere in the picture: of each cell of a grid the first few, by number.

    What lies alone is kept, and what is dropped lies under something that is drawn.
    """
    if len(frame) <= most:
        return frame
    across = _cells(np.log10(frame[x].clip(lower=1.0)) if x == "trainable" else frame[x], 60)
    upwards = _cells(frame[y], 40)
    order = frame.groupby([across, upwards], sort=False).cumcount()
    each = 1
    while (order <= each).sum() <= most:
        each += 1
    return frame[order < each].head(most)


def _cells(values: "pd.Series[float]", count: int) -> "pd.Series[int]":
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return pd.Series(0, index=values.index)
    cells: pd.Series[int] = ((values - low) / (high - low) * count).fillna(-1).astype(int)
    return cells
