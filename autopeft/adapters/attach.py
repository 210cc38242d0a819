"""One small layer that puts modules on a backbone and takes them off again, whoever wrote them."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autopeft.adapters.bottleneck import Bottleneck, attach_parallel, attach_serial
from autopeft.adapters.prefix import Prefix, attach_prefix
from autopeft.backbones import Layout
from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Module

OWN = "autopeft_modules"  # the submodule of the model that holds our modules while they are on


@dataclass
class Attached:
    """Modules that are on a model.

    Attributes:
        model: The model; its forward pass goes through the modules.
        own: Our modules by name, such as `layer3_serial`.
        peft: peft's wrapper where the configuration has a LoRA, else None.
    """

    model: PreTrainedModel
    own: nn.ModuleDict
    peft: PeftModel | None
    _undo: list[Callable[[], None]]
    _heads: dict[str, nn.Module]

    def module_parameters(self) -> list[nn.Parameter]:
        """The modules' parameters, without the head."""
        lora = [p for name, p in self.model.named_parameters() if "lora_" in name]
        return [*lora, *self.own.parameters()]

    def trainable(self) -> list[nn.Parameter]:
        """All that is trained: the modules' parameters and the head's."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def head_state(self) -> dict[str, "nn.Parameter"]:
        """The head's tensors by path, as they are trained."""
        state = {}
        for path in self._heads:
            module = self.model.get_submodule(path)
            for name, tensor in _trained_copy(module).state_dict().items():
                state[f"{path}.{name}"] = tensor
        return state

    def detach(self) -> None:
        """Take every module off: the backbone is what it was, all of it frozen. The head keeps its start."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        if hasattr(self.model, OWN):
            delattr(self.model, OWN)
        if self.peft is not None:
            self.peft.unload()
        for path, head in self._heads.items():
            _replace(self.model, path, head)
        self.model.requires_grad_(False)


def head_roots(head: Sequence[str], body: str) -> tuple[str, ...]:
    """The outermost modules of a head: `classifier` for `classifier.dense`, full paths inside the backbone.

    >>> head_roots(["classifier.dense", "classifier.out_proj", "bert.pooler.dense"], "bert")
    ('bert.pooler.dense', 'classifier')
    """
    return tuple(sorted({path if path.startswith(f"{body}.") else path.split(".")[0] for path in head}))


def attach(
    model: PreTrainedModel,
    layout: Layout,
    head: Sequence[str],
    configuration: Configuration,
    *,
    text: bool = True,
) -> Attached:
    """Put a configuration's modules on a frozen model, identity before training, and unfreeze its head.

    Fresh weights come from torch's global generator, LoRA's first, then the configuration's order: seed it before.

    Args:
        model: A model without modules.
        layout: Where its sites are.
        head: Paths of the head's modules.
        configuration: What to put on.
        text: Whether the task is sequence classification, which peft has a name for.

    >>> attached = attach(model, layout, head, configuration)           # doctest: +SKIP
    >>> sum(p.numel() for p in attached.module_parameters())            # doctest: +SKIP
    1734
    """
    roots = head_roots(head, model.base_model_prefix)
    heads = {path: model.get_submodule(path) for path in roots}
    attached = Attached(model, nn.ModuleDict(), None, [], heads)
    loras = [m for m in configuration.modules if m.type == "lora"]
    if len(loras) > 1:
        raise ValueError("a configuration has at most one LoRA module")
    if loras:
        attached.peft = _attach_lora(model, lora_config(model, loras[0], layout, roots, text=text))
    try:
        for module in configuration.modules:
            if module.type != "lora":
                for layer in module.layers:
                    _attach_own(attached, layout, module, layer)
        model.add_module(OWN, attached.own.to(device=model.device, dtype=model.dtype))
        if attached.peft is None:
            for path, module in heads.items():  # a copy, as peft does it: the original keeps its start
                _replace(model, path, copy.deepcopy(module).requires_grad_(True))
        built = sum(p.numel() for p in attached.module_parameters())
        expected = trainable_parameters(configuration, layout.shape)
        if built != expected:
            raise AssertionError(f"built {built} trainable parameters where the cost table says {expected}")
    except BaseException:
        attached.detach()  # a model is never left with half a configuration on it
        raise
    return attached


def _attach_lora(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5 by the old name; a person who runs a search can do nothing about it.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


def lora_config(
    model: PreTrainedModel, module: Module, layout: Layout, head: Sequence[str], *, text: bool
) -> LoraConfig:
    """peft's own configuration of a LoRA module: each target by its full path, so that nothing else matches."""
    targets = [layout.layers[layer].sites[site] for layer in module.layers for site in module.option("sites")]
    alpha = module.option("alpha")
    return LoraConfig(
        r=module.size,
        lora_alpha=int(alpha) if float(alpha).is_integer() else alpha,
        target_modules=targets,
        modules_to_save=list(head),
        fan_in_fan_out=all(isinstance(model.get_submodule(path), Conv1D) for path in targets),
        task_type=TaskType.SEQ_CLS if text else None,
    )


def _attach_own(attached: Attached, layout: Layout, module: Module, layer: int) -> None:
    where, shape = layout.layers[layer], layout.shape
    model = attached.model
    if module.type == "prefix":
        prefix = Prefix(module.size, shape.layers[layer].prefix_width)
        attached.own[f"layer{layer}_prefix"] = prefix
        attached._undo.append(attach_prefix(prefix, model, model.get_submodule(where.attention)))
        return
    bottleneck = Bottleneck(shape.hidden, module.size)
    position = module.option("position")
    attached.own[f"layer{layer}_{position}"] = bottleneck
    last = model.get_submodule(where.sites["down"])
    if position == "serial":
        handles = attach_serial(bottleneck, last)
    else:
        first = model.get_submodule(where.sites["up"])
        handles = attach_parallel(bottleneck, first, last)
    attached._undo.extend(handle.remove for handle in handles)


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def _trained_copy(module: nn.Module) -> nn.Module:
    # peft keeps a trained copy of each module in `modules_to_save` beside the original.
    copies = getattr(module, "modules_to_save", None)
    if isinstance(copies, nn.ModuleDict):
        copy = copies["default"]
        assert isinstance(copy, nn.Module)
        return copy
    return module
