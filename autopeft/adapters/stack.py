"""Several adapters of peft on one model at once, each as if it were alone there.

peft puts adapters of one type on a model. Here each is made on the bare model, and the layers that it made are then
put into one another: at a linear map that two adapters share, the later one takes the place of the first one's
`base_layer`. While one is saved or allocates its ranks, the others are out of the way, so that it sees, and writes,
what it would without them. On torch and peft alone: a training script has the source of this class.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import AdaLoraModel, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn


@dataclass
class Adapter:
    """One adapter of peft.

    Attributes:
        wrapper: peft's wrapper around the model.
        layers: Its layers, by the path of the module that each is around.
        heads: Its wrappers of the head's modules, by path; all adapters hold the same trained modules.
        innermost: Whether it multiplies with a weight itself, so that no other adapter may be inside of it.
        residuals: Weights that it took a part out of: the parameter, its own tensor, what is left of it.
        start: Its tensors before training, by their names in the wrapper; only where it has residuals.
    """

    wrapper: PeftModel
    layers: dict[str, Any]
    heads: dict[str, Any]
    innermost: bool
    residuals: list[tuple[nn.Parameter, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    start: dict[str, torch.Tensor] = field(default_factory=dict)

    def parameters(self) -> list[nn.Parameter]:
        """What it trains, the head not among it."""
        found: dict[int, nn.Parameter] = {}
        for layer in self.layers.values():
            for name, parameter in layer.named_parameters():
                if parameter.requires_grad and not name.startswith("base_layer."):
                    found[id(parameter)] = parameter
        if not self.layers:
            found |= {id(p): p for p in self.wrapper.prompt_encoder.parameters()}
        return list(found.values())


class Stack:
    """The adapters that are on a model, in the order in which they came.

    >>> stack = Stack(model)                                                    # doctest: +SKIP
    >>> stack.add(lambda: get_peft_model(model, LoraConfig(...)))               # doctest: +SKIP
    >>> stack.take_off()                                                        # doctest: +SKIP
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.adapters: list[Adapter] = []
        self._training = model.training
        self._children = [(module, dict(module._modules)) for module in model.modules()]
        self._attributes = [(module, set(module.__dict__)) for module in model.modules()]
        self._hooks = [
            (hooks, dict(hooks))
            for module in model.modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]
        self._bare: dict[str, nn.Module] = {}

    def add(
        self, make: Callable[[], PeftModel], *, innermost: bool = False, residual: Sequence[str] = ()
    ) -> Adapter:
        """Put an adapter on.

        Args:
            make: Wraps the model, which is bare then.
            innermost: See `Adapter`.
            residual: Paths of linear maps whose weights `make` changes.
        """
        self._show([])
        linears = [self.model.get_submodule(path) for path in residual]
        weights = [w for linear in linears if isinstance(w := linear.weight, nn.Parameter)]
        before = [(weight, weight.data, weight.data.clone()) for weight in weights]
        try:
            wrapper = make()
        finally:
            residuals = [
                (weight, own, weight.data.clone())
                for weight, own, copied in before
                if not torch.equal(weight.data, copied)
            ]
            for weight, own, copied in before:
                weight.data = own.copy_(copied)
        wrapper.train(self._training)  # peft makes layers in training mode, and EVA leaves the model in it
        if "peft_config" in self.model.__dict__:
            del self.model.peft_config  # or the next adapter would be taken for one more of this one
        layers = {n: m for n, m in self.model.named_modules() if isinstance(m, BaseTunerLayer)}
        heads = {n: m for n, m in self.model.named_modules() if isinstance(m, ModulesToSaveWrapper)}
        adapter = Adapter(wrapper, layers, heads, innermost, residuals)
        for path, head in heads.items():
            if self.adapters:
                head.modules_to_save["default"] = self.adapters[0].heads[path].modules_to_save["default"]
        self._bare |= {path: layer.base_layer for path, layer in layers.items()}
        self._bare |= {path: head.original_module for path, head in heads.items()}
        if residuals:
            factors = [(n, p) for n, p in wrapper.named_parameters() if ".lora_A." in n or ".lora_B." in n]
            adapter.start = {name: factor.detach().clone() for name, factor in factors}
        self.adapters.append(adapter)
        self._show(self.adapters)
        return adapter

    @contextlib.contextmanager
    def alone(self, adapter: Adapter) -> Iterator[None]:
        """Inside, the model is as if this were its only adapter."""
        if len(self.adapters) == 1:
            yield
            return
        self._show([adapter])
        try:
            yield
        finally:
            self._show(self.adapters)

    @property
    def runner(self) -> nn.Module:
        """What takes a batch: the model, or peft's wrapper where an adapter puts tokens before the input."""
        return next((a.wrapper for a in self.adapters if not a.layers), self.model)

    def parameters(self) -> list[nn.Parameter]:
        """What the adapters train, the head not among it."""
        return [parameter for adapter in self.adapters for parameter in adapter.parameters()]

    def after_step(self, step: int) -> None:
        """Let AdaLoRA prune ranks: after an optimiser step, numbered from 1, while gradients are still there."""
        for adapter in self.adalora():
            with self.alone(adapter):
                adapter.wrapper.base_model.update_and_allocate(step)

    def penalty(self) -> torch.Tensor | None:
        """AdaLoRA's loss for factors that are not orthogonal, which peft adds only where the model has the labels.

        Zhang et al. 2023, equation 4: the mean of ‖A Aᵀ - I‖ and ‖Bᵀ B - I‖ over all factors, times its weight.
        """
        total = None
        for adapter in self.adalora():
            layers = adapter.layers.values()
            factors = [f for layer in layers for f in (layer.lora_A["default"], layer.lora_B["default"].T)]
            loss = adapter.wrapper.peft_config["default"].orth_reg_weight * self.unorthogonal(factors)
            total = loss if total is None else total + loss
        return total

    @staticmethod
    def unorthogonal(factors: Sequence[torch.Tensor]) -> torch.Tensor:
        """How far the rows of matrices are from orthonormal: the mean of ‖F Fᵀ - I‖."""
        products = [factor @ factor.T for factor in factors]
        return torch.stack([torch.linalg.norm(p - torch.eye(len(p)).to(p)) for p in products]).mean()

    def take_off(self) -> None:
        """Leave the model as it was before the first adapter: modules, weights, attributes, hooks."""
        for adapter in self.adapters:
            for weight, own, _ in adapter.residuals:
                weight.data = own
        self.adapters.clear()
        for module, children in self._children:
            module._modules.clear()
            module._modules.update(children)
        for module, names in self._attributes:
            for name in set(module.__dict__) - names:
                del module.__dict__[name]
        for hooks, own_hooks in self._hooks:
            hooks.clear()
            hooks.update(own_hooks)

    def adalora(self) -> list[Adapter]:
        """The adapters that are AdaLoRA."""
        return [a for a in self.adapters if isinstance(a.wrapper.base_model, AdaLoraModel)]

    def _show(self, shown: Sequence[Adapter]) -> None:
        for path, module in self._bare.items():
            here = [a for a in reversed(shown) if path in a.layers]  # from the inside out
            for adapter in [*(a for a in here if a.innermost), *(a for a in here if not a.innermost)]:
                layer = adapter.layers[path]
                layer.base_layer = module
                module = layer
            module = next((a.heads[path] for a in shown if path in a.heads), module)
            parent, _, name = path.rpartition(".")
            self.model.get_submodule(parent)._modules[name] = module
        for adapter in self.adapters:
            on = any(adapter is a for a in shown)
            for weight, own, left in adapter.residuals:
                weight.data = left if on else own
