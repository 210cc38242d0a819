"""The acquisition function against BoTorch's, against integration by hand, and against its own search."""

import itertools
import math
import random
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.monte_carlo import qNoisyExpectedHypervolumeImprovement
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import Model, ModelList
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.sampling.index_sampler import IndexSampler
from botorch.sampling.list_sampler import ListSampler
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.sampling.qmc import NormalQMCEngine
from gpytorch.distributions import MultivariateNormal
from scipy.stats import norm
from torch import Tensor

from autopeft.dsl import Assignment, BoundSpace
from autopeft.nouns import Trial, TrialStatus
from autopeft.optimize import suggest
from autopeft.optimize.ehvi import log_ehvi, reference_score
from autopeft.optimize.features import Features
from autopeft.optimize.observation import Observation, observations
from autopeft.optimize.start import start_size
from autopeft.optimize.suggest import suggest_botorch
from autopeft.optimize.surrogate import Surrogate, fit_surrogate
from autopeft.pareto import REFERENCE_COST

from . import problem

torch.set_num_threads(1)


class AsBotorch(Model):
    """The surrogate, as BoTorch asks its models: points are rows of numbers."""

    num_outputs = 1

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = surrogate

    def posterior(self, X: Tensor, *args: object, **kwargs: object) -> GPyTorchPosterior:  # noqa: N803
        found = [self.surrogate.posterior(one) for one in X.reshape(-1, *X.shape[-2:])]
        mean = torch.stack([m for m, _ in found]).reshape(X.shape[:-1])
        covariance = torch.stack([c for _, c in found]).reshape(*X.shape[:-1], X.shape[-2])
        covariance = covariance + 1e-9 * torch.eye(X.shape[-2], dtype=torch.float64)
        return GPyTorchPosterior(MultivariateNormal(mean, covariance))


def fitted(n: int, pending: int = 0, seed: int = 0) -> tuple[BoundSpace, Surrogate, list[Observation]]:
    bound = problem.space()
    seen = observations(bound, problem.some_trials(bound, n, seed=seed, pending=pending))
    return bound, fit_surrogate(Features(bound), seen), seen


@pytest.mark.filterwarnings("ignore:qNoisyExpectedHypervolumeImprovement has known numerical issues")
@pytest.mark.parametrize("pending", [0, 3], ids=["none pending", "three pending"])
def test_agrees_with_botorch(pending: int) -> None:
    """Over many samples, exp of ours is BoTorch's noisy EHVI with the cost as a deterministic objective."""
    bound, surrogate, seen = fitted(10, pending)
    points = bound.sample(random.Random(7), 12)
    ours = log_ehvi(surrogate, seen, seed=1, samples=4096)(points).exp()

    column = surrogate.features.cost
    measured = surrogate.numbers([one.assignment for one in seen if one.measured])
    waiting = surrogate.numbers([one.assignment for one in seen if one.pending])
    everywhere = torch.cat([measured, waiting])
    means = surrogate.mean(everywhere)
    theirs = []
    for seed in range(4):
        cost = GenericDeterministicModel(lambda x: -x[..., column : column + 1], num_outputs=1)
        acquisition = qNoisyExpectedHypervolumeImprovement(
            model=ModelList(AsBotorch(surrogate), cost),
            ref_point=[reference_score(means, everywhere[:, column]), -REFERENCE_COST],
            X_baseline=measured,
            sampler=ListSampler(
                SobolQMCNormalSampler(torch.Size([512]), seed=seed),
                IndexSampler(torch.Size([512]), seed=seed),
            ),
            prune_baseline=False,
            cache_root=False,
            X_pending=waiting if pending else None,
        )
        with torch.no_grad():
            theirs.append(acquisition(surrogate.numbers(points).unsqueeze(1)))
    mean, error = torch.stack(theirs).mean(0), torch.stack(theirs).std(0) / 2
    scale = float(mean.max())
    assert scale > 1e-4
    assert bool(((ours - mean).abs() < 5 * error + 0.02 * mean + 0.003 * scale).all()), (ours, mean, error)
    assert int(ours.argmax()) == int(mean.argmax())


def test_agrees_with_integration_by_hand() -> None:
    """Four complete points, one candidate, one sample: the staircase and the normal integral, on a fine grid."""
    bound, surrogate, seen = fitted(4, seed=3)
    column = surrogate.features.cost
    acquisition = log_ehvi(surrogate, seen, seed=11, samples=1)
    for point in bound.sample(random.Random(5), 4):
        found = float(acquisition([point]).exp())

        base = surrogate.numbers([one.assignment for one in seen])
        base = base[base[:, column].argsort()]
        m = len(base)
        x = surrogate.numbers([point])
        mean, covariance = (part.numpy() for part in surrogate.posterior(torch.cat([base, x])))
        corner = covariance[:m, :m] + 1e-5 * covariance[:m, :m].diagonal().mean() * np.eye(m)
        normal = NormalQMCEngine(d=m, seed=11).draw(1, dtype=torch.float64).numpy()[0]
        f = mean[:m] + np.linalg.cholesky(corner) @ normal
        weights = np.linalg.solve(corner, covariance[:m, m])
        mu = mean[m] + weights @ (f - mean[:m])
        sd = math.sqrt(covariance[m, m] - weights @ covariance[:m, m])
        costs, cost = base[:, column].numpy(), float(x[0, column])
        grid = np.linspace(cost, REFERENCE_COST, 20_001)
        middle = (grid[1:] + grid[:-1]) / 2
        below = np.where(costs <= middle[:, None], f, -np.inf)
        reference = reference_score(torch.tensor(mean[:m]), torch.tensor(costs))
        z = (mu - np.maximum(below.max(axis=1), reference)) / sd
        expected = float((sd * (norm.pdf(z) + z * norm.cdf(z))).mean() * (REFERENCE_COST - cost))
        assert found == pytest.approx(expected, rel=0.02)


def test_no_kernel_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """BoTorch's log-NEHVI builds a C++ extension at first use, which takes minutes."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a C++ extension is compiled")

    monkeypatch.setattr("torch.utils.cpp_extension.load", refuse)
    monkeypatch.setattr("torch.utils.cpp_extension.load_inline", refuse)
    bound = problem.space()
    suggest_botorch(bound, problem.some_trials(bound, 12), 0)


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Assignment, float]]:
    """Every point that the acquisition function is asked about, with its answer."""
    seen: list[tuple[Assignment, float]] = []

    def spy(surrogate: Surrogate, found: Sequence[Observation], *, seed: int) -> object:
        acquisition = log_ehvi(surrogate, found, seed=seed)

        def watched(points: Sequence[Assignment]) -> Tensor:
            values = acquisition(points)
            seen.extend(zip(points, values.tolist(), strict=True))
            return values

        return watched

    monkeypatch.setattr(suggest, "log_ehvi", spy)
    return seen


@pytest.mark.parametrize("name", ["autopeft", "lora"])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_suggested_is_what_scored_best(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoPEFT's public code trained the start of its local search and recorded it as the end."""
    bound = problem.space(name)
    trials = some(bound, name, seed)
    seen = spied(monkeypatch)
    configuration = suggest_botorch(bound, trials, seed)
    best, value = max(seen, key=lambda pair: pair[1])
    assert len(seen) > 150
    assert bound.assignment(configuration) == best
    assert math.isfinite(value)


def some(bound: object, name: str, seed: int) -> list[Trial]:
    n = start_size(bound)  # type: ignore[arg-type]
    if name == "autopeft":
        return problem.some_trials(bound, n, seed=seed, pending=2)  # type: ignore[arg-type]
    rng, found = random.Random(seed), []
    for number, a in enumerate(bound.sample(rng, n)):  # type: ignore[attr-defined]
        configuration = bound.configuration(a)  # type: ignore[attr-defined]
        found.append(problem.trial(bound, number, configuration, scores=rng.random()))  # type: ignore[arg-type]
    return found


def test_a_space_with_inert_decisions_scores_what_it_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sites of an absent LoRA mean nothing: they are encoded as the trial will be."""
    from autopeft.dsl import read_space

    text = (
        "name: inert\nlayers: {subset: all}\nmodules:\n"
        "  a: {type: lora, sites: {subset: all}, rank: {choice: [0, 1, 2]}}\n"
        "  s: {type: prefix, size: {choice: [0, 1, 2]}}\n"
        "training: {learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}\n"
    )
    bound = read_space(text, "i").bind(problem.SHAPE, 5_000)
    trials = some(bound, "inert", 0)
    seen = spied(monkeypatch)
    configuration = suggest_botorch(bound, trials, 0)
    points = {point for point, _ in seen}
    assert bound.assignment(configuration) in points
    assert len(points) == len(seen)
    assert all(bound.canonical(point) == point for point in points)


@pytest.mark.parametrize("scores", [[0.5] * 20, [0.5] * 19 + [float("nan")], [0.0] * 10 + [1.0] * 10])
def test_odd_scores_do_not_stop_a_study(scores: Sequence[float]) -> None:
    bound = problem.space()
    found = [
        problem.trial(bound, i, bound.configuration(a), scores=s)
        for i, (a, s) in enumerate(zip(bound.sample(random.Random(0), 20), scores, strict=True))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configuration = suggest_botorch(bound, found, 0)
    assert configuration not in [t.configuration for t in found]


def test_nothing_but_pending_and_failed_trials() -> None:
    bound = problem.space()
    statuses = itertools.cycle([TrialStatus.WAITING, TrialStatus.RUNNING, TrialStatus.FAILED])
    samples: list[Assignment] = bound.sample(random.Random(0), 20)
    found = [
        problem.trial(bound, i, bound.configuration(a), status)
        for i, (a, status) in enumerate(zip(samples, statuses, strict=False))
    ]
    assert suggest_botorch(bound, found, 0) not in [t.configuration for t in found]
