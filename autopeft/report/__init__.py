"""What people are shown of a study: plain data from the database, and the events of a running search."""

from autopeft.report.events import Event, Phase, Started, TrialDone
from autopeft.report.pick import pick
from autopeft.report.summary import Row, Summary, studies_table, summarise, trial_record

__all__ = [
    "Event",
    "Phase",
    "Row",
    "Started",
    "Summary",
    "TrialDone",
    "pick",
    "studies_table",
    "summarise",
    "trial_record",
]
