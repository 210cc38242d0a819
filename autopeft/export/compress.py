"""Adapters made smaller after the search, with the score before and after, both measured.

Notation:
    tau     what training changed: the trained tensors less those it began with, all of them as one vector
    s B A   what a LoRA adds to a weight: its factors, times its scaling
"""

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from autopeft.adapters import attach
from autopeft.adapters.folder import CONFIG, load_attached, save_adapter
from autopeft.adapters.packed import Tensors, is_head, note, pack_8_bits, pack_signs, read_tensors
from autopeft.dsl.cost import trainable_parameters
from autopeft.dsl.types import options_of
from autopeft.errors import InputError
from autopeft.nouns import Configuration, Module, Study, Trial
from autopeft.tasks.direction import oriented
from autopeft.tasks.task import TaskSettings
from autopeft.train import Training, Workbench
from autopeft.train.running import Request, Running
from autopeft.weights import Storage

DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of entries that are tried: ComPEFT, section 3."""

FACTORS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Multiples of tau's standard deviation that are tried: ComPEFT, section 3."""

ENERGY = 0.95
"""Share of the squared singular values that is kept where none is named."""


@dataclass(frozen=True)
class Compressed:
    """What became of an adapter.

    Attributes:
        how: `8bit`, `ternary` with its density and factor, or `energy` with its share.
        metric: What the scores are, in its own values.
        score_before, score_after: On validation.
        test_before, test_after: On test; None without such a split.
        bytes_before, bytes_after: Of all files with tensors.
        trainable_before, trainable_after: Parameters of the modules.
    """

    how: str
    metric: str
    score_before: float
    score_after: float
    test_before: float | None
    test_after: float | None
    bytes_before: int
    bytes_after: int
    trainable_before: int
    trainable_after: int


@dataclass(frozen=True)
class How:
    """What was asked for: `kind` is `8bit`, `ternary` or `energy`; `value` a density or a share, or None."""

    kind: str
    value: float | None


def parse_compression(text: str) -> How:
    """Read `8bit`, `ternary`, `ternary=0.2`, `energy` or `energy=0.95`.

    Raises:
        InputError: It is none of these.

    >>> parse_compression("energy=0.9")
    How(kind='energy', value=0.9)
    """
    kind, equals, value = text.strip().lower().partition("=")
    wrong = InputError(
        f"cannot compress by '{text}': write 8bit, ternary, ternary=0.2 (a share of the entries), or energy=0.95 (a share of what "
        "the ranks of LoRA do)."
    )
    if kind not in ("8bit", "ternary", "energy") or (kind == "8bit" and equals):
        raise wrong
    if not equals:
        return How(kind, ENERGY if kind == "energy" else None)
    try:
        share = float(value)
    except ValueError:
        raise wrong from None
    if not 0 < share <= 1:
        raise InputError(f"the share {value} of '{text}' is not above 0 and at most 1.")
    return How(kind, share)


def compress(study: Study, trial: Trial, folder: Path, how: How) -> Compressed:
    """Make the adapter in an exported folder smaller, in place.

    Args:
        study: The trial's.
        trial: What was exported.
        folder: Of `export_peft`.
        how: By what.

    Raises:
        InputError: It cannot be done to this adapter.
        DataError, BackboneError: The study's data or backbone are not there any more, or have changed.
    """
    settings = study.settings
    backbone = settings["backbone"]
    bench = Workbench.prepare(
        backbone["path"],
        backbone["overrides"],
        TaskSettings.from_json(settings["task"]),
        Training(**settings["training"]),
        backbone.get("sites"),
        storage=Storage.from_json(backbone.get("storage", {})),
    )
    before, test_before = _scores(bench, folder)
    size = _bytes(folder)
    trainable, told = trial.trainable, how.kind
    if how.kind == "8bit":
        pack_8_bits(folder, _heads(folder))
    elif how.kind == "ternary":
        density, factor = _make_ternary(bench, trial, folder, how.value)
        told = f"ternary, {100 * density:g} % of the entries, by {factor:g} standard deviations"
    else:
        trainable = _truncate(bench, trial, folder, how.value or ENERGY)
        told = f"energy, {how.value:g} kept"
    after, test_after = _scores(bench, folder)
    metric = settings["task"]["metric"]
    found = Compressed(
        told,
        metric,
        oriented(metric, before),
        oriented(metric, after),
        oriented(metric, test_before),
        oriented(metric, test_after),
        size,
        _bytes(folder),
        trial.trainable,
        trainable,
    )
    if found.bytes_after > found.bytes_before:
        raise InputError(
            f"compressed by {how.kind} the adapter would take {found.bytes_after:,} bytes, and it takes {found.bytes_before:,}: it is too "
            "small for that.",
            "Leave --compress out.",
        )
    note(folder, CONFIG, compressed=vars(found))
    return found


# -- the score of a folder ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _loaded(bench: Workbench, folder: Path) -> Iterator[Any]:
    attached, _, _ = load_attached(bench.backbone.model, folder)
    try:
        yield attached
    finally:
        attached.detach()


def _scores(bench: Workbench, folder: Path) -> tuple[float, float | None]:
    with _loaded(bench, folder) as attached:
        test = bench.score(attached.runner, "test") if "test" in bench.data else None
        return bench.score(attached.runner, "validation"), test


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def _heads(folder: Path) -> list[str]:
    heads: list[str] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["head"]
    return heads


# -- ComPEFT -----------------------------------------------------------------------------------------------------------


def ternary(tau: torch.Tensor, density: float) -> tuple[torch.Tensor, float]:
    """The signs of the largest entries of a vector, and its standard deviation: ComPEFT is alpha * deviation * signs.

    Yadav, Choshen, Raffel and Bansal 2023, "ComPEFT: Compression for communicating parameter efficient updates via
    sparsification and quantization" (2311.13171), algorithm 1.

    >>> signs, deviation = ternary(torch.tensor([3.0, -1.0, 0.5, -4.0]), 0.5)
    >>> signs.tolist(), round(deviation, 3)
    ([1.0, 0.0, 0.0, -1.0], 2.955)
    """
    kept = max(1, round(density * tau.numel()))
    top = tau.abs().topk(kept).indices
    signs = torch.zeros_like(tau)
    signs[top] = tau[top].sign()
    return signs, float(tau.std())


def _make_ternary(bench: Workbench, trial: Trial, folder: Path, density: float | None) -> tuple[float, float]:
    """Replace the folder's tensors by the ternary ones with the best score on validation; their density and factor."""
    if trial.configuration.allocation:
        raise InputError(
            f"{dict(trial.configuration.allocation)['type']} has changed the modules while they were trained, so that what training "
            "changed cannot be told from them: --compress 8bit can."
        )
    with tempfile.TemporaryDirectory(prefix="autopeft-") as place:
        start = _start(bench, trial, Path(place))
    trained, heads = read_tensors(folder), _heads(folder)
    places = [
        (file, name)
        for file, tensors in trained.items()
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.numel() and not is_head(name, heads)
    ]
    if not places:
        raise InputError("there is nothing in this adapter but the task head, which is not compressed.")
    changes = [trained[file][name].float() - start[file][name].float() for file, name in places]
    tau = torch.cat([change.reshape(-1) for change in changes])
    best: tuple[float, float, float] | None = None
    for share in DENSITIES if density is None else (density,):
        signs, deviation = ternary(tau, share)
        by_place = _split(signs, places, changes)
        for factor in FACTORS:
            with tempfile.TemporaryDirectory(prefix="autopeft-") as place:
                tried = _copy(folder, Path(place) / "tried")
                pack_signs(tried, start, by_place, factor * deviation)
                with _loaded(bench, tried) as attached:
                    score = bench.score(attached.runner, "validation")
            if best is None or score > best[0]:
                best = (score, share, factor)
    assert best is not None
    _, share, factor = best
    signs, deviation = ternary(tau, share)
    pack_signs(folder, start, _split(signs, places, changes), factor * deviation)
    return share, factor


def _start(bench: Workbench, trial: Trial, folder: Path) -> dict[str, Tensors]:
    """The tensors with which the trial's training began: the same modules from the same seed, not trained."""
    running = Running(bench, Request(trial.configuration, trial.seed, None))
    try:
        kind = bench.backbone.task_type
        save_adapter(running.attached, trial.configuration, folder, task_type=kind, record={})
    finally:
        running.attached.detach()
    return read_tensors(folder)


def _split(
    signs: torch.Tensor, places: list[tuple[str, str]], changes: list[torch.Tensor]
) -> dict[str, Tensors]:
    found: dict[str, Tensors] = {}
    parts = signs.split([change.numel() for change in changes])
    for (file, name), part, change in zip(places, parts, changes, strict=True):
        found.setdefault(file, {})[name] = part.reshape(change.shape)
    return found


def _copy(folder: Path, to: Path) -> Path:
    import shutil

    shutil.copytree(folder, to)
    return to


# -- LoRA's ranks by their energy --------------------------------------------------------------------------------------


def kept_rank(singular_values: torch.Tensor, share: float) -> int:
    """The fewest ranks whose squared singular values are a share of all; at least one.

    >>> kept_rank(torch.tensor([3.0, 1.0, 0.1]), 0.95), kept_rank(torch.tensor([3.0, 1.0, 0.1]), 0.85)
    (2, 1)
    """
    energy = singular_values.double().square().cumsum(0)
    if not energy[-1] > 0:
        return 1
    return int((energy < share * energy[-1] * (1 - 1e-12)).sum()) + 1


def svd_of_product(b: torch.Tensor, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U, the singular values and Vᵀ of B A, at the cost of its rank: by the QR of both factors, and never of the whole matrix."""
    left, upper = torch.linalg.qr(b)
    right, lower = torch.linalg.qr(a.T)
    u, sigma, v = torch.linalg.svd(upper @ lower.T)
    return left @ u, sigma, v @ right.T


def _truncate(bench: Workbench, trial: Trial, folder: Path, share: float) -> int:
    """Write the folder anew with LoRAs of fewer ranks; the modules' parameters."""
    layout = bench.backbone.layout
    modules: list[Module] = []
    factors: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    with _loaded(bench, folder) as attached:
        others = sorted({one.type for one in attached.planned} - {"lora"})
        if others or not attached.planned:
            what = f"this adapter has {' and '.join(others)}" if others else "this adapter has none"
            raise InputError(f"energy truncates the ranks of LoRA alone, and {what}.")
        own = {name: t.clone() for name, t in attached.own.state_dict().items()}
        head = {name: t.clone() for name, t in attached.head_state().items()}
        layers = {path: layer for one in attached.stack.adapters for path, layer in one.layers.items()}
        if sum(len(one.layers) for one in attached.stack.adapters) > len(layers):
            raise InputError("energy truncates one LoRA at a place, and this adapter has several at one.")
        for module in trial.plan.modules:
            if module.type != "lora":
                modules.append(module)
                continue
            options = options_of(module)
            if options["dora"]:
                raise InputError(
                    "energy cannot truncate DoRA: its magnitudes are those of the weight with all ranks in it."
                )
            for index in module.layers:
                for site in module.sites:
                    if layout.shape.place(index, site) is None:
                        continue
                    path = layout.layers[index].sites[site]
                    layer = layers[path]
                    scaling = layer.scaling["default"]
                    b, a = layer.lora_B["default"].weight.detach(), layer.lora_A["default"].weight.detach()
                    u, sigma, v = svd_of_product(scaling * b.double(), a.double())
                    rank = kept_rank(sigma, share)
                    root = sigma[:rank].sqrt()
                    factors[path] = ((u[:, :rank] * root), (root[:, None] * v[:rank]))
                    # Its scaling is 1, so that nothing of a decision about the old ranks is left in it.
                    alpha = math.sqrt(rank) if options["rslora"] else float(rank)
                    changed = {**dict(module.options), "alpha": alpha, "sites": (site,)}
                    changed.pop("init", None)
                    modules.append(Module("lora", rank, (index,), tuple(sorted(changed.items()))))
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    smaller = Configuration.of(modules, trial.plan.learning_rate, dict(trial.plan.training))
    model = bench.backbone.model
    attached = attach(
        model,
        layout,
        bench.backbone.head,
        replace(smaller),
        task_type=bench.backbone.task_type,
        scores=_zeros(model),
    )
    try:
        with torch.no_grad():
            for adapter in attached.stack.adapters:
                for path, layer in adapter.layers.items():
                    b, a = factors[path]
                    layer.lora_B["default"].weight.copy_(b / layer.scaling["default"])
                    layer.lora_A["default"].weight.copy_(a)
        attached.own.load_state_dict(own)
        attached.load_head(head)
        kept = ("autopeft_version", "configuration", "head", "peft", "task_type")
        record = {name: value for name, value in content.items() if name not in kept}
        for file in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
            if file.name != "README.md":
                file.rmdir() if file.is_dir() else file.unlink()
        save_adapter(attached, smaller, folder, task_type=content["task_type"], record=record)
    finally:
        attached.detach()
    return trainable_parameters(smaller, layout.shape)


def _zeros(model: Any) -> Any:
    """Scores for masks whose entries are loaded afterwards."""
    return lambda path: torch.zeros_like(model.get_submodule(path).weight)
