"""What bottlenecks and prefixes compute, against formulas written out by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from autopeft.adapters.bottleneck import Bottleneck, put_parallel, put_serial
from autopeft.adapters.prefix import Prefix

torch.set_num_threads(1)


def randomise(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": lambda x: x * (x > 0),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_bottleneck(activation: str) -> None:
    bottleneck = Bottleneck(6, 3, 5, activation, 4.0)
    x = torch.randn(2, 7, 6)
    assert torch.equal(bottleneck(x), torch.zeros(2, 7, 5))
    randomise(bottleneck)
    down, up = bottleneck.down, bottleneck.up
    inner = ACTIVATIONS[activation](x @ down.weight.T + down.bias)
    torch.testing.assert_close(bottleneck(x), 4 * (inner @ up.weight.T + up.bias))


class Block(nn.Module):
    """Two maps; the sizes of all three widths differ."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 8)
        self.down = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.down(torch.tanh(self.up(x)))
        return y


def serial(model: nn.Module, last: str = "down", width: int = 3) -> tuple[nn.Module, Callable[[], None]]:
    return put_serial(model, last=last, outputs=5, width=width, activation="silu", scaling=1.0)


def parallel(model: nn.Module, first: str = "up", last: str = "down") -> tuple[nn.Module, Callable[[], None]]:
    made = put_parallel(
        model, first=first, last=last, inputs=6, outputs=5, width=3, activation="gelu", scaling=0.5
    )
    randomise(made[0])
    return made


def test_serial_and_parallel() -> None:
    """Serial: y + b(y). Parallel: f(x) + b(x). Both: the parallel one is beside block and serial adapter."""
    block = Block()
    x = torch.randn(2, 6)
    y = block(x)
    after, after_off = serial(block)
    randomise(after)
    torch.testing.assert_close(block(x), y + after(y))
    beside, beside_off = parallel(block)
    torch.testing.assert_close(block(x), y + after(y) + beside(x))
    after_off()
    torch.testing.assert_close(block(x), y + beside(x))
    beside_off()
    assert torch.equal(block(x), y)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in block.modules())


def test_the_block_is_read_where_it_begins() -> None:
    """A first map that is called again inside the block, as DeBERTa's is with its positions."""

    class Twice(Block):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.down(self.up(x) + self.up(torch.ones(2, 6)))
            return y

    block = Twice()
    x = torch.randn(2, 6)
    y = block(x)
    beside, _ = parallel(block)
    for _ in range(2):
        torch.testing.assert_close(block(x), y + beside(x))


def test_a_pass_that_was_cut_off_leaves_nothing_behind() -> None:
    block = Block()
    x, other = torch.randn(2, 6), torch.randn(2, 6)
    y = block(x)
    beside, _ = parallel(block)
    handle = block.up.register_forward_hook(lambda *args: (_ for _ in ()).throw(KeyError))
    with pytest.raises(KeyError):
        block(other)
    handle.remove()
    torch.testing.assert_close(block(x), y + beside(x))


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_under_checkpointing_are_the_same(reentrant: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(
                [nn.Sequential(), nn.ModuleDict({"up": nn.Linear(6, 8), "down": nn.Linear(8, 5)})]
            )
            self.checkpointed = False

        def block(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.layers[1]["down"](torch.tanh(self.layers[1]["up"](x)))  # type: ignore[index]
            return y

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.checkpointed:
                return self.block(x).square().sum()
            y: torch.Tensor = checkpoint(self.block, x, use_reentrant=reentrant)
            return y.square().sum()

    model = Model()
    beside, _ = parallel(model, "layers.1.up", "layers.1.down")
    after, _ = serial(model, "layers.1.down")
    randomise(after)
    found, start = [], torch.randn(9, 6)
    for model.checkpointed in (False, True, False):
        x = start.clone().requires_grad_(True)
        model(x).backward()
        modules = [p for m in (beside, after) for p in m.parameters()]
        found.append([x.grad, *[p.grad for p in modules]])
        for p in modules:
            p.grad = None
    for plain, checkpointed, again in zip(*found, strict=True):
        assert plain.abs().sum() > 0
        torch.testing.assert_close(plain, checkpointed)
        torch.testing.assert_close(plain, again)


def test_a_block_that_puts_all_tokens_in_one_row() -> None:
    class Flat(Block):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down(self.up(x).flatten(0, 1)).view(*x.shape[:2], -1)

    block = Flat()
    x = torch.randn(2, 3, 6)
    y = block(x)
    beside, _ = parallel(block)
    torch.testing.assert_close(block(x), y + beside(x))


@pytest.mark.parametrize("change", [lambda y: y.transpose(0, 1), lambda y: y[:, :1], lambda y: y.mean(0)])
def test_a_block_that_moves_tokens_cannot_have_anything_beside_it(
    change: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    class Moving(Block):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.down(change(self.up(x)))
            return y

    block = Moving()
    parallel(block)
    with pytest.raises(
        ValueError, match=r"from 'up' to 'down' turns the shape \(2, 3\) into .*use position: serial"
    ):
        block(torch.randn(2, 3, 6))


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
