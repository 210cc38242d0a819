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
from botorch.models.model import ModelList
from botorch.sampling.index_sampler import IndexSampler
from botorch.sampling.list_sampler import ListSampler
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.sampling.qmc import NormalQMCEngine
from scipy.stats import norm
from torch import Tensor

from autopeft.dsl import Assignment
from autopeft.nouns import Trial, TrialStatus
from autopeft.optimize import ehvi
from autopeft.optimize.ehvi import fit_score, log_ehvi, reference_score, start_trials, suggest_botorch
from autopeft.optimize.suggest import Observed, observe
from autopeft.pareto import REFERENCE_COST

from . import problem

torch.set_num_threads(1)


def candidates(bound: object, n: int, seed: int) -> Tensor:
    found = bound.sample(random.Random(seed), n)  # type: ignore[attr-defined]
    return torch.tensor([bound.encode(a).vector for a in found], dtype=torch.float64)  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:qNoisyExpectedHypervolumeImprovement has known numerical issues")
@pytest.mark.parametrize("pending", [0, 3], ids=["none pending", "three pending"])
def test_agrees_with_botorch(pending: int) -> None:
    """Over many samples, exp of ours is BoTorch's noisy EHVI with the cost as a deterministic objective."""
    bound = problem.space()
    observed = observe(bound, problem.some_trials(bound, 10, pending=pending))
    model = fit_score(observed)
    x = candidates(bound, 12, seed=7)
    ours = log_ehvi(model, observed, seed=1, samples=4096)(x).exp()

    theirs = []
    for seed in range(4):
        cost = GenericDeterministicModel(lambda points: -points[..., -1:], num_outputs=1)
        acquisition = qNoisyExpectedHypervolumeImprovement(
            model=ModelList(model, cost),
            ref_point=[reference_score(observed), -REFERENCE_COST],
            X_baseline=torch.tensor(observed.complete, dtype=torch.float64),
            sampler=ListSampler(
                SobolQMCNormalSampler(torch.Size([512]), seed=seed),
                IndexSampler(torch.Size([512]), seed=seed),
            ),
            prune_baseline=False,
            cache_root=False,
            X_pending=torch.tensor(observed.pending, dtype=torch.float64) if pending else None,
        )
        with torch.no_grad():
            theirs.append(acquisition(x.unsqueeze(1)))
    mean, error = torch.stack(theirs).mean(0), torch.stack(theirs).std(0) / 2
    scale = float(mean.max())
    assert scale > 1e-4
    assert bool(((ours - mean).abs() < 5 * error + 0.02 * mean + 0.003 * scale).all()), (ours, mean, error)
    assert int(ours.argmax()) == int(mean.argmax())


def test_agrees_with_integration_by_hand() -> None:
    """Three complete points, one candidate, one sample: the staircase and the normal integral, on a fine grid."""
    bound = problem.space()
    observed = observe(bound, problem.some_trials(bound, 4, seed=3))
    model = fit_score(observed)
    for x in candidates(bound, 4, seed=5).unsqueeze(1):
        found = float(log_ehvi(model, observed, seed=11, samples=1)(x).exp())

        base = torch.tensor(observed.complete, dtype=torch.float64)
        base = base[base[:, -1].argsort()]
        m = len(base)
        with torch.no_grad():
            joint = model.posterior(torch.cat([base, x])).distribution
        mean, covariance = joint.mean.numpy(), joint.covariance_matrix.numpy()
        corner = covariance[:m, :m] + 1e-6 * covariance[:m, :m].diagonal().mean() * np.eye(m)
        root = np.linalg.cholesky(corner)
        normal = NormalQMCEngine(d=m, seed=11).draw(1, dtype=torch.float64).numpy()[0]
        f = mean[:m] + root @ normal
        weights = np.linalg.solve(corner, covariance[:m, m])
        mu = mean[m] + weights @ (f - mean[:m])
        sd = math.sqrt(covariance[m, m] - weights @ covariance[:m, m])
        costs, cost = base[:, -1].numpy(), float(x[0, -1])
        grid = np.linspace(cost, REFERENCE_COST, 20_001)
        middle = (grid[1:] + grid[:-1]) / 2
        below = np.where(costs <= middle[:, None], f, -np.inf)
        height = np.maximum(below.max(axis=1), reference_score(observed))
        z = (mu - height) / sd
        expected = float((sd * (norm.pdf(z) + z * norm.cdf(z))).mean() * (REFERENCE_COST - cost))
        assert found == pytest.approx(expected, rel=2e-3)


def test_no_kernel_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """BoTorch's log-NEHVI builds a C++ extension at first use, which takes minutes."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a C++ extension is compiled")

    monkeypatch.setattr("torch.utils.cpp_extension.load", refuse)
    monkeypatch.setattr("torch.utils.cpp_extension.load_inline", refuse)
    bound = problem.space()
    suggest_botorch(bound, problem.some_trials(bound, 12), 0)


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], float]]:
    """Every encoded point that the acquisition function is asked about, with its answer."""
    seen: list[tuple[list[float], float]] = []

    def spy(model: object, observed: Observed, *, seed: int) -> object:
        acquisition = log_ehvi(model, observed, seed=seed)

        def watched(x: Tensor) -> Tensor:
            values = acquisition(x)
            seen.extend(zip(x.tolist(), values.tolist(), strict=True))
            return values

        return watched

    monkeypatch.setattr(ehvi, "log_ehvi", spy)
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
    assert len(seen) > 300
    assert bound.encode(bound.assignment(configuration)).vector == best
    assert math.isfinite(value)


def some(bound: object, name: str, seed: int) -> list[Trial]:
    n = start_trials(bound)  # type: ignore[arg-type]
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
    encodings = {tuple(x) for x, _ in seen}
    assert tuple(bound.encode(bound.assignment(configuration)).vector) in encodings
    assert len(encodings) == len(seen)


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
