"""Which metrics are better when they are lower. Standard library only, so that whoever shows a number may ask.

Everything that searches (trials, the database, the front, the sampler) has scores, of which a larger one is better. People are
shown values, as the metric has them. `oriented` leads from the one to the other.
"""

from typing import Literal, overload

MINIMISED = ("loss", "perplexity")


def direction(metric: str) -> Literal["maximize", "minimize"]:
    """Which way the values of a metric are better."""
    return "minimize" if metric in MINIMISED else "maximize"


@overload
def oriented(metric: str, number: float) -> float: ...


@overload
def oriented(metric: str, number: float | None) -> float | None: ...


def oriented(metric: str, number: float | None) -> float | None:
    """The value of a score, or the score of a value: the sign changes where the metric is better when it is lower.

    >>> oriented("loss", 2.5), oriented("accuracy", 0.9)
    (-2.5, 0.9)
    """
    return number if number is None or metric not in MINIMISED else -number
