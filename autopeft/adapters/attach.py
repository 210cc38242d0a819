"""One small layer that puts modules on a backbone and takes them off again, whoever wrote them."""

import contextlib
import copy
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.boft import layer as boft_layer
from peft.tuners.shira import layer as shira_layer
from peft.tuners.supertuning import layer as supertuning_layer
from torch import nn
from transformers import PreTrainedModel

from autopeft.adapters.data_init import corda_prepare, eva_init
from autopeft.adapters.own import Scores, attach_own, own_name
from autopeft.adapters.peft_methods import Planned, peft_configs
from autopeft.adapters.prompts import check_prompt
from autopeft.adapters.stack import Stack
from autopeft.backbones import Layout
from autopeft.dsl.cost import trainable_parameters
from autopeft.dsl.own_types import OWN_TYPES
from autopeft.dsl.peft_types import changes_base
from autopeft.errors import TrialError
from autopeft.nouns import Configuration

OWN = "autopeft_modules"  # the submodule of the model that holds our modules while they are on

Batches = Callable[[], Iterable[dict[str, torch.Tensor]]]
"""Begins anew a pass over training batches, without their labels."""

Make = Callable[[int, Planned], PeftModel]
"""Wraps the bare model for the adapter of a number."""


@dataclass
class Attached:
    """Modules that are on a model.

    Attributes:
        model: The model.
        own: Our modules by name, such as `layer3_ffn_bottleneck_16_relu_serial_1p0`.
        planned: peft's adapters, in the order in which they were put on.
        stack: The same on the model.
    """

    model: PreTrainedModel
    own: nn.ModuleDict
    planned: list[Planned]
    stack: Stack
    _undo: list[Callable[[], None]]
    _heads: tuple[str, ...]

    @property
    def runner(self) -> nn.Module:
        """What takes a batch: the model, or peft's wrapper around it where tokens go before the input."""
        return self.stack.runner

    def module_parameters(self) -> list[nn.Parameter]:
        """The modules' parameters, without the head."""
        return [*self.stack.parameters(), *self.own.parameters()]

    def trainable(self) -> list[nn.Parameter]:
        """All that is trained: the modules' parameters and the head's."""
        return [p for p in self.runner.parameters() if p.requires_grad]

    def rename(self, names: Mapping[str, str]) -> None:
        """Let our modules go by other names, as those of another configuration do; what has none is taken off.

        Args:
            names: The name that it has to the name that it is to have.
        """
        undo = dict(zip(self.own, self._undo, strict=True))
        modules = dict(self.own.items())
        self.own.clear()
        for name, module in modules.items():
            if name in names:
                self.own[names[name]] = module
            else:
                undo.pop(name)()
        self._undo = [*undo.values()]

    def head_state(self) -> dict[str, torch.Tensor]:
        """The head's tensors by path, as they are trained."""
        state = {}
        for path in self._heads:
            for name, tensor in trained_copy(self.model.get_submodule(path)).state_dict().items():
                state[f"{path}.{name}"] = tensor
        return state

    def load_head(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put in what `head_state` gave."""
        for path in self._heads:
            own = {
                name.removeprefix(f"{path}."): t for name, t in state.items() if name.startswith(f"{path}.")
            }
            trained_copy(self.model.get_submodule(path)).load_state_dict(own)

    def after_step(self, step: int) -> None:
        """What a module does after an optimiser step, numbered from 1, while gradients are still there."""
        self.stack.after_step(step)

    def penalty(self) -> torch.Tensor | None:
        """What the modules add to the loss; None where they add nothing."""
        return self.stack.penalty()

    def detach(self) -> None:
        """Take every module off: the model is what it was, all of it frozen. The head keeps its start."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self.stack.take_off()
        self.model.requires_grad_(False)
        for layer in (shira_layer, supertuning_layer):  # they would keep every layer that there ever was
            layer._warn_once_about_module_hooks.cache_clear()


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
    task_type: str | None = "SEQ_CLS",
    steps: int | None = None,
    batches: Batches | None = None,
    scores: Scores | None = None,
) -> Attached:
    """Put a configuration's modules on a frozen model, identity before training where they promise it; unfreeze its head.

    Fresh weights come from torch's global generator, peft's first, then ours in the configuration's order: seed it before.

    Args:
        model: A model without modules.
        layout: Where its sites are.
        head: Paths of the head's modules.
        configuration: What to put on.
        task_type: What peft calls the problem, such as `SEQ_CLS`; None where it has no name for it.
        steps: Optimiser steps in all: AdaLoRA's schedule hangs on them.
        batches: For initialisations that look at training data (EVA, CorDA).
        scores: For masks that look at scores.

    Raises:
        BackboneError: Modules that cannot be together at one place, or that this model cannot take.
        TrialError: An initialisation needs training data that are not there, or failed on them.

    >>> attached = attach(model, layout, head, configuration)           # doctest: +SKIP
    >>> sum(p.numel() for p in attached.module_parameters())            # doctest: +SKIP
    1734
    """

    def make(number: int, planned: Planned) -> PeftModel:
        init = getattr(planned.config, "init_lora_weights", None)
        if init not in ("eva", "corda"):
            return get_peft_model(model, planned.config)
        if batches is None:
            raise TrialError(f"init {init} looks at training data, and there are none here.")
        try:
            if init == "corda":
                corda_prepare(model, planned.config, batches)
            wrapper = get_peft_model(model, planned.config)
            if init == "eva":
                eva_init(wrapper, batches)
        except (ValueError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
            raise TrialError(f"init {init} failed on the training data: {error}") from None
        return wrapper

    attached = put_on(
        model, layout, head, configuration, make, task_type=task_type, steps=steps, scores=scores
    )
    built = sum(p.numel() for p in attached.module_parameters())
    expected = trainable_parameters(configuration, layout.shape)
    if built != expected:
        attached.detach()
        raise AssertionError(f"built {built} trainable parameters where the cost table says {expected}")
    return attached


def put_on(
    model: PreTrainedModel,
    layout: Layout,
    head: Sequence[str],
    configuration: Configuration,
    make: Make,
    *,
    task_type: str | None,
    steps: int | None = None,
    scores: Scores | None = None,
    saved: bool = False,
) -> Attached:
    """As `attach`, with peft's adapters from wherever `make` takes them, and no count.

    With `saved`, our own modules are put on to be loaded into: no mask is computed, so none needs scores.
    """
    roots = head_roots(head, model.base_model_prefix)
    attached = Attached(model, nn.ModuleDict(), [], Stack(model), [], roots)
    try:
        with quietly():
            attached.planned = peft_configs(model, layout, configuration.modules, roots, task_type, steps)
            if any(planned.type == "shira" for planned in attached.planned):
                torch.sparse.check_sparse_tensor_invariants.disable()  # as they are, but torch would say so
            for number, planned in enumerate(attached.planned):
                attached.stack.add(
                    functools.partial(make, number, planned),
                    innermost=planned.innermost,
                    residual=planned.paths if changes_base(planned.type, planned.options) else (),
                )
        for module in configuration.modules:
            if module.type in OWN_TYPES:
                for layer in module.layers:
                    for site in module.sites:
                        if layout.shape.place(layer, site) is not None:
                            own, undo = attach_own(model, layout, module, layer, site, scores, saved=saved)
                            attached.own[own_name(module, layer, site)] = own
                            attached._undo.append(undo)
        model.add_module(OWN, attached.own.to(model.device))  # float32, whatever the frozen weights are
        if not attached.planned:
            for path in roots:  # a copy, as peft does it: the original keeps its start
                _replace(model, path, copy.deepcopy(model.get_submodule(path)).requires_grad_(True))
        if attached.runner is not model:
            check_prompt(attached.runner, model)
    except BaseException:
        attached.detach()  # a model is never left with half a configuration on it
        raise
    return attached


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """peft without advice for a person who writes a configuration, and without a compiler."""
    kernel = boft_layer._FBD_CUDA
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"peft\.")
        # peft 0.21 asks transformers 5 by the old name; a person who runs a search can do nothing about it.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        # Or every layer of BOFT would try to compile a kernel, which one butterfly factor does not need.
        boft_layer._FBD_CUDA = kernel or False
        try:
            yield
        finally:
            boft_layer._FBD_CUDA = kernel


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def trained_copy(module: nn.Module) -> nn.Module:
    """A module of the head as it is trained: peft keeps a copy beside the original."""
    copies = getattr(module, "modules_to_save", None)
    if isinstance(copies, nn.ModuleDict):
        trained = copies["default"]
        assert isinstance(trained, nn.Module)
        return trained
    return module
