"""The nouns of autopeft: frozen, without behaviour beyond their own form. Standard library only."""

import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

Problem = Literal["classification", "regression", "causal-lm", "token-classification", "seq2seq"]
"""What is learnt: a class or a value of a whole example, the next token, a tag of each word, or one text from another."""

OWN_HEAD: tuple[Problem, ...] = ("causal-lm", "seq2seq")
"""Problems for which a backbone keeps the head that it was pre-trained with, frozen; for the others it gets a new one."""

Size = int | float
"""How large a module is at one place: a rank, a width, a number of tokens (whole), or a density (a share)."""


@dataclass(frozen=True)
class Place:
    """What stands at one site of one layer: all that a module's cost there depends on.

    Attributes:
        kind: `linear`: one linear map. `block`: the whole `attention` or `ffn`. `norm`: all norms of the layer.
            `input`: the token embeddings that the first layer reads.
        inputs: Inputs of the linear map or block; weights of the norms; width of an embedded token.
        outputs: Outputs of the linear map or block; weights of the norms; of the input, width of a token that may be given
            as numbers instead of an id, 0 where the model needs the ids.
        bias: Numbers in the biases there; 0 where there are none.
        prefix_width: Of an attention block: numbers a prefix token has for keys, and again for values (key-value
            heads x head size); 0 where no prefix can join.
        transposed: Whether the weight is stored as (inputs, outputs), as in GPT-2's `Conv1D`.
    """

    kind: Literal["linear", "block", "norm", "input"]
    inputs: int
    outputs: int
    bias: int = 0
    prefix_width: int = 0
    transposed: bool = False


@dataclass(frozen=True)
class LayerShape:
    """What one layer of a backbone offers.

    Attributes:
        places: Site to what stands there. Linear sites are `q k v o gate up down` and the others of `SITES`; blocks
            are `attention` and `ffn`; `norm` is all norms of the layer.
    """

    places: Mapping[str, Place]


SITES = (
    *("qkv", "q", "k", "v", "o"),
    *("cross_q", "cross_k", "cross_v", "cross_o"),  # a decoder's attention to its encoder
    *("gate", "up", "down"),
    *("in", "x", "dt", "out"),  # a state-space mixer
    *("attention", "ffn", "norm", "input"),
)
"""Every site that a backbone may have, in the order in which sites are listed."""


@dataclass(frozen=True)
class BackboneShape:
    """What a backbone offers to a search space: all that cost and names depend on.

    Attributes:
        parameters: The backbone's parameters, without the task head. Budgets are shares of this.
        hidden: Width of the residual stream; the widest where layers differ.
        heads: Attention heads of a layer; 0 where there is no attention.
        intermediate: Width inside a feed-forward block; 0 where there is none.
        layers: Layers, in order: encoder before decoder, first tower before second.
        input: The token embeddings, where a prompt can join; None where it cannot.
        refused: Sites that are there but that no module may use, with the reason.
    """

    parameters: int
    hidden: int
    heads: int
    intermediate: int
    layers: tuple[LayerShape, ...]
    input: Place | None = None
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def sites(self) -> tuple[str, ...]:
        """The linear sites that some layer has, in the order of `SITES`."""
        there = {s for layer in self.layers for s, place in layer.places.items() if place.kind == "linear"}
        return tuple(site for site in SITES if site in there)

    def place(self, layer: int, site: str) -> Place | None:
        """What stands at a site of a layer; None if the layer has no such site. `input` is at layer 0."""
        if site == "input":
            return self.input if layer == 0 else None
        return self.layers[layer].places.get(site)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, layers that are alike once; `from_json` reads it back."""
        kinds: list[LayerShape] = []
        for layer in self.layers:
            if layer not in kinds:
                kinds.append(layer)
        return {
            "parameters": self.parameters,
            "hidden": self.hidden,
            "heads": self.heads,
            "intermediate": self.intermediate,
            "layers": [kinds.index(layer) for layer in self.layers],
            "kinds": [{site: asdict(place) for site, place in kind.places.items()} for kind in kinds],
            "input": None if self.input is None else asdict(self.input),
            "refused": dict(self.refused),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BackboneShape":
        """Read what `to_json` wrote."""
        kinds = [LayerShape({site: Place(**place) for site, place in kind.items()}) for kind in data["kinds"]]
        numbers = {name: data[name] for name in ("parameters", "hidden", "heads", "intermediate", "refused")}
        return cls(
            **numbers,
            layers=tuple(kinds[i] for i in data["layers"]),
            input=None if data["input"] is None else Place(**data["input"]),
        )


@dataclass(frozen=True)
class Module:
    """One kind of PEFT module of a configuration, of one size, at the sites of the layers that it names.

    A layer that lacks one of the sites goes without the module there. Sizes that differ between layers or sites are
    several modules of one type.

    Attributes:
        type: A name of `autopeft.dsl.MODULE_TYPES`, such as `lora`.
        size: Rank, width, tokens or density; 1 for a type without a size.
        layers: Layer indices, ascending.
        options: The type's further fields, sorted by name, `sites` among them.
    """

    type: str
    size: Size
    layers: tuple[int, ...]
    options: tuple[tuple[str, Any], ...] = ()

    def option(self, name: str) -> Any:
        """The value of a field. Raises: KeyError, if the module has no such field."""
        return dict(self.options)[name]

    @property
    def sites(self) -> tuple[str, ...]:
        """Where in a layer it is."""
        return tuple(dict(self.options)["sites"])

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
        # The first version wrote no sites where a type had one only.
        options.setdefault("sites", _FIRST_SITES.get(data["type"], ()))
        return cls(data["type"], data["size"], tuple(data["layers"]), tuple(sorted(options.items())))


_FIRST_SITES = {"bottleneck": ("ffn",), "prefix": ("attention",)}


def rounded(number: float) -> float:
    """To three significant digits: the numbers that configurations have, so that they are a finite set."""
    return float(f"{number:.3g}")


def plain(value: Any) -> Any:
    """A value as configurations hold it: whole numbers as such, others to three significant digits.

    16 and 16.0 are equal in Python but not as text, and a configuration's key is made of text.
    """
    if isinstance(value, float):
        value = value if value.is_integer() else rounded(value)
        return int(value) if value.is_integer() else value
    return value


@dataclass(frozen=True)
class Configuration:
    """One point of a search space: which modules, where, how large, and how they are trained.

    Canonical by construction (`of`): what is absent is not in it, and places of one type, size and options are one
    module, so equal arrangements are equal objects with one `key`.

    Attributes:
        modules: In canonical order; empty means the frozen backbone with its head only.
        learning_rate: Peak learning rate of modules and head.
        training: Further fields of training that this configuration sets, sorted by name: `batch_size`,
            `max_grad_norm`, `warmup_fraction`, `weight_decay`.
        allocation: What deals the modules' parameters out by the data: `type`, then the allocator's fields, sorted by name.
            Empty where modules stay as they are.
    """

    modules: tuple[Module, ...]
    learning_rate: float
    training: tuple[tuple[str, int | float], ...] = ()
    allocation: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(
        cls,
        modules: Iterable[Module],
        learning_rate: float,
        training: Mapping[str, int | float] | None = None,
        allocation: Mapping[str, Any] | None = None,
    ) -> "Configuration":
        """The canonical configuration: places grouped into modules, empty ones dropped, all in order.

        Numbers that are not whole keep three significant digits, which makes the configurations a finite set, so that
        "already evaluated" means something.
        """
        ordered = sorted(_grouped(modules), key=lambda m: json.dumps(m.to_json(), sort_keys=True))
        further = tuple((name, plain(value)) for name, value in sorted((training or {}).items()))
        allocator = dict(allocation or {})
        named = [("type", allocator.pop("type"))] if allocator else []
        fields = [(name, plain(value)) for name, value in sorted(allocator.items())]
        return cls(tuple(ordered), rounded(learning_rate), further, (*named, *fields))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; `from_json` reads it back."""
        modules = [m.to_json() for m in self.modules]
        allocation = {"allocation": dict(self.allocation)} if self.allocation else {}
        return {"modules": modules, "learning_rate": self.learning_rate, **dict(self.training), **allocation}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Configuration":
        """Read what `to_json` wrote."""
        further = {n: v for n, v in data.items() if n not in ("modules", "learning_rate", "allocation")}
        modules = [Module.from_json(m) for m in data["modules"]]
        return cls.of(modules, data["learning_rate"], further, data.get("allocation"))

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name this configuration, the same on every machine."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _order(site: str) -> tuple[int, str]:
    return (SITES.index(site) if site in SITES else len(SITES), site)


def _grouped(modules: Iterable[Module]) -> list[Module]:
    # All places of one type, size and options; then, among them, the layers that have them at the same sites.
    groups: dict[tuple[str, Size, tuple[tuple[str, Any], ...]], dict[int, set[str]]] = {}
    for m in modules:
        if m.size > 0 and m.sites:
            options = tuple((name, plain(v)) for name, v in sorted(m.options) if name != "sites")
            places = groups.setdefault((m.type, plain(m.size), options), {})
            for layer in m.layers:
                places.setdefault(layer, set()).update(m.sites)
    found = []
    for (kind, size, options), places in groups.items():
        alike: dict[tuple[str, ...], list[int]] = {}
        for layer in sorted(places):
            alike.setdefault(tuple(sorted(places[layer], key=_order)), []).append(layer)
        for sites, layers in alike.items():
            found.append(Module(kind, size, tuple(layers), tuple(sorted([*options, ("sites", sites)]))))
    return found


class TrialStatus(enum.StrEnum):
    """Where a trial stands. COMPLETE, STOPPED and FAILED are final."""

    WAITING = "waiting"  # in the database, not yet on a worker (or its worker was lost)
    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"  # at a rung, by the scheduler: its scores so far are kept, and no failure
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether the trial never changes again."""
        return self in (TrialStatus.COMPLETE, TrialStatus.STOPPED, TrialStatus.FAILED)


class TrialKind(enum.StrEnum):
    """Why a trial is there."""

    SEARCH = "search"  # a point of the space, proposed by the suggester
    HEAD_ONLY = "head-only"  # baseline: the frozen backbone with its task head
    LORA_QV = "lora-qv"  # baseline: LoRA on query and value at one of several learning rates
    TRUNCATED = "truncated"  # a part of a search trial's training that stands by itself, such as fewer ranks of DyLoRA
    PROBE = "probe"  # what the gradients say of the whole space before any module is trained
    CONFIRM = (
        "confirm"  # a member of the front, or the best of a baseline, trained anew with a seed of its own
    )


@dataclass(frozen=True)
class Trial:
    """One configuration trained with one seed, as the database knows it.

    Attributes:
        id: Identity in the database.
        number: Position in its study, from 0.
        kind: A point of the search, a baseline, or one of either trained anew.
        configuration: What is trained.
        trainable: Exact trainable parameters, the head not counted.
        seed: Seed of head, modules and batch order.
        status: Where it stands.
        attempt: How many times it has been started.
        scores: Validation score at each rung, by rung (epoch, from 1). A larger score is a better one: a metric that is better
            when it is lower, such as a loss, has its sign changed (`autopeft.tasks.direction`), here and in the database.
        measurements: Last value of each further objective (`test_score`, `confirmation_score`, `train_loss`, `seconds`,
            `peak_memory_bytes`).
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
    def plan(self) -> Configuration:
        """What was trained: the configuration, or what its allocator has made of it."""
        dealt = self.details.get("allocation")
        return self.configuration if dealt is None else Configuration.from_json(dealt["plan"])

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
        created_at: UTC, ISO 8601.
        owner: Login name of who has asked for it; empty where that is unknown.
    """

    id: int
    name: str
    settings: Mapping[str, Any]
    limit: int
    space: str
    reference_score: float | None
    created_at: str
    owner: str = ""


class JobState(enum.StrEnum):
    """Where a job stands. DONE, FAILED and CANCELLED are final, until it is asked for again."""

    WAITING = "waiting"
    RUNNING = "running"  # a server has it
    PAUSED = "paused"  # keeps what is recorded, until it is resumed
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Job:
    """A search that a server is to run.

    Attributes:
        id: Identity in the database.
        study: Name of the study that it searches; no two jobs have the same.
        arguments: Of `autopeft search`, the study's name among them, the database's URL not.
        folder: In which it runs.
        owner: Who has asked for it.
        priority: Larger ones first, then the older.
        state: Where it stands.
        wish: What a running job is to become: `PAUSED`, `CANCELLED` or None.
        server: Host and process of the server that has it, or had it last; else empty.
        log: File on that host with what the search says; else empty.
        reason: Why it failed, else empty.
        created_at, started_at, finished_at: UTC; the last two None until then.
    """

    id: int
    study: str
    arguments: tuple[str, ...]
    folder: str
    owner: str
    priority: int
    state: JobState
    wish: JobState | None
    server: str
    log: str
    reason: str
    created_at: str
    started_at: str | None
    finished_at: str | None


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


@dataclass(frozen=True)
class Standing:
    """What a study has come to, all of one moment.

    Attributes:
        study: The study.
        trials: By number, those that its front and its confirmation can be told from: of a large study, few.
        front: As it was stored last; None before the first.
        counts: By kind, how many trials stand where; every kind and every status is in it.
    """

    study: Study
    trials: tuple[Trial, ...]
    front: Front | None
    counts: Mapping[TrialKind, Mapping[TrialStatus, int]]
