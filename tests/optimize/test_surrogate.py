"""The Gaussian process of the score."""

import math
import random
import statistics

import pytest
import torch

from autopeft.dsl import BoundSpace
from autopeft.optimize.features import Features
from autopeft.optimize.observation import Observation
from autopeft.optimize.surrogate import Surrogate, _Grid, fit_surrogate

from . import problem

torch.set_num_threads(1)


def noisy(bound: BoundSpace, n: int, seed: int = 0, noise: float = 0.02) -> list[Observation]:
    rng = random.Random(seed)
    points = [bound.canonical(p) for p in bound.sample(rng, n)]
    return [
        Observation(p, problem.score(bound, bound.configuration(p)) + rng.gauss(0, noise)) for p in points
    ]


def errors(bound: BoundSpace, surrogate: Surrogate, n: int = 60) -> list[float]:
    """Predicted less true, at points that it has not seen."""
    points = [bound.canonical(p) for p in bound.sample(random.Random(99), n)]
    truths = [problem.score(bound, bound.configuration(p)) for p in points]
    means = surrogate.mean(surrogate.numbers(points)).tolist()
    return [mean - truth for mean, truth in zip(means, truths, strict=True)]


@pytest.mark.parametrize("name", ["autopeft", "lora", "lora-anatomy", "all-types"])
def test_the_covariance_is_one(name: str) -> None:
    """Symmetric, positive semi-definite, with the variances on its diagonal, in every kind of space."""
    bound = problem.space(name, limit=50_000)
    rng = random.Random(0)
    seen = [Observation(bound.canonical(p), rng.random()) for p in bound.sample(rng, 12)]
    surrogate = fit_surrogate(Features(bound), seen)
    x = surrogate.numbers([one.assignment for one in seen])
    covariance = surrogate.covariance(x, x)
    assert torch.allclose(covariance, covariance.T)
    assert float(torch.linalg.eigvalsh(covariance).min()) > -1e-8 * float(covariance.diagonal().max())
    assert torch.allclose(covariance.diagonal(), surrogate.variance(x), rtol=1e-4)


def test_a_product_on_the_grid_is_the_kernel() -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r = 5**0.5 * (values[:, None] - values).abs() / 0.5
    grid = _Grid(0.0, 1.0, 9, 0.5)
    phi = grid(values[:, None])[:, 0]
    assert phi.shape == (50, 9)
    torch.testing.assert_close(phi @ phi.T, (1 + r + r**2 / 3) * torch.exp(-r), atol=0.01, rtol=0)
    places = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
    r = 5**0.5 * (places - places.T).abs() / 0.5
    exact = grid(places)[:, 0]
    torch.testing.assert_close(exact @ exact.T, (1 + r + r**2 / 3) * torch.exp(-r), atol=1e-6, rtol=0)


def test_it_learns() -> None:
    """With sixty noisy scores it is far nearer to the truth than their mean is, and not surer than it may be."""
    bound = problem.space()
    seen = noisy(bound, 60)
    surrogate = fit_surrogate(Features(bound), seen)
    found = errors(bound, surrogate)
    spread = statistics.stdev(one.score or 0.0 for one in seen)
    assert statistics.fmean(e * e for e in found) ** 0.5 < 0.4 * spread
    assert 0.005 < math.sqrt(surrogate.noise) < 0.06
    points = [bound.canonical(p) for p in bound.sample(random.Random(99), 60)]
    _, covariance = surrogate.posterior(surrogate.numbers(points))
    scaled = [e / math.sqrt(v) for e, v in zip(found, covariance.diagonal().tolist(), strict=True)]
    assert statistics.fmean(abs(z) < 2 for z in scaled) > 0.8


def test_a_score_that_was_foretold_weighs_less() -> None:
    bound = problem.space()
    seen = noisy(bound, 20)
    off = seen[0].assignment
    others = [one for one in seen if one.assignment != off]
    sure = fit_surrogate(Features(bound), [*others, Observation(off, 2.0)])
    unsure = fit_surrogate(Features(bound), [*others, Observation(off, 2.0, variance=4.0)])
    means = [float(s.mean(s.numbers([off]))) for s in (sure, unsure)]
    assert means[0] > means[1] + 0.2


def test_a_true_belief_helps_and_a_false_one_fades() -> None:
    bound = problem.space()
    features = Features(bound)
    rng = random.Random(5)
    points = [bound.canonical(p) for p in bound.sample(rng, 80)]
    true = [Observation(p, 100 * problem.score(bound, bound.configuration(p)) - 7) for p in points]
    false = [Observation(p, rng.random()) for p in points]

    def off(n: int, *told: list[Observation]) -> float:
        beliefs = [fit_surrogate(features, one).opinion for one in told]
        found = [errors(bound, fit_surrogate(features, noisy(bound, n, s), beliefs)) for s in range(3)]
        return statistics.fmean(e * e for each in found for e in each) ** 0.5

    assert off(8, true) < 0.7 * off(8)
    assert off(60, false) < 1.25 * off(60)


@pytest.mark.parametrize("scores", [[], [0.5], [0.5] * 6])
def test_little_to_learn_from(scores: list[float]) -> None:
    bound = problem.space()
    points = [bound.canonical(p) for p in bound.sample(random.Random(0), max(1, len(scores)))]
    seen = [Observation(p, s) for p, s in zip(points, scores, strict=False)]
    surrogate = fit_surrogate(Features(bound), seen)
    mean, covariance = surrogate.posterior(surrogate.numbers(points))
    assert bool(torch.isfinite(mean).all())
    assert bool((covariance.diagonal() >= 0).all())
