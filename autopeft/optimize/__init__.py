"""Suggesters: functions of (space, trials, seed) with no state that the database does not hold."""

from autopeft.optimize.samplers import SAMPLERS, find_suggester
from autopeft.optimize.suggest import Suggester

__all__ = ["SAMPLERS", "Suggester", "find_suggester"]
