"""What the frozen first layers of a backbone make of the data: computed once, and shared by the trials of a study.

The layers before a configuration's first module are frozen and have no dropout, so what leaves them is the same in every
epoch of every trial that has no module there. It is written to a file when the first trial asks for it, and from then on
read instead of computed. The file is mapped into memory: several workers read one copy, the operating system keeps in memory
what there is room for, and the rest stays on the disk.

Notation:
    n, b        examples of a split; of a batch
    t           tokens of an example, or of the longest of a batch
    d           depth: how many layers, from the first, are left out
    h           width of the hidden states, of any number of dimensions
"""

import contextlib
import itertools
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autopeft.backbones import Backbone
from autopeft.nouns import Configuration
from autopeft.tasks.batches import Encoded, evaluation_order
from autopeft.train.loop import autocast

FROZEN = "frozen_states"
"""The key of a batch under which the hidden states are that the layers left out would have made of it."""

MOST_BYTES = 16 * 2**30
"""What the files of a study may take together; also at most half of what is free on the disk."""

_BATCH = 256  # where memory suffices: the states of a depth do not hang on who asked for them first
_CHECKED = 8  # examples on which a model must say the same with its layers and without
_TOLERANCE = 1e-4  # of the largest logit


@dataclass(frozen=True, eq=False)
class HiddenStates:
    """What leaves a layer, for every example of a split.

    Attributes:
        rows: All tokens of all examples, one after another, ``(tokens, *h)``; of images whole examples, ``(n, *h)``.
        starts: Where an example's tokens begin in `rows`, ``(n,)``.
        lengths: And how many there are, ``(n,)``; None of images.
    """

    rows: torch.Tensor
    starts: torch.Tensor
    lengths: torch.Tensor | None

    def batch(self, indices: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Those of some examples as a batch, ``(b, t, *h)``; zero where the batch is padded.

        Args:
            indices: The examples, in the batch's order.
            mask: The batch's attention mask, ``(b, t)``; None of images.
        """
        if self.lengths is None or mask is None:
            return self.rows[self.starts[indices]]
        pairs = zip(self.starts[indices].tolist(), self.lengths[indices].tolist(), strict=True)
        tokens = torch.cat([self.rows[start : start + length] for start, length in pairs])
        found = tokens.new_zeros(*mask.shape, *tokens.shape[1:])
        found[mask.bool().cpu()] = tokens
        return found


class _Reached(Exception):  # noqa: N818  # no error: how a pass is ended early
    """A forward pass has come as far as it was to."""

    def __init__(self, output: Any) -> None:
        self.output = output


class FrozenLayers:
    """The first layers of a backbone, and what they make of the splits of a study.

    >>> frozen = FrozenLayers(backbone, Path("cache"))                              # doctest: +SKIP
    >>> depth = frozen.depth(configuration)                                         # doctest: +SKIP
    >>> states = frozen.states("train", data["train"], depth)                       # doctest: +SKIP
    """

    def __init__(self, backbone: Backbone, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._backbone = backbone
        self._folder = folder
        self._most_bytes = most_bytes
        paths = [layer.path for layer in backbone.layout.layers]
        parent = paths[0].rpartition(".")[0]
        stack = itertools.takewhile(lambda path: path.rpartition(".")[0] == parent, paths)
        self._layers = [backbone.model.get_submodule(path) for path in stack]
        self._most = _before_head(backbone, paths[: len(self._layers)])
        self._beside: int | None = (
            None  # how much more than the states there is in a layer's answer; -1: no tuple
        )
        self._agrees: dict[int, bool] = {}
        self._known: dict[tuple[str, int], HiddenStates] = {}
        self._batch = _BATCH
        self._temporary = folder / f"{secrets.token_hex(8)}.part"  # of this worker alone

    def depth(self, configuration: Configuration) -> int:
        """How many layers, from the first, a configuration leaves as they are."""
        if any("input" in module.sites for module in configuration.modules):
            return 0
        return min([self._most, *(layer for module in configuration.modules for layer in module.layers)])

    def states(self, split: str, data: Encoded, depth: int) -> HiddenStates | None:
        """The hidden states of a split after so many layers.

        Args:
            split: Its name.
            data: The split.
            depth: Layers.

        Returns:
            None where the model cannot do without its first layers, or there is no room: compute as ever.
        """
        if not 0 < depth <= self._most or not len(data):
            return None
        if depth not in self._agrees:
            self._agrees[depth] = self._check(data, depth)
        if not self._agrees[depth]:
            return None
        known = self._known.get((split, depth))
        if known is None:
            known = self._read(split, data, depth) or self._compute_what_fits(split, data, depth)
            if known is None:
                return None
            self._known[split, depth] = known
        with contextlib.suppress(OSError):
            os.utime(self._path(split, depth).with_suffix(".json"))  # used just now: another goes first
        return known

    @contextlib.contextmanager
    def left_out(self, depth: int, states: torch.Tensor) -> Iterator[None]:
        """Inside, the first layers do nothing and answer with these states, ``(b, t, *h)``."""
        answer = states if self._beside is None or self._beside < 0 else (states, *[None] * self._beside)
        for layer in self._layers[:depth]:
            layer.forward = lambda *args, **kwargs: answer
        try:
            yield
        finally:
            for layer in self._layers[:depth]:
                del layer.forward

    # -- what leaves a layer ---------------------------------------------------------------------------------------

    def _run(self, inputs: Mapping[str, torch.Tensor], depth: int) -> torch.Tensor | None:
        """What leaves the last of so many layers; None if that is not one tensor."""

        def stop(layer: nn.Module, args: Any, output: Any) -> None:
            raise _Reached(output)

        handle = self._layers[depth - 1].register_forward_hook(stop)
        try:
            with autocast(self._backbone.model, self._backbone.model.device):
                self._backbone.model(**inputs)
        except _Reached as reached:
            output = reached.output
        else:
            return None  # it never came there
        finally:
            handle.remove()
        beside = -1
        if isinstance(output, tuple):
            output, beside = output[0], len(output) - 1
        if not isinstance(output, torch.Tensor) or self._beside not in (None, beside):
            return None
        self._beside = beside
        return output

    def _inputs(self, data: Encoded, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        device = self._backbone.model.device
        return {name: tensor.to(device) for name, tensor in data.batch(indices).items() if name != "labels"}

    @torch.inference_mode()
    def _check(self, data: Encoded, depth: int) -> bool:
        """Whether the model says the same of some examples without these layers."""
        inputs = self._inputs(data, torch.arange(min(_CHECKED, len(data))))
        mask = inputs.get("attention_mask")
        try:
            states = self._run(inputs, depth)
            if states is None or (mask is not None and states.shape[:2] != mask.shape):
                return False
            if mask is not None:
                states = states * mask.view(*mask.shape, *[1] * (states.dim() - 2))
            whole = self._backbone.model(**inputs).logits
            with self.left_out(depth, states):
                without = self._backbone.model(**inputs).logits
        except Exception:
            # Whatever a model does with a layer's further answers, such as T5 with its position biases; or no memory.
            return False
        return bool((whole - without).abs().max() <= _TOLERANCE * whole.abs().max())

    # -- files -----------------------------------------------------------------------------------------------------

    def _path(self, split: str, depth: int) -> Path:
        return self._folder / f"{split}-{depth}.bin"

    def _read(self, split: str, data: Encoded, depth: int) -> HiddenStates | None:
        path = self._path(split, depth)
        try:
            described = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            rows = _mapped(path, described["shape"], getattr(torch, described["dtype"]))
        except (OSError, ValueError):
            return None  # not there, or just being written or taken away
        return HiddenStates(rows, *_places(data))

    def _compute_what_fits(self, split: str, data: Encoded, depth: int) -> HiddenStates | None:
        """As `_compute`, from now on in halves of what did not fit into memory; None where one example does not."""
        while True:
            try:
                return self._compute(split, data, depth)
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    return None
            finally:
                self._temporary.unlink(missing_ok=True)
            self._batch = math.ceil(self._batch / 2)

    @torch.inference_mode()
    def _compute(self, split: str, data: Encoded, depth: int) -> HiddenStates | None:
        """Write the states of a depth, from those of the deepest that there are; None if there is no room."""
        starts, lengths = _places(data)
        shallower, earlier = self._deepest_before(split, data, depth)
        rows: torch.Tensor | None = None
        for indices in evaluation_order(data).split(self._batch):
            inputs = self._inputs(data, indices)
            mask = None if lengths is None else inputs["attention_mask"]
            if earlier is None:
                states = self._run(inputs, depth)
            else:
                with self.left_out(shallower, earlier.batch(indices, mask).to(self._backbone.model.device)):
                    states = self._run(inputs, depth)
            assert states is not None  # as `_check` has seen
            if rows is None:
                tokens = [len(data)] if lengths is None else [int(lengths.sum())]
                shape = [*tokens, *states.shape[1 if lengths is None else 2 :]]
                rows = self._new(self._temporary, shape, states.dtype)
                if rows is None:
                    return None
            if lengths is None or mask is None:
                rows[indices] = states.cpu()
            else:
                pairs = zip(starts[indices].tolist(), lengths[indices].tolist(), strict=True)
                at = [torch.arange(start, start + length) for start, length in pairs]
                rows[torch.cat(at)] = states[mask.bool()].cpu()
        assert rows is not None
        path = self._path(split, depth)
        described = {"shape": list(rows.shape), "dtype": str(rows.dtype).removeprefix("torch.")}
        # A worker that ends takes the folder away for all: what is mapped here stays, only nobody else finds it.
        with contextlib.suppress(OSError):
            self._temporary.replace(path)
            path.with_suffix(".json").write_text(json.dumps(described), encoding="utf-8")
        return HiddenStates(rows, starts, lengths)

    def _deepest_before(self, split: str, data: Encoded, depth: int) -> tuple[int, HiddenStates | None]:
        for shallower in range(depth - 1, 0, -1):
            found = self._known.get((split, shallower)) or self._read(split, data, shallower)
            if found is not None:
                return shallower, found
        return 0, None

    def _new(self, path: Path, shape: list[int], dtype: torch.dtype) -> torch.Tensor | None:
        """A tensor in a new file, the room for which is there; None if it is not."""
        size = math.prod(shape) * dtype.itemsize
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._room(size):
                return None
            with path.open("wb") as file:
                os.posix_fallocate(
                    file.fileno(), 0, size
                )  # a full disk would end the process at the first write
            return _mapped(path, shape, dtype)
        except OSError:  # it is full, or the folder is just being taken away
            path.unlink(missing_ok=True)
            return None

    def _room(self, size: int) -> bool:
        """Make room for so many bytes; files that were not used for longest go first."""
        files = sorted(
            self._folder.glob("*.json"), key=_used_at
        )  # of the other one, writing changes the time too
        sizes = {path: _size(path.with_suffix(".bin")) for path in files}
        used = sum(sizes.values())
        most = min(self._most_bytes, (shutil.disk_usage(self._folder).free + used) // 2)
        if size > most:
            return False
        for path in files:
            if used + size <= most:
                break
            used -= sizes[path]
            split, _, depth = path.stem.rpartition("-")
            self._known.pop((split, int(depth)), None)
            path.unlink(missing_ok=True)
            path.with_suffix(".bin").unlink(missing_ok=True)
        return True


class WithoutFrozen(nn.Module):
    """A model that leaves its first layers out where a batch brings what they would have made of it."""

    def __init__(self, runner: nn.Module, frozen: FrozenLayers, depth: int) -> None:
        super().__init__()
        self.runner = runner
        self._frozen = frozen
        self._depth = depth

    def forward(self, **inputs: torch.Tensor) -> Any:
        """As the model's own."""
        states = inputs.pop(FROZEN, None)
        if states is None:
            return self.runner(**inputs)
        with self._frozen.left_out(self._depth, states):
            return self.runner(**inputs)


def _places(data: Encoded) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Where each example's rows begin, and how many there are, if they differ."""
    lengths = data.lengths
    if bool((lengths == 1).all()):
        return torch.arange(len(data)), None
    return lengths.cumsum(0) - lengths, lengths


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another worker made room
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _mapped(path: Path, shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    """A file as a tensor.

    Raises:
        OSError, ValueError: It is not there, or of another size.
    """
    raw = np.memmap(path, dtype=np.uint8, mode="r+", shape=(math.prod(shape) * dtype.itemsize,))
    return torch.from_numpy(raw).view(dtype).view(shape)


def _before_head(backbone: Backbone, paths: list[str]) -> int:
    """How many of these layers there are before anything that every trial trains."""
    order = [name for name, _ in backbone.model.named_modules()]
    most, body = len(paths), backbone.model.base_model_prefix
    for part in backbone.head:
        inside = [i for i, path in enumerate(paths) if part == path or part.startswith(f"{path}.")]
        if inside:
            most = min(most, inside[0])
        elif part.startswith(f"{body}.") and order.index(part) < order.index(paths[0]):
            return 0
    return most
