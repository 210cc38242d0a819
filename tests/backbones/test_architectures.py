"""Every architecture as it is expected to be read; `test_table.py` puts modules on them."""

from pathlib import Path

import pytest
import torch

from autopeft.adapters import attach
from autopeft.errors import BackboneError
from autopeft.nouns import Configuration, Module

from .architectures import ARCHITECTURES, Architecture, find, inputs
from .running import outputs, prepare

torch.set_num_threads(1)
SERVED = [a for a in ARCHITECTURES if a.sites]
REFUSED = [a for a in ARCHITECTURES if not a.sites]


@pytest.mark.parametrize("architecture", SERVED, ids=lambda a: a.name)
def test_layout(architecture: Architecture, tmp_path: Path) -> None:
    backbone = prepare(architecture, tmp_path)
    shape = backbone.layout.shape
    assert " ".join(shape.sites) == architecture.sites
    assert len(shape.layers) == len(backbone.layout.layers) == architecture.layers
    widths = {layer.places["attention"].prefix_width for layer in shape.layers if "attention" in layer.places}
    assert widths - {0} == set(architecture.prefix)
    assert (shape.hidden, shape.heads) == (16, architecture.heads)
    down = [layer.places["down"].inputs for layer in shape.layers if "down" in layer.places]
    assert shape.intermediate == max(down, default=0)
    assert backbone.head == architecture.head
    assert not any(p.requires_grad for p in backbone.model.parameters())
    head = {id(p) for path in backbone.head for p in backbone.model.get_submodule(path).parameters()}
    assert shape.parameters == sum(p.numel() for p in backbone.model.parameters() if id(p) not in head)


@pytest.mark.parametrize("architecture", REFUSED, ids=lambda a: a.name)
def test_what_cannot_be_served_is_refused_in_a_sentence(architecture: Architecture, tmp_path: Path) -> None:
    with pytest.raises(BackboneError) as raised:
        prepare(architecture, tmp_path)
    assert str(raised.value) == architecture.refused


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "OPT", "GPT-NeoX", "Jamba", "T5", "BART"])
def test_a_decoder_reads_a_padded_text_as_it_reads_it_alone(name: str, tmp_path: Path) -> None:
    """Pooling is at the last token that is no padding, with modules on and wherever the padding is."""
    architecture = find(name)
    backbone = prepare(architecture, tmp_path)
    layers = tuple(range(architecture.layers))
    modules = [
        Module("prefix", 3, layers, (("sites", ("attention",)),)),
        Module("bottleneck", 8, layers, (("position", "parallel"), ("sites", ("ffn",)))),
    ]
    attached = attach(backbone.model, backbone.layout, backbone.head, Configuration.of(modules, 1e-2))
    with torch.no_grad():
        for parameter in attached.module_parameters():
            parameter.normal_()
    batch = inputs(architecture)
    alone = outputs(backbone, {key: tensor[1:2, :6] for key, tensor in batch.items()})
    padded = outputs(backbone, batch)[1:2]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)
