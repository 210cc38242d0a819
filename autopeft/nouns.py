"""The nouns of autopeft: frozen, without behaviour beyond their own form. Standard library only."""

import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LayerShape:
    """What one layer of a backbone offers.

    Attributes:
        linears: Site (`q k v o up gate down`, or `qkv` where they are one map) to (inputs, outputs).
        prefix_width: Numbers per prefix token and per role (key or value): key-value heads × head size;
            0 where the attention cannot take a prefix.
    """

    linears: Mapping[str, tuple[int, int]]
    prefix_width: int


@dataclass(frozen=True)
class BackboneShape:
    """What a backbone offers to a search space: all that cost and names depend on.

    Attributes:
        parameters: The backbone's parameters, without the task head. Budgets are shares of this.
        hidden: Width of the residual stream.
        heads: Attention heads of a layer.
        intermediate: Width inside a feed-forward block.
        layers: Layers, in order.
    """

    parameters: int
    hidden: int
    heads: int
    intermediate: int
    layers: tuple[LayerShape, ...]

    @property
    def sites(self) -> tuple[str, ...]:
        """The linear sites that every layer has, in the order of the first layer."""
        return tuple(
            site for site in self.layers[0].linears if all(site in layer.linears for layer in self.layers)
        )


@dataclass(frozen=True)
class Module:
    """One kind of PEFT module of a configuration, and the layers it is in.

    Attributes:
        type: `lora`, `bottleneck` or `prefix`.
        size: Rank, bottleneck width or prefix length; at least 1.
        layers: Layer indices, ascending.
        options: The type's further fields, sorted by name: `position`, `sites`, `alpha`.
    """

    type: str
    size: int
    layers: tuple[int, ...]
    options: tuple[tuple[str, Any], ...] = ()

    def option(self, name: str) -> Any:
        """The value of a field. Raises: KeyError, if the module has no such field."""
        return dict(self.options)[name]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; `from_json` reads it back."""
        options = {name: list(v) if isinstance(v, tuple) else v for name, v in self.options}
        return {"type": self.type, "size": self.size, "layers": list(self.layers), **options}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Module":
        """Read what `to_json` wrote."""
        options = {
            name: tuple(v) if isinstance(v, list) else v
            for name, v in data.items()
            if name not in ("type", "size", "layers")
        }
        return cls(data["type"], data["size"], tuple(data["layers"]), tuple(sorted(options.items())))


def rounded(learning_rate: float) -> float:
    """A learning rate to three significant digits: the rates that configurations have."""
    return float(f"{learning_rate:.3g}")


def _plain(value: Any) -> Any:
    # 16 and 16.0 are equal in Python but not as text: the key is made of text.
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class Configuration:
    """One point of a search space: which modules, where, how large, and how they are trained.

    Canonical by construction (`of`): what is absent is not in it, so equal arrangements are equal objects
    with one `key`.

    Attributes:
        modules: In canonical order; empty means the frozen backbone with its head only.
        learning_rate: Peak learning rate of modules and head.
    """

    modules: tuple[Module, ...]
    learning_rate: float

    @classmethod
    def of(cls, modules: Iterable[Module], learning_rate: float) -> "Configuration":
        """The canonical configuration: empty modules dropped, the rest in order, three digits of rate.

        Three significant digits make the rates a finite set, so that "already evaluated" means something.
        """
        present = [
            Module(
                m.type,
                m.size,
                tuple(sorted(set(m.layers))),
                tuple((k, _plain(v)) for k, v in sorted(m.options)),
            )
            for m in modules
            if m.size > 0 and m.layers and dict(m.options).get("sites") != ()
        ]
        ordered = sorted(present, key=lambda m: json.dumps(m.to_json(), sort_keys=True))
        return cls(tuple(ordered), rounded(learning_rate))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; `from_json` reads it back."""
        return {"modules": [m.to_json() for m in self.modules], "learning_rate": self.learning_rate}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Configuration":
        """Read what `to_json` wrote."""
        return cls.of([Module.from_json(m) for m in data["modules"]], data["learning_rate"])

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name this configuration, the same on every machine."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class TrialStatus(enum.StrEnum):
    """Where a trial stands. COMPLETE and FAILED are final."""

    WAITING = "waiting"  # in the database, not yet on a worker (or its worker was lost)
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


class TrialKind(enum.StrEnum):
    """Why a trial is there."""

    SEARCH = "search"  # a point of the space, proposed by the suggester
    HEAD_ONLY = "head-only"  # baseline: the frozen backbone with its task head
    LORA_QV = "lora-qv"  # baseline: LoRA on query and value at one of several learning rates


@dataclass(frozen=True)
class Trial:
    """One configuration trained with one seed, as the database knows it.

    Attributes:
        id: Identity in the database.
        number: Position in its study, from 0.
        kind: A point of the search, or a baseline.
        configuration: What is trained.
        trainable: Exact trainable parameters, the head not counted.
        seed: Seed of head, modules and batch order.
        status: Where it stands.
        attempt: How many times it has been started.
        scores: Validation score at each rung, by rung (epoch, from 1).
        measurements: Last value of each further objective (`test_score`, `train_loss`, `seconds`, `peak_memory_bytes`).
        reason: Why it failed, else empty.
        artifact: Folder of the trained adapter, else empty.
        details: How it was trained, as the worker reports it (threads, versions); JSON.
    """

    id: int
    number: int
    kind: TrialKind
    configuration: Configuration
    trainable: int
    seed: int
    status: TrialStatus = TrialStatus.WAITING
    attempt: int = 0
    scores: Mapping[int, float] = field(default_factory=dict)
    measurements: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    artifact: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The validation score after the last rung of a complete trial, else None."""
        if self.status is not TrialStatus.COMPLETE:
            return None
        return self.scores[max(self.scores)]


@dataclass(frozen=True)
class Study:
    """One search, as the database knows it.

    Attributes:
        id: Identity in the database.
        name: What a person calls it.
        settings: What the results depend on (backbone, task, space text, budget, seed, training); JSON.
        limit: The budget in parameters.
        space: The space's name.
        reference_score: Score from which hypervolume is counted; None until the first front.
    """

    id: int
    name: str
    settings: Mapping[str, Any]
    limit: int
    space: str
    reference_score: float | None
    created_at: str


@dataclass(frozen=True)
class Front:
    """The non-dominated completed trials of a study at a moment.

    Attributes:
        members: Trial numbers, by ascending trainable parameters.
        hypervolume: See `autopeft.pareto.hypervolume`.
        after_trial: Number of the trial whose completion made this front.
    """

    members: tuple[int, ...]
    hypervolume: float
    after_trial: int
