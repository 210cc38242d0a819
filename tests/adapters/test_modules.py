"""What modules compute, against formulas written out by hand."""

import math
from pathlib import Path

import pytest
import torch
from backbones.architectures import find, inputs, save
from torch import nn

from autopeft.adapters import Bottleneck, Prefix, attach
from autopeft.adapters.bottleneck import attach_parallel, attach_serial
from autopeft.backbones import load_backbone
from autopeft.nouns import Configuration, Module

torch.set_num_threads(1)


def randomise(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()


def test_a_bottleneck() -> None:
    bottleneck = Bottleneck(6, 3)
    x = torch.randn(2, 5, 6)
    assert torch.equal(bottleneck(x), torch.zeros_like(x))
    randomise(bottleneck)
    down, up = bottleneck.down, bottleneck.up
    inner = (x @ down.weight.T + down.bias).clamp_min(0)
    torch.testing.assert_close(bottleneck(x), inner @ up.weight.T + up.bias)


def test_serial_and_parallel() -> None:
    """Serial: y + b(y). Parallel: f(x) + b(x). Both: the parallel one is beside block and serial adapter."""
    block = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))
    x = torch.randn(2, 6)
    y = block(x)
    serial, parallel = Bottleneck(6, 3), Bottleneck(6, 3)
    randomise(serial)
    randomise(parallel)

    handles = attach_serial(serial, block[2])
    torch.testing.assert_close(block(x), y + serial(y))
    handles += attach_parallel(parallel, block[0], block[2])
    torch.testing.assert_close(block(x), y + serial(y) + parallel(x))
    for handle in handles:
        handle.remove()
    assert torch.equal(block(x), y)


@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_a_prefix_is_a_sum_over_its_own_softmax(key_heads: int) -> None:
    """Also where query heads share the heads of keys and values: head h uses key head h // (4 / key heads)."""
    length, size, batch, tokens = 3, 5, 2, 7
    prefix = Prefix(length, key_heads * size)
    query = torch.randn(batch, 4, tokens, size)
    assert torch.equal(prefix(query, key_heads, 0.3), torch.zeros(batch, tokens, 4, size))
    randomise(prefix)
    found = prefix(query, key_heads, 0.3)
    keys, values = prefix.keys.detach(), prefix.values.detach()
    for b, h, t in [(0, 0, 0), (1, 3, 6), (0, 2, 4), (1, 1, 1)]:
        part = slice((h // (4 // key_heads)) * size, (h // (4 // key_heads) + 1) * size)
        weights = [math.exp(0.3 * float(query[b, h, t] @ keys[p, part])) for p in range(length)]
        expected = sum(w / sum(weights) * values[p, part] for p, w in enumerate(weights))
        torch.testing.assert_close(found[b, t, h], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["BERT", "Llama", "ViT"])
def test_eager_and_sdpa_agree_with_padding(name: str, tmp_path: Path) -> None:
    architecture = find(name)
    path = save(architecture, tmp_path)
    batch, found = inputs(architecture), []
    for implementation in ("eager", "sdpa"):
        torch.manual_seed(0)
        backbone = load_backbone(path, modality=architecture.modality, num_labels=3, regression=False)
        backbone.model.set_attn_implementation(implementation)
        attached = attach(
            backbone.model,
            backbone.layout,
            backbone.head,
            Configuration.of([Module("prefix", 3, (0, 1))], 1e-2),
        )
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in attached.trainable():
                parameter.normal_()
            found.append(backbone.model(**batch).logits)
        assert backbone.model.config._attn_implementation == f"prefixed_{implementation}"
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def test_a_prefix_acts_in_its_layers_only(tmp_path: Path) -> None:
    """By hand for the first layer: the values' sum goes through the output projection."""
    architecture = find("BERT")
    path = save(architecture, tmp_path)
    backbone = load_backbone(path, modality="text", num_labels=3, regression=False)
    attention = backbone.model.get_submodule(backbone.layout.layers[0].attention)
    other = backbone.model.get_submodule(backbone.layout.layers[1].attention)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    handle = attention.register_forward_hook(lambda module, args, out: seen.append((args[0], out[0])))
    batch = inputs(architecture)
    with torch.no_grad():
        backbone.model(**batch)
        attached = attach(
            backbone.model,
            backbone.layout,
            backbone.head,
            Configuration.of([Module("prefix", 3, (0,))], 1e-2),
        )
        (prefix,) = attached.own.values()
        randomise(prefix)
        backbone.model(**batch)
    handle.remove()
    (x, without), (same, with_prefix) = seen
    assert torch.equal(x, same)
    query = attention.query(x).view(3, 10, 4, 4).transpose(1, 2)
    expected = without + prefix(query, 4, 0.5).reshape(3, 10, 16)
    torch.testing.assert_close(with_prefix, expected, atol=1e-5, rtol=1e-5)
    assert not hasattr(other, "prefix_of_autopeft")


@pytest.mark.parametrize("kind", ["lora", "prefix"])
def test_a_model_is_never_left_with_half_a_configuration(kind: str, tmp_path: Path) -> None:
    architecture = find("BERT")
    path = save(architecture, tmp_path)
    backbone = load_backbone(path, modality="text", num_labels=3, regression=False)
    names = [name for name, _ in backbone.model.named_modules()]
    broken = Module("bottleneck", 2, (0, 7), (("position", "serial"),))  # there is no layer 7
    first = (
        Module("prefix", 2, (0,))
        if kind == "prefix"
        else Module("lora", 2, (0,), (("alpha", 4), ("sites", ("q",))))
    )
    with pytest.raises(IndexError):
        attach(backbone.model, backbone.layout, backbone.head, Configuration.of([first, broken], 1e-2))
    assert [name for name, _ in backbone.model.named_modules()] == names
    assert not any(m._forward_hooks for m in backbone.model.modules())
    assert not any(p.requires_grad for p in backbone.model.parameters())
