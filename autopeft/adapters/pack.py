"""Several configurations on one model at once, each acting on its own rows of every batch.

The backbone is frozen, so that a batch of several trials goes through it as one: its first b rows belong to the first trial,
the next b to the second, and so on. Where a trial has a module, the module sees its own rows only. What such a pass says of
a trial's rows is what the trial alone would say of them.

Notation:
    K           configurations on the model
    b           rows of each in a batch of K b rows
    A_i, B_i    of configuration i's LoRA at a linear map: (r_i, inputs) and (outputs, r_i); s_i its scaling
    R           the largest r_i

LoRA at one linear map is computed for all configurations in two batched products, the A_i and s_i B_i padded to rank R with
zeros; everything else part by part.

References:
    Chen et al. 2024 (arXiv 2310.18547, Punica) and Ye et al. 2024 (arXiv 2312.02515, mLoRA): many LoRAs on one frozen model.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from autopeft.adapters.attach import Attached
from autopeft.adapters.prefix import ATTRIBUTE as PREFIX
from autopeft.adapters.surface import Here, Surface
from autopeft.dsl.peft_types import PEFT_TYPES, changes_base
from autopeft.dsl.types import options_of
from autopeft.nouns import Configuration

_ALONE = {"adalora": "it deals its ranks out anew while it trains, over the whole model"}


def objection(configuration: Configuration) -> str:
    """Why a configuration must train alone; empty if it can be packed.

    >>> objection(Configuration.of([], 1e-3))
    ''
    """
    if configuration.allocation:
        return f"{dict(configuration.allocation)['type']} deals its modules out by itself"
    for module in configuration.modules:
        if "input" in module.sites:
            return f"{module.type} puts tokens before the input"
        if module.type in _ALONE:
            return f"{module.type}: {_ALONE[module.type]}"
        if module.type in PEFT_TYPES and changes_base(module.type, options_of(module)):
            return f"{module.type} takes a part out of the backbone's weights, which all share"
    return ""


def can_share(first: Configuration, second: Configuration) -> bool:
    """Whether two configurations can be trained on one model at once: both can be packed, and take equal steps."""
    return first.training == second.training and not objection(first) and not objection(second)


class NotPackedError(Exception):
    """A model puts something through a module that is no batch: its rows are nobody's."""


@dataclass
class Rows:
    """How a batch is dealt out.

    Attributes:
        owners: K.
        rows: K b, of the batch that goes through the model just now.
    """

    owners: int
    rows: int = 0

    def parts(self, tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The rows of each; tokens may have been put in one row, example after example.

        Raises:
            NotPackedError: They are no batch.
        """
        whole = tensor.shape[0] == self.rows or (tensor.dim() == 2 and tensor.shape[0] % self.rows == 0)
        if not whole:
            raise NotPackedError(f"{tuple(tensor.shape)} is no batch of {self.rows}")
        return tensor.chunk(self.owners)

    def parts_if_any(self, argument: Any) -> Sequence[Any]:
        """The rows of each; the whole for all of what is no batch, such as a mask for every example."""
        is_batch = isinstance(argument, torch.Tensor) and argument.dim() and argument.shape[0] == self.rows
        return argument.chunk(self.owners) if is_batch else [argument] * self.owners


class Pack:
    """Configurations that share a model.

    Attributes:
        model: The model.

    >>> pack = Pack(model)                                                      # doctest: +SKIP
    >>> first = pack.add(lambda: attach(model, layout, head, configuration))    # doctest: +SKIP
    >>> second = pack.add(lambda: attach(model, layout, head, another))         # doctest: +SKIP
    >>> pack.show([first, second])                                              # doctest: +SKIP
    >>> logits = pack(input_ids=...)        # rows of the first, then of the second         # doctest: +SKIP
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._bare = Surface(model)
        self._on: dict[int, tuple[Attached, Surface]] = {}
        self._shown: list[Attached] = []

    def add(self, put: Callable[[], Attached]) -> Attached:
        """Put a configuration's modules on the bare model, and lift them off again.

        Args:
            put: Puts them on; what it raises leaves the model bare.
        """
        self._bare.put_back()
        attached = put()
        self._on[id(attached)] = attached, Surface(self.model)
        self._bare.put_back()
        return attached

    @property
    def runner(self) -> nn.Module:
        """What takes a batch of those that are shown."""
        return self._shown[0].runner if len(self._shown) == 1 else self.model

    def show(self, several: Sequence[Attached]) -> Rows:
        """Put these on the model, one of them as it would be alone; how batches are dealt out to them."""
        self._bare.put_back()
        self._shown = list(several)
        rows = Rows(len(several))
        surfaces = [self._on[id(attached)][1] for attached in several]
        if len(surfaces) == 1:
            surfaces[0].put_back()
        elif surfaces:
            _route(self._bare, surfaces, rows)
        return rows

    @contextlib.contextmanager
    def alone(self, attached: Attached) -> Iterator[None]:
        """Inside, the model has this one's modules only, as if there were no other."""
        shown = self._shown
        self.show([attached])
        try:
            yield
        finally:
            self.show(shown)

    def take_off(self, attached: Attached) -> None:
        """This one is done; the others stay as they are."""
        shown = [one for one in self._shown if one is not attached]
        _, surface = self._on.pop(id(attached))
        surface.put_back()
        attached.detach()
        self.show(shown)

    def take_all_off(self) -> None:
        """Leave the model bare."""
        for attached, _ in reversed(list(self._on.values())):
            self.take_off(attached)


# -- who sees what -----------------------------------------------------------------------------------------------------


def _route(bare: Surface, surfaces: Sequence[Surface], rows: Rows) -> None:
    """Change a bare model so that every module that a surface has on it sees that surface's rows."""
    routed: set[nn.Module] = set()
    for module, here in bare.here.items():
        if any(module not in surface.here for surface in surfaces):
            continue
        for name, child in here.children.items():
            theirs = [surface.here[module].children.get(name) for surface in surfaces]
            if child is None or all(their is child for their in theirs):
                continue
            parts = [
                _Part(their, None)
                if their is not None and their is not child
                else _Part(child, surface.here[child])
                for their, surface in zip(theirs, surfaces, strict=True)
            ]
            module._modules[name] = _Routed(child, bare.here[child], parts, rows)
            routed.add(child)
    for module, here in bare.here.items():
        if module in routed or any(module not in surface.here for surface in surfaces):
            continue  # its part calls it; or it is inside of something that each has in its place
        _hook(module, here, [surface.here[module] for surface in surfaces], rows)
        prefixes = [surface.here[module].attributes.get(PREFIX) for surface in surfaces]
        if any(prefixes):
            object.__setattr__(module, PREFIX, _Prefixes(prefixes, rows))


@dataclass(frozen=True)
class _Part:
    """What one configuration calls at a place: a module of its own, or the backbone's with hooks of its own."""

    module: nn.Module
    hooks: Here | None

    def __call__(self, bare: Here, *args: Any, **kwargs: Any) -> Any:
        if self.hooks is None:
            return self.module(*args, **kwargs)
        for before in _added(self.hooks.before, bare.before):
            before(self.module, args)
        output = self.module(*args, **kwargs)
        for after in _added(self.hooks.after, bare.after):
            changed = after(self.module, args, output)
            output = output if changed is None else changed
        return output


class _Routed(nn.Module):
    """A module of the backbone, or what each configuration has in its place, for its own rows."""

    def __init__(self, bare: nn.Module, here: Here, parts: Sequence[_Part], rows: Rows) -> None:
        super().__init__()
        self.bare = bare
        self._here = here
        self._parts = parts
        self._rows = rows
        self._low_rank = _low_rank(bare, here, parts)

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        """As the backbone's module."""
        if self._low_rank is not None and len(args) == 1 and not kwargs:
            self._rows.parts(args[0])
            y: torch.Tensor = self.bare(*args)
            return y + self._low_rank(args[0]).view_as(y)
        split = [self._rows.parts(arg) for arg in args]
        named = {name: self._rows.parts(value) for name, value in kwargs.items()}
        outputs = [
            part(self._here, *(each[i] for each in split), **{name: each[i] for name, each in named.items()})
            for i, part in enumerate(self._parts)
        ]
        return torch.cat(outputs)

    def __getattr__(self, name: str) -> Any:
        # Models look at their own linear maps: at a weight's type, at `in_features`.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.bare, name)


class _LowRank:
    """The LoRA of all configurations at a linear map, in two batched products."""

    def __init__(self, layers: Sequence[LoraLinear | None], inputs: int, outputs: int) -> None:
        self._layers = layers
        self._sizes = inputs, outputs
        self._rank = max(layer.r["default"] for layer in layers if layer is not None)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(K b, ..., inputs) to (K, b ..., outputs)."""
        inputs, outputs = self._sizes
        downs, ups = [], []
        for layer in self._layers:
            if layer is None:
                downs.append(x.new_zeros(self._rank, inputs))
                ups.append(x.new_zeros(outputs, self._rank))
                continue
            down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            lacks = self._rank - len(down)
            downs.append(functional.pad(down, (0, 0, 0, lacks)))
            ups.append(functional.pad(up * layer.scaling["default"], (0, lacks)))
        own = x.reshape(len(self._layers), -1, inputs)
        inside = torch.bmm(own, torch.stack(downs).transpose(1, 2))
        return torch.bmm(inside, torch.stack(ups).transpose(1, 2))


def _low_rank(bare: nn.Module, here: Here, parts: Sequence[_Part]) -> _LowRank | None:
    """All parts at once, where each is plain LoRA or nothing at all; else None."""
    layers: list[LoraLinear | None] = []
    for part in parts:
        if part.module is bare:
            if part.hooks is not None and (
                part.hooks.before != here.before or part.hooks.after != here.after
            ):
                return None
            layers.append(None)
        elif type(part.module) is LoraLinear and _is_plain(part.module, bare):
            layers.append(part.module)
        else:
            return None
    if not isinstance(bare, nn.Linear) or not any(layers):
        return None
    return _LowRank(layers, bare.in_features, bare.out_features)


def _is_plain(layer: LoraLinear, bare: nn.Module) -> bool:
    return (
        layer.base_layer is bare
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
        and not layer.use_dora["default"]
        and not layer.lora_variant
        and not layer.lora_bias["default"]
        and not layer.merged
        and not (layer.training and isinstance(layer.lora_dropout["default"], nn.Dropout))
    )


def _hook(module: nn.Module, bare: Here, theirs: Sequence[Here], rows: Rows) -> None:
    before = [_added(their.before, bare.before) for their in theirs]
    after = [_added(their.after, bare.after) for their in theirs]

    def prepare(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        split = [rows.parts_if_any(arg) for arg in args]
        for i, hooks in enumerate(before):
            for hook in hooks:
                hook(module, tuple(each[i] for each in split))

    def change(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        split = [rows.parts_if_any(arg) for arg in args]
        outputs = []
        for i, (hooks, part) in enumerate(zip(after, rows.parts(output), strict=True)):
            for hook in hooks:
                changed = hook(module, tuple(each[i] for each in split), part)
                part = part if changed is None else changed
            outputs.append(part)
        return torch.cat(outputs)

    if any(before):
        module.register_forward_pre_hook(prepare)
    if any(after):
        module.register_forward_hook(change)


def _added(theirs: dict[int, Any], bare: dict[int, Any]) -> list[Any]:
    return [hook for number, hook in theirs.items() if number not in bare]


class _Prefixes:
    """Prefixes of an attention layer, each for its own rows; nothing for those without one."""

    def __init__(self, prefixes: Sequence[Any], rows: Rows) -> None:
        self._prefixes = prefixes
        self._rows = rows

    def __call__(self, query: torch.Tensor, key_heads: int, scaling: float) -> torch.Tensor:
        """As `autopeft.adapters.prefix.Prefix`."""
        parts = []
        for prefix, part in zip(self._prefixes, self._rows.parts(query), strict=True):
            if prefix is None:
                parts.append(part.new_zeros(part.shape[0], part.shape[2], part.shape[1], part.shape[3]))
            else:
                parts.append(prefix(part, key_heads, scaling))
        return torch.cat(parts)
