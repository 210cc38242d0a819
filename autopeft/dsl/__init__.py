"""The search-space language: reading it, and everything that follows from a space once it is read.

>>> space = read_space(open("search_spaces/autopeft.yaml").read(), "autopeft.yaml")   # doctest: +SKIP
>>> bound = space.bind(shape, limit=5_000)                                            # doctest: +SKIP
>>> bound.sample(random.Random(0), 3)                                                 # doctest: +SKIP
"""

from autopeft.dsl.bound import Assignment, BoundSpace
from autopeft.dsl.cost import trainable_parameters
from autopeft.dsl.domains import Choice, Real
from autopeft.dsl.reader import read_space
from autopeft.dsl.space import Space

__all__ = ["Assignment", "BoundSpace", "Choice", "Real", "Space", "read_space", "trainable_parameters"]
