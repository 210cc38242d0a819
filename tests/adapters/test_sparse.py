"""Sparse deltas: what they compute, which entries they train, and that loading needs no mask."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from autopeft.adapters.sparse import SAVED, SparseDelta, largest, put_sparse

torch.set_num_threads(1)


def linear(transposed: bool, inputs: int = 6, outputs: int = 4) -> nn.Sequential:
    """A frozen map; `Conv1D` holds its weight as (inputs, outputs)."""
    torch.manual_seed(3)
    made = Conv1D(outputs, inputs) if transposed else nn.Linear(inputs, outputs)
    nn.init.normal_(made.weight)
    return nn.Sequential(made).requires_grad_(False)


def put(
    model: nn.Module, count: int, mask: str, scores: Callable[[str], torch.Tensor] | None = None
) -> tuple[SparseDelta, Callable[[], None]]:
    delta, off = put_sparse(model, "0", count, mask, isinstance(model[0], Conv1D), scores)  # type: ignore[index]
    assert isinstance(delta, SparseDelta)
    return delta, off


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("mask", ["magnitude", "random"])
def test_it_is_the_map_with_a_changed_weight(transposed: bool, mask: str) -> None:
    model = linear(transposed)
    x = torch.randn(2, 3, 6, requires_grad=True)
    before = model(x)
    delta, off = put(model, 7, mask)
    assert torch.equal(model(x), before)  # the identity before training
    nn.init.normal_(delta.values)
    changed = model[0].weight.clone()
    changed.view(-1).index_add_(0, delta.indices, delta.values.detach())
    assert int((changed != model[0].weight).sum()) == 7
    weight = changed if not transposed else changed.T
    torch.testing.assert_close(model(x), functional.linear(x, weight, model[0].bias))
    off()
    assert torch.equal(model(x), before)
    assert not model[0]._forward_hooks


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 3, 6)])
def test_gradients_are_those_of_a_dense_delta(transposed: bool, shape: tuple[int, ...]) -> None:
    model = linear(transposed).double()
    delta, _ = put(model, 9, "random")
    delta.double()
    nn.init.normal_(delta.values)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, values: delta_product(delta, x, values), (x, delta.values))
    model(x).square().sum().backward()
    dense = torch.zeros_like(model[0].weight).view(-1)
    dense[delta.indices.long()] = delta.values.detach()
    whole = (model[0].weight + dense.view_as(model[0].weight)).requires_grad_(True)
    other = x.detach().clone().requires_grad_(True)
    functional.linear(other, whole.T if transposed else whole, model[0].bias).square().sum().backward()
    torch.testing.assert_close(x.grad, other.grad)
    assert whole.grad is not None
    torch.testing.assert_close(delta.values.grad, whole.grad.reshape(-1)[delta.indices.long()])


def delta_product(delta: SparseDelta, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    # gradcheck changes the values that it is given: the product is to be a function of them.
    return torch.func.functional_call(delta, {"values": values}, (x,))


def test_nothing_dense_is_kept_for_the_backward_pass() -> None:
    model = nn.Sequential(nn.Linear(300, 200, bias=False)).requires_grad_(False)
    put(model, 10, "random")
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
        model(torch.randn(2, 300, requires_grad=True))
    own = [size for size in sizes if size != 300 * 200]
    assert sizes.count(300 * 200) <= 1  # the frozen weight itself
    assert max(own) <= 2 * 300


@pytest.mark.parametrize("transposed", [False, True])
def test_magnitude_takes_the_largest_weights(transposed: bool) -> None:
    model = linear(transposed)
    delta, _ = put(model, 5, "magnitude")
    order = sorted(range(24), key=lambda i: -abs(float(model[0].weight.reshape(-1)[i])))
    assert delta.indices.tolist() == sorted(order[:5])


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30).flatmap(
        lambda scores: st.tuples(st.just(scores), st.integers(1, len(scores)))
    )
)
def test_of_equal_scores_the_first_are_taken(case: tuple[list[int], int]) -> None:
    scores, count = case
    expected = sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count])
    assert largest(torch.tensor(scores, dtype=torch.float32), count).tolist() == expected


def test_random_is_of_the_seed() -> None:
    model, found = linear(False), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(put(model, 8, "random")[0].indices.tolist())
    assert found[0] == found[1] != found[2]
    assert len(set(found[0])) == 8
    assert found[0] == sorted(found[0])


def test_sensitivity_takes_what_has_the_largest_scores() -> None:
    model = linear(True)
    scores = torch.zeros(6, 4)
    scores[5, 3], scores[0, 2] = 2.0, 1.0
    asked: list[str] = []

    def scores_of(path: str) -> torch.Tensor:
        asked.append(path)
        return scores

    delta, _ = put(model, 2, "sensitivity", scores_of)
    assert delta.indices.tolist() == [2, 23]
    assert asked == ["0"]
    with pytest.raises(ValueError, match="no mask 'sensitivity' without scores"):
        put(linear(False), 2, "sensitivity")


def test_indices_are_saved_and_short() -> None:
    saved = put(linear(False), 6, "magnitude")[0]
    nn.init.normal_(saved.values)
    state = saved.state_dict()
    assert {name: (t.dtype, t.numel()) for name, t in state.items()} == {
        "values": (torch.float32, 6),
        "indices": (torch.int32, 6),
    }
    loaded, _ = put(linear(False), 6, SAVED)
    loaded.load_state_dict(state)
    x = torch.randn(3, 6)
    assert torch.equal(loaded(x), saved(x))
    assert loaded.half().indices.dtype is torch.int32


@pytest.mark.parametrize("count", [1, 24])
def test_one_entry_and_all_of_them(count: int) -> None:
    for mask in ("magnitude", "random"):
        delta, _ = put(linear(False), count, mask)
        assert sum(p.numel() for p in delta.parameters()) == count
        nn.init.ones_(delta.values)
        assert int(delta.dense(delta.values).sum()) == count


def test_training_moves_the_named_entries_only() -> None:
    model = linear(False)
    delta, _ = put(model, 4, "magnitude")
    weight = model[0].weight.clone()
    optimizer = torch.optim.AdamW(delta.parameters(), lr=0.05)
    x, target = torch.randn(64, 6), torch.randn(64, 4)
    losses = []
    for _ in range(30):
        loss = functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert (delta.values != 0).all()
    assert torch.equal(model[0].weight, weight)
