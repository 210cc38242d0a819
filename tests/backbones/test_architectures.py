"""Every architecture: its sites are found, and modules go on, train and come off without a trace."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from autopeft.adapters import attach
from autopeft.backbones import Backbone, load_backbone
from autopeft.dsl import trainable_parameters
from autopeft.errors import BackboneError
from autopeft.nouns import Configuration, Module

from .architectures import ARCHITECTURES, Architecture, inputs, save

torch.set_num_threads(1)
SERVED = [a for a in ARCHITECTURES if a.sites]
REFUSED = [a for a in ARCHITECTURES if not a.sites]


def load(architecture: Architecture, folder: Path) -> Backbone:
    path = save(architecture, folder)
    return load_backbone(path, modality=architecture.modality, num_labels=3, regression=False)


def logits(backbone: Backbone, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    backbone.model.eval()
    with torch.no_grad():
        found: torch.Tensor = backbone.model(**batch).logits
    return found


def state(backbone: Backbone) -> tuple[str, list[str], list[str], set[bool]]:
    """Everything that modules could leave behind: weights, names of modules, hooks, what is trained."""
    digest = hashlib.sha256()
    for name, tensor in backbone.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    names = [f"{name} {type(module).__name__}" for name, module in backbone.model.named_modules()]
    hooks = [name for name, m in backbone.model.named_modules() if m._forward_hooks or m._forward_pre_hooks]
    return digest.hexdigest(), names, hooks, {p.requires_grad for p in backbone.model.parameters()}


@pytest.mark.parametrize("architecture", SERVED, ids=lambda a: a.name)
def test_layout(architecture: Architecture, tmp_path: Path) -> None:
    backbone = load(architecture, tmp_path)
    shape = backbone.layout.shape
    assert " ".join(shape.sites) == architecture.sites
    assert len(shape.layers) == architecture.layers
    assert {layer.prefix_width for layer in shape.layers} == {architecture.prefix}
    assert (shape.hidden, shape.heads) == (16, 4)
    assert shape.intermediate == (backbone.layout.shape.layers[0].linears["down"][0])
    assert backbone.head == architecture.head
    assert not any(p.requires_grad for p in backbone.model.parameters())
    head = {id(p) for path in backbone.head for p in backbone.model.get_submodule(path).parameters()}
    assert shape.parameters == sum(p.numel() for p in backbone.model.parameters() if id(p) not in head)


@pytest.mark.parametrize("architecture", SERVED, ids=lambda a: a.name)
@pytest.mark.parametrize("kind", ["mixture", "lora"])
def test_on_trained_and_off_again(architecture: Architecture, kind: str, tmp_path: Path) -> None:
    backbone = load(architecture, tmp_path)
    batch, layers = inputs(architecture), tuple(range(architecture.layers))
    modules = [
        Module("bottleneck", 24, layers, (("position", "serial"),)),
        Module("bottleneck", 20, layers, (("position", "parallel"),)),
    ]
    if architecture.prefix:
        modules.append(Module("prefix", 3, layers))
    if kind == "lora":
        modules = [Module("lora", 2, layers, (("alpha", 4), ("sites", backbone.layout.shape.sites)))]
    configuration = Configuration.of(modules, 1e-2)
    before, was = logits(backbone, batch), state(backbone)

    torch.manual_seed(0)
    attached = attach(
        backbone.model, backbone.layout, backbone.head, configuration, text=architecture.modality == "text"
    )
    assert (logits(backbone, batch) - before).abs().max() < 1e-6
    built = sum(p.numel() for p in attached.module_parameters())
    assert built == trainable_parameters(configuration, backbone.layout.shape)
    trained = {id(p) for p in attached.trainable()}
    assert trained == {id(p) for p in backbone.model.parameters() if p.requires_grad}
    assert {id(p) for p in attached.module_parameters()} <= trained

    optimizer = torch.optim.AdamW(attached.trainable(), lr=1e-2)
    backbone.model.train()
    for _ in range(
        2
    ):  # what multiplies something that starts at zero has its first gradient in the second step
        optimizer.zero_grad()
        functional.cross_entropy(backbone.model(**batch).logits, torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    for parameter in attached.module_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
    assert (logits(backbone, batch) - before).abs().max() > 1e-3

    attached.detach()
    assert state(backbone) == was
    assert torch.equal(logits(backbone, batch), before)


@pytest.mark.parametrize("architecture", REFUSED, ids=lambda a: a.name)
def test_what_cannot_be_served_is_refused_in_a_sentence(architecture: Architecture, tmp_path: Path) -> None:
    with pytest.raises(BackboneError) as raised:
        load(architecture, tmp_path)
    assert str(raised.value) == architecture.refused


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "OPT", "GPT-NeoX"])
def test_a_decoder_reads_a_padded_text_as_it_reads_it_alone(name: str, tmp_path: Path) -> None:
    """Pooling is at the last token that is no padding, with modules on and wherever the padding is."""
    architecture = next(a for a in ARCHITECTURES if a.name == name)
    backbone = load(architecture, tmp_path)
    layers = (0, 1)
    configuration = Configuration.of(
        [Module("prefix", 3, layers), Module("bottleneck", 8, layers, (("position", "parallel"),))], 1e-2
    )
    attached = attach(backbone.model, backbone.layout, backbone.head, configuration)
    with torch.no_grad():
        for parameter in attached.module_parameters():
            parameter.normal_()
    batch = inputs(architecture)
    alone = logits(backbone, {key: tensor[1:2, :6] for key, tensor in batch.items()})
    padded = logits(backbone, batch)[1:2]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)
