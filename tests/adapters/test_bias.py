"""Biases trained as differences from the pre-trained ones."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from autopeft.adapters.bias import BiasDelta, put_bias

torch.set_num_threads(1)


def model() -> nn.ModuleDict:
    made = nn.ModuleDict(
        {
            "linear": nn.Linear(5, 4),
            "conv": Conv1D(4, 5),
            "norm": nn.LayerNorm(5),
            "bare": nn.RMSNorm(5),
            "none": nn.LayerNorm(5, bias=False),
        }
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made.requires_grad_(False)


@pytest.mark.parametrize(("path", "size"), [("linear", 4), ("conv", 4), ("norm", 5)])
def test_it_is_the_module_with_a_changed_bias(path: str, size: int) -> None:
    modules = model()
    x = torch.randn(2, 3, 5)
    before = modules[path](x)
    delta, off = put_bias(modules, [path])
    assert isinstance(delta, BiasDelta)
    assert [p.numel() for p in delta.parameters()] == [size]
    assert torch.equal(modules[path](x), before)
    (change,) = delta.deltas
    nn.init.normal_(change)
    found = modules[path](x)
    off()
    assert torch.equal(modules[path](x), before)
    modules[path].bias += change.detach()
    torch.testing.assert_close(modules[path](x), found)
    assert not modules[path]._forward_hooks


def test_norms_without_a_bias_are_left_out() -> None:
    modules = model()
    delta, off = put_bias(modules, ["bare", "norm", "none", "linear"])
    assert [p.numel() for p in delta.parameters()] == [5, 4]
    with torch.no_grad():
        for number, parameter in enumerate(delta.parameters(), 1):
            parameter.fill_(number)
    x = torch.randn(3, 5)
    found = {name: modules[name](x) for name in modules}
    off()
    for name, by in {"bare": 0, "norm": 1, "none": 0, "linear": 2, "conv": 0}.items():
        torch.testing.assert_close(found[name], modules[name](x) + by)


def test_decay_pulls_towards_the_pre_trained_bias() -> None:
    modules = model()
    pre_trained = modules["linear"].bias.clone()
    delta, _ = put_bias(modules, ["linear"])
    optimizer = torch.optim.SGD(delta.parameters(), lr=0.5, weight_decay=1.0)
    (change,) = delta.parameters()
    nn.init.ones_(change)
    for _ in range(20):
        change.grad = torch.zeros_like(change)
        optimizer.step()
    assert change.abs().max() < 1e-5
    assert torch.equal(modules["linear"].bias, pre_trained)
