"""What the language knows of a type of module: its fields, where it goes, what it costs.

Notation, in every table of types:

    size        the module's size at a place: rank, width, tokens or density
    options     the further fields, every one of them there, by name
    place       what stands at the place: inputs, outputs, bias, ...
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from autopeft.nouns import BackboneShape, Place, Size

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A further field of a module type.

    Attributes:
        kind: What a value is. A `word` is one of `words`; `any` is a number, any text, or a truth.
        default: The value where a space leaves the field out; None: the field must be given.
        words: The values of a `word`.
        low: Least value of a number.
        high: Greatest value of a number.
        times_size: Where the default is the size times this (alpha is twice the rank); then `default` is None.
        costs: Whether trainable parameters or stored numbers depend on it.
        expressions: Whether a number may be an expression over the backbone.
        about: A few words, for the reference.
    """

    kind: Literal["integer", "float", "boolean", "word", "any"]
    default: Any = None
    words: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1e12
    times_size: float | None = None
    costs: bool = False
    expressions: bool = True
    about: str = ""


def _nothing(size: Size, options: Options, place: Place) -> int:
    return 0


def _nothing_shared(size: Size, options: Options, shape: BackboneShape) -> int:
    return 0


def _no_objection(size: Size, options: Options, place: Place) -> str:
    return ""


@dataclass(frozen=True)
class ModuleType:
    """One type of module.

    Attributes:
        name: As a space names it.
        about: What it is, in a few words.
        source: Paper, as an arXiv number or a short reference.
        size: Name of the field that holds the size; empty for a type without one (its size is 1).
        size_kind: Whether sizes are whole numbers from 0 (0: absent) or shares above 0 and at most 1.
        at: What kind of place it goes to.
        sites: The sites it goes to where a space leaves `sites` out; empty: a space must name them.
        fields: Further fields, by name.
        trainable: Exact trainable parameters at one place.
        shared: Exact trainable parameters that a module has once, however many places it is at.
        stored: Numbers (of 4 bytes) that are saved with an adapter besides the trainable ones, at one place.
        stored_shared: Likewise, once a module.
        objection: Why a size and options cannot be at a place; empty if they can.
        refusal: Why the type cannot be used at all on this machine (a package that is not there); empty if it can.
        identity: Whether the model's output is unchanged before training. Where it depends on options, for defaults.
        changes_base: Values of fields that change the backbone's weights while the module is on: field to values.
        alone: Whether one module of this type must be all of a configuration's modules of its type, of one size:
            it shares parameters between its places, so that sizes cannot differ from place to place.
        falls: Whether parameters fall as the size grows: of blocks of which there are fewer when they are larger.
    """

    name: str
    about: str
    source: str
    size: str
    at: Literal["linear", "block", "norm", "attention", "input", "bias"]
    trainable: Callable[[Size, Options, Place], int]
    size_kind: Literal["integer", "fraction"] = "integer"
    sites: tuple[str, ...] = ()
    fields: Mapping[str, Field] = field(default_factory=dict)
    shared: Callable[[Size, Options, BackboneShape], int] = _nothing_shared
    stored: Callable[[Size, Options, Place], int] = _nothing
    stored_shared: Callable[[Size, Options, BackboneShape], int] = _nothing_shared
    objection: Callable[[Size, Options, Place], str] = _no_objection
    refusal: Callable[[], str] = lambda: ""
    identity: bool = True
    changes_base: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    alone: bool = False
    falls: bool = False

    @property
    def has_shared(self) -> bool:
        """Whether it has parameters or stored numbers once a module, besides those at its places."""
        return self.shared is not _nothing_shared or self.stored_shared is not _nothing_shared
