"""Noisy expected hypervolume improvement where one objective is known exactly.

The score is measured, with noise; the cost of a configuration is arithmetic. So only the score has a surrogate, and
the expectation over a candidate's score has a closed form: no Monte Carlo over candidates is left.

Notation:
    B            complete and pending points, m of them, with cost coordinates c_1 <= ... <= c_m
    f            the score without noise; a Gaussian process given the complete points
    f^s          one of S joint posterior samples of f at B: pending points take part with what they may turn out to be
    H^s(t)       height of the sample's front at cost t: max of the reference score and f^s_i over c_i <= t
    c, mu^s, sd  a candidate's cost, and its posterior given f^s

    EHVI(x) = 1/S sum_s  integral from c to 1.1 of  E[(f(x) - H^s(t))^+ | f^s] dt
            = 1/S sum_s sum_j w_j(c) sd h((mu^s - H^s_j) / sd),      h(z) = phi(z) + z Phi(z)

where j runs over the steps of H^s and w_j(c) is the length of step j right of c. That is the noisy expected
hypervolume improvement of Daulton et al. 2021 (arXiv 2105.08195, equation 3), integrated exactly over the
candidate, in the log form of Ament et al. 2023 (arXiv 2310.20708). It needs no C++ kernel: BoTorch's log-NEHVI
compiles one at first use, which takes minutes here, and is left out on purpose. `tests/optimize/test_ehvi.py`
holds it against BoTorch's qNoisyExpectedHypervolumeImprovement.
"""

import math
import random
import warnings
from collections.abc import Callable, Sequence

import torch
from botorch.acquisition.analytic import _log_ei_helper  # log h(z), stable for every z
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.sampling.qmc import NormalQMCEngine
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from autopeft.dsl import Assignment, BoundSpace
from autopeft.nouns import Configuration, Trial
from autopeft.optimize.suggest import (
    Observed,
    fresh,
    generator,
    known_assignments,
    observe,
    searched,
    spread,
    tuned_rates,
)
from autopeft.pareto import REFERENCE_COST

_SAMPLES = 64  # S
_FIT_ITERATIONS = 75  # the likelihood's last digits cost three times as much and change no suggestion
_POOL = 256  # random points scored before the local search
_STARTS = 6
_STEPS = 30

Acquisition = Callable[[Tensor], Tensor]


def start_trials(space: BoundSpace) -> int:
    """Trials of the space-filling start: three, and one for every second decision."""
    return 3 + len(space.decisions) // 2


def suggest_botorch(space: BoundSpace, trials: Sequence[Trial], seed: int) -> Configuration:
    """The configuration with the greatest noisy expected hypervolume improvement; a `Suggester`.

    The first `start_trials` are a space-filling start over log cost, at learning rates near the baselines' best.
    """
    search = searched(trials)
    observed = observe(space, search)
    if len(search) < start_trials(space) or len(observed.complete) < 3:
        return spread(space, search, seed, tuned_rates(space, trials))
    rng = generator(seed, search)
    model = fit_score(observed)
    acquisition = log_ehvi(model, observed, seed=rng.getrandbits(31))
    return space.configuration(_maximise(space, search, acquisition, rng))


def fit_score(observed: Observed) -> SingleTaskGP:
    """A Gaussian process of the score over the encoded space: BoTorch's default kernel, priors and noise."""
    x = torch.tensor(observed.complete, dtype=torch.float64)
    y = torch.tensor(observed.scores, dtype=torch.float64).unsqueeze(-1)
    with warnings.catch_warnings():
        # Scores that are all equal, and a fit that stops early, still make a model; BoTorch retries by itself.
        warnings.simplefilter("ignore")
        model = SingleTaskGP(x, y)
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model),
            optimizer_kwargs={"options": {"maxiter": _FIT_ITERATIONS}},
        )
    return model


def reference_score(observed: Observed) -> float:
    """The score from which improvement counts: just below the front's lowest, so that every member matters.

    BoTorch's rule (`infer_reference_point`: the nadir less a tenth of the range), from the study's own data.
    """
    scores = torch.tensor(observed.scores, dtype=torch.float64)
    costs = torch.tensor(observed.costs, dtype=torch.float64)
    y = torch.stack([scores, -costs], dim=-1)
    return float(infer_reference_point(y[is_non_dominated(y)])[0])


def log_ehvi(model: Model, observed: Observed, *, seed: int, samples: int = _SAMPLES) -> Acquisition:
    """The acquisition function: encoded candidates (n, d + 1), cost coordinate last, to log EHVI (n,).

    Args:
        model: Posterior of the score over encoded points.
        observed: Complete and pending trials.
        seed: Of the quasi-random posterior samples.
        samples: S.
    """
    base = torch.tensor([*observed.complete, *observed.pending], dtype=torch.float64)
    reference = reference_score(observed)
    order = base[:, -1].argsort()
    base = base[order]
    m = len(base)
    with torch.no_grad():
        posterior = model.posterior(base).distribution
        mean, covariance = posterior.mean, posterior.covariance_matrix
        jitter = 1e-6 * covariance.diagonal().mean().clamp_min(1e-12) * torch.eye(m, dtype=torch.float64)
        root = torch.linalg.cholesky(covariance + jitter)
        normal = NormalQMCEngine(d=m, seed=seed).draw(samples, dtype=torch.float64)  # (S, m)
        deviations = normal @ root.T
        heights = (mean + deviations).cummax(dim=-1).values.clamp_min(reference)  # H^s right of c_1, ..., c_m
        heights = torch.cat([torch.full((samples, 1), reference, dtype=torch.float64), heights], dim=-1)
        whitened = torch.linalg.solve_triangular(root, deviations.T, upper=False)  # (m, S)
    edges = torch.cat([torch.tensor([-math.inf]), base[:, -1], torch.tensor([REFERENCE_COST])]).double()

    def acquisition(x: Tensor) -> Tensor:
        with torch.no_grad():
            joint = model.posterior(torch.cat([base, x])).distribution
            cross = joint.covariance_matrix[:m, m:]  # (m, n)
            half = torch.linalg.solve_triangular(root, cross, upper=False)
            mu = joint.mean[m:] + (half.T @ whitened).T  # (S, n)
            variance = joint.covariance_matrix.diagonal()[m:] - half.square().sum(0)
            sd = variance.clamp_min(1e-12).sqrt()  # (n,)
            cost = x[:, -1:]
            lengths = (edges[1:] - torch.maximum(edges[:-1], cost)).clamp_min(0)  # (n, m + 1)
            z = (mu.unsqueeze(-1) - heights.unsqueeze(1)) / sd.view(1, -1, 1)  # (S, n, m + 1)
            terms = lengths.log() + sd.log().view(-1, 1) + _log_ei_helper(z)
            total: Tensor = terms.logsumexp(dim=-1).logsumexp(dim=0)
            return total - math.log(samples)

    return acquisition


def _maximise(
    space: BoundSpace, trials: Sequence[Trial], acquisition: Acquisition, rng: random.Random
) -> Assignment:
    """Local search over the space's neighbours from the best of random points and the front's neighbours.

    Whatever is returned is the very assignment that was scored, is inside the budget, and is no known trial's.
    """
    known = known_assignments(space, trials)
    scored = [t for t in trials if t.score is not None and math.isfinite(t.score)]
    best = sorted(scored, key=lambda t: t.score or 0.0)[-5:]
    pool = fresh(space, trials, rng, _POOL)
    for trial in best:
        pool.extend(map(space.canonical, space.neighbours(space.assignment(trial.configuration))))
    values = _evaluate(space, acquisition, pool, known)
    current = sorted(values, key=lambda a: values[a])[-_STARTS:]
    for _ in range(_STEPS):
        around = {a: [space.canonical(n) for n in space.neighbours(a)] for a in current}
        new = [n for near in around.values() for n in near if n not in values]
        values |= _evaluate(space, acquisition, new, known)
        climbed = [max([a, *near], key=lambda n: values.get(n, -math.inf)) for a, near in around.items()]
        if climbed == current:
            break
        current = list(dict.fromkeys(climbed))
    return max(values, key=lambda a: values[a])


def _evaluate(
    space: BoundSpace, acquisition: Acquisition, assignments: Sequence[Assignment], known: set[Assignment]
) -> dict[Assignment, float]:
    # All are canonical: what is scored is encoded as the trial will be once it is known.
    new = [a for a in dict.fromkeys(assignments) if a not in known]
    if not new:
        return {}
    vectors = torch.tensor([space.encode(a).vector for a in new], dtype=torch.float64)
    values = torch.cat([acquisition(chunk) for chunk in vectors.split(256)])
    return dict(zip(new, values.tolist(), strict=True))
