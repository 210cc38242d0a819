"""Points as the surrogate sees them."""

import random

import pytest
import torch

from autopeft.optimize.features import Features, Group

from . import problem


@pytest.mark.parametrize(
    "name", ["autopeft", "lora", "lora-anatomy", "mam", "sparse", "all-types", "unified"]
)
def test_every_column_is_in_one_group(name: str) -> None:
    bound = problem.space(name, limit=50_000)
    features = Features(bound)
    points = [bound.canonical(p) for p in bound.sample(random.Random(0), 20)]
    x = features(points)
    assert x.shape == (20, features.amounts.columns[1])
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    columns = [c for group in features.groups for c in range(*group.columns)]
    assert columns == list(range(x.shape[1]))
    assert sorted([*features.switches, *features.scales]) == list(range(features.cost + 1))
    assert x[:, : features.cost + 1].tolist() == [bound.encode(p).vector for p in points]


def test_the_amounts_are_what_is_in_each_layer() -> None:
    bound = problem.space()
    features = Features(bound)
    for point in bound.sample(random.Random(0), 20):
        configuration = bound.configuration(point)
        amounts = features([bound.canonical(point)])[0, slice(*features.amounts.columns)]
        taken = {layer for module in configuration.modules for layer in module.layers}
        assert [float(a) > 0 for a in amounts] == [layer in taken for layer in range(len(bound.shape.layers))]


def test_neighbouring_layers_are_nearer() -> None:
    alike = Group((0, 6), row=True).alike
    one = torch.eye(6, dtype=torch.float64)
    distances = [float((alike @ (one[0] - one[i])).norm()) for i in range(6)]
    assert distances == sorted(distances)
    assert distances[1] < 0.7 * distances[5]
    plain = Group((0, 6)).alike
    assert torch.equal(plain, torch.eye(6, dtype=torch.float64))
