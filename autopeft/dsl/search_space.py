"""What a search asks of a space, whatever the space is of."""

import random
from collections.abc import Sequence
from typing import Any, Protocol

from autopeft.dsl.bound import Assignment, Encoded
from autopeft.dsl.decisions import Decision


class SearchSpace(Protocol):
    """A space as suggesters take it: `BoundSpace` (modules on a backbone) and `PlainSpace` (decisions alone).

    An *assignment* has one value for every decision, in order. What it means is a *point*: a `Configuration`, or a
    dictionary of the decisions that have an effect. Several assignments may mean one point; one of them is canonical.
    """

    @property
    def name(self) -> str:
        """The space's name."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions, in the order of an assignment's values."""

    @property
    def cardinality(self) -> int:
        """How many points there are, an interval counted as one."""

    def configuration(self, assignment: Sequence[Any], /) -> Any:
        """The point that an assignment means."""

    def assignment(self, point: Any, /) -> Assignment:
        """The canonical assignment that means a point. Raises: ValueError, if it is no point of this space."""

    def canonical(self, assignment: Assignment, /) -> Assignment:
        """The canonical assignment with the same meaning."""

    def valid(self, assignment: Sequence[Any], /) -> bool:
        """Whether it is one of the space."""

    def active(self, assignment: Assignment, /) -> list[bool]:
        """For each decision, whether it has an effect."""

    def sample(self, rng: random.Random, n: int, /) -> list[Assignment]:
        """Random valid assignments; repetitions are possible."""

    def neighbours(self, assignment: Assignment, /) -> list[Assignment]:
        """Valid assignments one step away."""

    def near(self, assignment: Assignment, rng: random.Random, n: int, /) -> list[Assignment]:
        """Up to n of the neighbours, drawn at random."""

    def encode(self, assignment: Assignment, /) -> Encoded:
        """An assignment as numbers in [0, 1], with the mask of those that have an effect."""

    def decode(self, vector: Sequence[float], mask: Sequence[bool], /) -> Assignment:
        """The assignment nearest to a vector."""

    def to_optuna(self, trial: Any, /) -> Assignment:
        """Ask an Optuna trial for every decision that has an effect."""
