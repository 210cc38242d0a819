"""The search-space language: reading it, and everything that follows from a space once it is read.

>>> space = read_space(open("search_spaces/autopeft.yaml").read(), "autopeft.yaml")   # doctest: +SKIP
>>> bound = space.bind(shape, limit=5_000)                                            # doctest: +SKIP
>>> bound.sample(random.Random(0), 3)                                                 # doctest: +SKIP
"""

from autopeft.dsl.allocators import ALLOCATORS
from autopeft.dsl.bound import Assignment, BoundSpace, Encoded
from autopeft.dsl.cost import adapter_bytes, trainable_parameters
from autopeft.dsl.decisions import Interval, Levels
from autopeft.dsl.plain import PlainSpace, Point
from autopeft.dsl.reader import build_space, read_space
from autopeft.dsl.search_space import SearchSpace
from autopeft.dsl.space import Space
from autopeft.dsl.tree import (
    Allocation,
    AllocatorSpec,
    Choice,
    Condition,
    Constraint,
    Float,
    Integer,
    Members,
    ModuleSpec,
    OneOf,
    Per,
    Subset,
    SubSpace,
    Tied,
    Value,
)
from autopeft.dsl.types import MODULE_TYPES
from autopeft.dsl.writer import write_space

__all__ = [
    "ALLOCATORS",
    "MODULE_TYPES",
    "Allocation",
    "AllocatorSpec",
    "Assignment",
    "BoundSpace",
    "Choice",
    "Condition",
    "Constraint",
    "Encoded",
    "Float",
    "Integer",
    "Interval",
    "Levels",
    "Members",
    "ModuleSpec",
    "OneOf",
    "Per",
    "PlainSpace",
    "Point",
    "SearchSpace",
    "Space",
    "SubSpace",
    "Subset",
    "Tied",
    "Value",
    "adapter_bytes",
    "build_space",
    "read_space",
    "trainable_parameters",
    "write_space",
]
