"""Putting modules on a tiny backbone, training them, and taking them off without a trace."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from autopeft.adapters import attach
from autopeft.backbones import Backbone, load_backbone
from autopeft.backbones.layout import find_layout
from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Module

from .architectures import Architecture, save


def prepare(architecture: Architecture, folder: Path) -> Backbone:
    """The architecture's frozen model: loaded with a new head, or as it is where it has no classifier."""
    if architecture.model is None:
        path = save(architecture, folder)
        return load_backbone(path, modality=architecture.modality, num_labels=3, problem="classification")
    torch.manual_seed(0)
    model = architecture.model(architecture.config).requires_grad_(False).eval()
    layout = find_layout(model, sum(p.numel() for p in model.parameters()))
    return Backbone(model, layout, (), architecture.takes == "text")


def outputs(backbone: Backbone, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The logits, or the first tensor of a model without a classifier."""
    backbone.model.eval()
    with torch.no_grad():
        return _first(backbone.model(**batch))


def _first(answer: object) -> torch.Tensor:
    values = dict(answer)  # type: ignore[call-overload]
    found = values.get("logits", next(v for v in values.values() if isinstance(v, torch.Tensor)))
    assert isinstance(found, torch.Tensor)
    assert found.is_floating_point()
    return found


def state(backbone: Backbone) -> tuple[str, list[str], list[str], list[str], list[Any], set[bool]]:
    """Everything that modules could leave behind: weights, modules, hooks, attributes, settings, what is trained."""
    digest = hashlib.sha256()
    for name, tensor in backbone.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    names = [f"{name} {type(module).__name__}" for name, module in backbone.model.named_modules()]
    hooks = [name for name, m in backbone.model.named_modules() if m._forward_hooks or m._forward_pre_hooks]
    attributes = [f"{name} {sorted(vars(module))}" for name, module in backbone.model.named_modules()]
    settings = [
        (module.config.to_dict(), module.config._attn_implementation)
        for module in backbone.model.modules()
        if hasattr(module, "config")
    ]
    trained = {p.requires_grad for p in backbone.model.parameters()}
    return digest.hexdigest(), names, hooks, attributes, settings, trained


def on_trained_and_off_again(
    backbone: Backbone, batch: dict[str, torch.Tensor], modules: Sequence[Module], *, identity: bool = True
) -> None:
    """Fail unless modules are the identity at first, all of their parameters are trained, and none leaves a trace."""
    configuration = Configuration.of(modules, 1e-2)
    before, was = outputs(backbone, batch), state(backbone)
    classifies = bool(backbone.head)

    torch.manual_seed(0)
    attached = attach(
        backbone.model,
        backbone.layout,
        backbone.head,
        configuration,
        task_type=backbone.task_type if classifies else None,
    )
    with torch.no_grad():
        started = _first(attached.runner(**batch))
    if identity:
        torch.testing.assert_close(started, before, rtol=1e-5, atol=1e-6)
    built = sum(p.numel() for p in attached.module_parameters())
    assert built == trainable_parameters(configuration, backbone.layout.shape)
    assert {id(p) for p in attached.module_parameters()} <= {id(p) for p in attached.trainable()}

    optimizer = torch.optim.AdamW(attached.trainable(), lr=1e-2)
    # A random direction: a plain square is constant behind a norm.
    towards = torch.randn(before.shape, generator=torch.Generator().manual_seed(2))
    for _ in range(
        2
    ):  # what multiplies something that starts at zero has its first gradient in the second step
        optimizer.zero_grad()
        answer = _first(attached.runner(**batch))
        loss = (
            functional.cross_entropy(answer, torch.tensor([0, 1, 2]))
            if classifies
            else (answer * towards).mean()
        )
        loss.backward()
        optimizer.step()
    for parameter in attached.module_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
    with torch.no_grad():
        assert (_first(attached.runner(**batch)) - before).abs().max() > 1e-4

    attached.detach()
    assert state(backbone) == was
    assert torch.equal(outputs(backbone, batch), before)
