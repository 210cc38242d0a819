import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autopeft.train.loop import accumulate, rate_factor, train_epoch


@given(st.integers(1, 2_000), st.floats(0, 0.9))
def test_the_rate_rises_and_falls_inside_0_and_1(steps: int, warmup: float) -> None:
    factors = [rate_factor(step, steps, warmup) for step in range(steps)]
    assert all(0 < f <= 1 for f in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert rate_factor(steps, steps, warmup) == pytest.approx(0, abs=1e-12) or steps == 1


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> object:
        return type("Output", (), {"logits": self.linear(x)})


def test_an_epoch_is_what_plain_torch_does() -> None:
    torch.manual_seed(0)
    model, plain = _Model(), _Model()
    plain.load_state_dict(model.state_dict())
    batches = [{"x": torch.randn(4, 3), "labels": torch.randint(0, 2, (4,))} for _ in range(5)]
    optimizers = [torch.optim.AdamW(m.parameters(), lr=0.1) for m in (model, plain)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizers[0], lambda step: 1.0)
    gradients = functools.partial(accumulate, model, nn.functional.cross_entropy)
    loss = train_epoch(optimizers[0], schedule, batches, gradients, 1.0)
    losses = []
    for batch in batches:
        value = nn.functional.cross_entropy(plain.linear(batch["x"]), batch["labels"])
        optimizers[1].zero_grad()
        value.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in plain.parameters() if p.grad is not None))
        for p in plain.parameters():
            assert p.grad is not None
            p.grad *= min(1.0, 1.0 / norm)
        optimizers[1].step()
        losses.append(float(value.detach()))
    assert loss == pytest.approx(sum(losses) / 5, rel=1e-5)
    assert torch.allclose(model.linear.weight, plain.linear.weight, atol=1e-5)


def test_a_penalty_is_trained_on_but_not_reported() -> None:
    torch.manual_seed(0)
    model, other = _Model(), _Model()
    other.load_state_dict(model.state_dict())
    batches = [{"x": torch.randn(4, 3), "labels": torch.randint(0, 2, (4,))} for _ in range(3)]
    found = []
    for one, weight in ((model, 0.0), (other, 100.0)):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        seen: list[tuple[int, bool]] = []

        def after(step: int, one: _Model = one, seen: list[tuple[int, bool]] = seen) -> None:
            seen.append((step, one.linear.weight.grad is not None))

        def penalty(one: _Model = one, weight: float = weight) -> torch.Tensor:
            return weight * one.linear.weight.square().sum()

        for epoch in range(2):
            gradients = functools.partial(accumulate, one, nn.functional.cross_entropy)
            loss = train_epoch(optimizer, schedule, batches, gradients, 1e9, penalty, after)
            found.append(loss)
            assert seen == [(step, True) for step in range(1, 3 * epoch + 4)]
    assert found[0] < 10
    assert found[2] > found[0]  # a step of 10 times the weights away
    assert other.linear.weight.abs().max() > model.linear.weight.abs().max()


@pytest.mark.parametrize("rows", [1, 3, 4, 7])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(rows: int) -> None:
    torch.manual_seed(0)
    model, other = _Model(), _Model()
    other.load_state_dict(model.state_dict())
    batch = {"x": torch.randn(7, 3), "labels": torch.randint(0, 2, (7,))}
    whole = accumulate(model, nn.functional.cross_entropy, batch)
    parts = accumulate(other, nn.functional.cross_entropy, batch, rows)
    assert float(parts) == pytest.approx(float(whole), rel=1e-6)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        assert torch.allclose(one.grad, two.grad, atol=1e-7)
