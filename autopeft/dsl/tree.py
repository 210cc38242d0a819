"""The search-space language as a tree: what a YAML file says, and what Python code can say as well.

>>> mine = Space(
...     name="mine",
...     modules={
...         "adapter": OneOf(
...             [
...                 ModuleSpec("lora", sites=Subset(["q", "v"]), rank=Per("layer", Choice([0, 2, 8]))),
...                 ModuleSpec("ia3", sites=["k", "v", "down"]),
...             ]
...         )
...     },
...     training={"learning_rate": Float(1e-4, 1e-2, log=True)},
... )

A tree is checked as strictly as a file when it is written as text and read: `Space.checked`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Scalar = int | float | bool | str
"""A value; a text is a word, or an expression such as `hidden / 2` where a number is expected."""

Number = int | float | str
Axis = Literal["layer", "site"]


def _place() -> Any:
    # Where in a file something stands is for errors only: trees are equal without it.
    return field(default="", compare=False, repr=False)


def _tuple(instance: Any, *names: str) -> None:
    for name in names:
        value = getattr(instance, name)
        if value is not None and not isinstance(value, tuple):
            object.__setattr__(instance, name, tuple(value))


@dataclass(frozen=True)
class Condition:
    """A condition on another decision: `when: {adapter.init: [pissa, olora]}`, `when: {rank: ">= 8"}`.

    Attributes:
        path: `field` of the same module, `module.field`, or `module.type` of a `one_of`.
        test: `in`, or a comparison.
        values: The values that it may have; one where it is compared.
        where: Place in the file.
    """

    path: str
    test: Literal["in", "<", "<=", ">", ">="]
    values: tuple[Scalar, ...]
    where: str = _place()

    def __post_init__(self) -> None:
        _tuple(self, "values")


@dataclass(frozen=True)
class Value:
    """A decision already made."""

    value: Scalar
    when: tuple[Condition, ...] = ()
    where: str = _place()


@dataclass(frozen=True)
class Choice:
    """One of the values. `priors` are weights, as many as values: samplers draw by them."""

    values: tuple[Scalar, ...]
    priors: tuple[float, ...] = ()
    when: tuple[Condition, ...] = ()
    where: str = _place()

    def __post_init__(self) -> None:
        _tuple(self, "values", "priors", "when")


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`, both included."""

    low: Number
    high: Number
    log: bool = False
    step: int = 1
    when: tuple[Condition, ...] = ()
    where: str = _place()


@dataclass(frozen=True)
class Float:
    """A number from `low` to `high`; a multiple of `step` above `low` where there is one."""

    low: Number
    high: Number
    log: bool = False
    step: float | None = None
    when: tuple[Condition, ...] = ()
    where: str = _place()


@dataclass(frozen=True)
class Tied:
    """No decision: another number times a factor. `to` is a path as in `Condition`."""

    to: str
    times: float = 1.0
    where: str = _place()


@dataclass(frozen=True)
class Per:
    """A decision of its own for each layer, for each site, or for each site of each layer."""

    over: tuple[Axis, ...]
    of: Choice | Integer | Float
    where: str = _place()

    def __post_init__(self) -> None:
        over = (self.over,) if isinstance(self.over, str) else tuple(self.over)
        object.__setattr__(self, "over", over)


@dataclass(frozen=True)
class Members:
    """No decision: exactly these layers or sites; None for all that there are."""

    of: tuple[str | int, ...] | None = None
    where: str = _place()

    def __post_init__(self) -> None:
        _tuple(self, "of")


@dataclass(frozen=True)
class Subset:
    """Some of these layers or sites.

    Attributes:
        of: What may be chosen; None for all that there are.
        min: At least so many.
        max: At most so many; None for no bound.
        contiguous: Whether they must be neighbours in the order of `of`.
    """

    of: tuple[str | int, ...] | None = None
    min: int = 1
    max: int | None = None
    contiguous: bool = False
    where: str = _place()

    def __post_init__(self) -> None:
        _tuple(self, "of")


Plain = Value | Choice | Integer | Float
"""A domain that stands by itself."""

Domain = Plain | Tied | Per
Selection = Members | Subset


@dataclass(frozen=True)
class ModuleSpec:
    """A module: its type, and a domain for each field that is set.

    >>> ModuleSpec("lora", sites=Subset(["q", "v"]), rank=Choice([1, 2, 4]), alpha=Tied("rank", 2.0)).fields["rank"]
    Choice(values=(1, 2, 4), priors=(), when=())
    """

    type: str
    fields: Mapping[str, Domain]
    sites: Selection | None
    layers: Selection | None
    when: tuple[Condition, ...]
    where: str = _place()

    def __init__(
        self,
        type: str,
        sites: Selection | Iterable[str] | None = None,
        layers: Selection | Iterable[int] | None = None,
        when: Iterable[Condition] = (),
        where: str = "",
        **fields: Domain | Scalar,
    ) -> None:
        domains = {
            name: Value(value) if isinstance(value, Scalar) else value for name, value in fields.items()
        }
        for name, value in (
            ("type", type),
            ("fields", domains),
            ("sites", _selection(sites)),
            ("layers", _selection(layers)),
            ("when", tuple(when)),
            ("where", where),
        ):
            object.__setattr__(self, name, value)


def _selection(value: Selection | Iterable[str] | Iterable[int] | None) -> Selection | None:
    if value is None or isinstance(value, Members | Subset):
        return value
    return Members(None if value == "all" else tuple(value))


@dataclass(frozen=True)
class OneOf:
    """One of several modules or sub-spaces; which one is a decision. `priors` are weights."""

    options: tuple["Entry", ...]
    priors: tuple[float, ...] = ()
    when: tuple[Condition, ...] = ()
    where: str = _place()

    def __post_init__(self) -> None:
        _tuple(self, "options", "priors", "when")


@dataclass(frozen=True)
class SubSpace:
    """Several modules that act together: an alternative of a `one_of`."""

    modules: Mapping[str, "Entry"]
    when: tuple[Condition, ...] = ()
    where: str = _place()


Entry = ModuleSpec | OneOf | SubSpace


@dataclass(frozen=True)
class AllocatorSpec:
    """What deals the modules' parameters out by the data, and a domain for each of its fields that is set.

    >>> AllocatorSpec("spt", threshold=Choice([1, 10])).fields["threshold"]
    Choice(values=(1, 10), priors=(), when=())
    """

    type: str
    fields: Mapping[str, Plain]
    where: str = _place()

    def __init__(self, type: str, where: str = "", **fields: Plain | Scalar) -> None:
        domains = {
            name: Value(value) if isinstance(value, Scalar) else value for name, value in fields.items()
        }
        for name, value in (("type", type), ("fields", domains), ("where", where)):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Allocation:
    """One of several allocators; which one is a decision where there are several. `priors` are weights."""

    options: tuple[AllocatorSpec, ...]
    priors: tuple[float, ...] = ()
    where: str = _place()

    def __post_init__(self) -> None:
        _tuple(self, "options", "priors")


@dataclass(frozen=True)
class Constraint:
    """A bound on a computed objective.

    Attributes:
        measure: `trainable`, `adapter_bytes` or `sites`.
        test: `<=` or `>=`.
        value: As it is written: `0.5%`, `2MB`, `4`.
        where: Place in the file.
    """

    measure: str
    test: Literal["<=", ">="]
    value: str
    where: str = _place()
