"""Suggesters: functions of (space, trials, n, seed) with no state that the database does not hold."""

from autopeft.optimize.suggest import SAMPLERS, Suggester, find_suggester

__all__ = ["SAMPLERS", "Suggester", "find_suggester"]
