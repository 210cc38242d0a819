"""An adapter folder with its tensors packed into one file: in 8 bits, or as the signs of a few entries.

    int8, scales    a tensor in 8 bits: each block's largest absolute value is 127 steps of its scale
    signs           a bit for each entry: whether it is not at its start; then one for each that is not: which way; by one `step`

Tensors of the task head, and whatever is no floating point number, stay as they are. In memory an adapter is what it always
was: `unpacked` makes the usual files anew for as long as they are read.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from autopeft.errors import InputError

PACKED = "autopeft_packed.safetensors"
"""The file that takes the place of all other tensors' files."""

BLOCK = 64
"""Numbers that share a scale."""

_INDEX = "autopeft"  # in the file's metadata: of each number the file, the tensor's name and its shape

Tensors = dict[str, torch.Tensor]


def read_tensors(folder: Path) -> dict[str, Tensors]:
    """The tensors of every safetensors file below a folder, by the file's path in it."""
    files = sorted(folder.rglob("*.safetensors"))
    return {path.relative_to(folder).as_posix(): load_file(path) for path in files}


def is_head(name: str, heads: Iterable[str]) -> bool:
    """Whether a tensor of a folder's files is of the task head, given the paths of the head's modules."""
    return name.startswith("head.") or any(f".{path}." in f".{name}" for path in heads)


def in_8_bits(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A tensor as int8 with a scale for each block of `BLOCK` numbers: symmetric, by the block's largest absolute value.

    Absmax quantisation, Dettmers et al. 2022 (2208.07339), section 2.1; in blocks, Dettmers et al. 2022 (2110.02861), section 2.1.

    >>> in_8_bits(torch.tensor([[1.0, -2.0], [0.0, 0.0]]))[0].tolist()
    [[64, -127], [0, 0]]
    """
    blocks = _blocks(tensor.float())
    scales = blocks.abs().amax(dim=1, keepdim=True) / 127
    steps = (blocks / scales.clamp_min(torch.finfo(torch.float32).tiny)).round().clamp(-127, 127)
    return steps.to(torch.int8).reshape(-1)[: tensor.numel()].reshape(tensor.shape), scales.squeeze(1)


def from_8_bits(steps: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """What `in_8_bits` packed, to half of a step."""
    numbers = _blocks(steps.float()) * scales[:, None]
    return numbers.reshape(-1)[: steps.numel()].reshape(steps.shape)


def _blocks(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor in rows of `BLOCK`, the last one filled up with zeros."""
    return nn.functional.pad(tensor.reshape(-1), (0, -tensor.numel() % BLOCK)).reshape(-1, BLOCK)


def pack_8_bits(folder: Path, heads: Iterable[str]) -> None:
    """Pack a folder's tensors into 8 bits."""
    heads = list(heads)

    def parts(file: str, name: str, tensor: torch.Tensor) -> Tensors:
        if is_head(name, heads) or not tensor.is_floating_point() or not tensor.numel():
            return {"whole": tensor}
        steps, scales = in_8_bits(tensor)
        return {"int8": steps, "scales": scales}

    _write(folder, parts)


def pack_signs(folder: Path, start: Mapping[str, Tensors], signs: Mapping[str, Tensors], step: float) -> None:
    """Pack a folder's tensors as a start and the signs of what changed: start + step * sign.

    Args:
        folder: Whose files are replaced.
        start: By file and tensor, what training began with. All zero it takes no room; else it is in 8 bits.
        signs: By file and tensor, -1, 0 and 1; a tensor that has none is kept as it is.
        step: How far the entries move.
    """

    def parts(file: str, name: str, tensor: torch.Tensor) -> Tensors:
        sign = signs.get(file, {}).get(name)
        if sign is None:
            return {"whole": tensor}
        flat = sign.reshape(-1).numpy()
        bits = np.concatenate([np.packbits(flat != 0), np.packbits(flat[flat != 0] > 0)])
        begun = start[file][name]
        found = {"signs": torch.from_numpy(bits)}
        if begun.any():
            found["int8"], found["scales"] = in_8_bits(begun)
        return found

    _write(folder, parts, step)


@contextlib.contextmanager
def unpacked(folder: Path) -> Iterator[Path]:
    """A folder with the usual files of an adapter: the same, or one with what is packed in it, while the context lasts.

    Raises:
        InputError: The packed file is not one that was written here.
    """
    if not (folder / PACKED).is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="autopeft-") as place:
        here = Path(place)
        for file in folder.rglob("*.json"):
            (here / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, here / file.relative_to(folder))
        for name, tensors in _read(folder).items():
            path = here / name
            if not path.resolve().is_relative_to(here.resolve()):
                raise InputError(f"the adapter in '{folder}' is not whole: '{name}' leads out of it.")
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, path, metadata={"format": "pt"})
        yield here


def _read(folder: Path) -> dict[str, Tensors]:
    found: dict[str, Tensors] = {}
    try:
        with safe_open(folder / PACKED, "pt") as file:
            index = json.loads((file.metadata() or {})[_INDEX])
            parts: dict[int, Tensors] = {}
            for key in file.keys():  # noqa: SIM118  # it is no dictionary
                number, _, part = key.partition(".")
                parts.setdefault(int(number), {})[part] = file.get_tensor(key)
        for number, (path, name, shape) in enumerate(index["tensors"]):
            of = parts[number]
            whole = of["whole"] if "whole" in of else _value(of, shape, index["step"])
            found.setdefault(str(path), {})[str(name)] = whole
    except (KeyError, RuntimeError, ValueError, IndexError, TypeError, SafetensorError) as error:
        raise InputError(f"the adapter in '{folder}' is not whole: {error!r}.") from None
    return found


def _value(of: Tensors, shape: list[int], step: float | None) -> torch.Tensor:
    begun = from_8_bits(of["int8"], of["scales"]).reshape(shape) if "int8" in of else torch.zeros(shape)
    if "signs" not in of:
        return begun
    count = begun.numel()
    bits, split = of["signs"].numpy(), -(-count // 8)
    kept = np.unpackbits(bits[:split], count=count).astype(bool)
    up = np.unpackbits(bits[split:], count=int(kept.sum())).astype(np.float32)
    moved = np.zeros(count, dtype=np.float32)
    moved[kept] = 2 * up - 1
    return begun + float(step or 0.0) * torch.from_numpy(moved).reshape(shape)


def _write(
    folder: Path, parts_of: Callable[[str, str, torch.Tensor], Tensors], step: float | None = None
) -> None:
    """Replace the tensors' files by one, whose keys are numbers: of small tensors the names would be most of it."""
    packed: Tensors = {}
    index: list[list[object]] = []
    for file, tensors in read_tensors(folder).items():
        for name, tensor in tensors.items():
            for part, value in parts_of(file, name, tensor).items():
                packed[f"{len(index)}.{part}"] = value.contiguous()
            index.append([file, name, list(tensor.shape)])
    for path in sorted(folder.rglob("*.safetensors")):
        path.unlink()
    metadata = {_INDEX: json.dumps({"tensors": index, "step": step}, separators=(",", ":"))}
    save_file(packed, folder / PACKED, metadata=metadata)


def note(folder: Path, config: str, **values: object) -> None:
    """Add to what the folder's own configuration says."""
    path = folder / config
    content = {**json.loads(path.read_text(encoding="utf-8")), **values}
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
