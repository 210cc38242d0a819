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
candidate, in the log form of Ament et al. 2023 (arXiv 2310.20708): far from every improvement it still says in which
direction there is more, so it is nowhere 0. It needs no C++ kernel: BoTorch's log-NEHVI compiles one at first use, which
takes minutes here, and is left out on purpose. `tests/optimize/test_ehvi.py` holds it against BoTorch's
qNoisyExpectedHypervolumeImprovement.
"""

import math
from collections.abc import Callable, Sequence

import torch
from botorch.acquisition.analytic import _log_ei_helper  # log h(z), stable for every z
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from autopeft.dsl import Assignment
from autopeft.optimize.observation import Observation
from autopeft.optimize.samples import Samples
from autopeft.optimize.surrogate import Surrogate
from autopeft.pareto import REFERENCE_COST

_SAMPLES = 32  # S

Acquisition = Callable[[Sequence[Assignment]], Tensor]
"""Points to what is expected of each, (n,); larger is better."""


def reference_score(scores: Tensor, costs: Tensor) -> float:
    """The score from which improvement counts: just below the front's lowest, so that every member matters.

    BoTorch's rule (`infer_reference_point`: the nadir less a tenth of the range), from the study's own data.

    Args:
        scores: (n,) what is thought of the points' scores.
        costs: (n,) their cost coordinates.
    """
    y = torch.stack([scores, -costs], dim=-1)
    return float(infer_reference_point(y[is_non_dominated(y)])[0])


def log_ehvi(
    surrogate: Surrogate, seen: Sequence[Observation], *, seed: int, samples: int = _SAMPLES
) -> Acquisition:
    """The acquisition function: points to the logarithm of their expected hypervolume improvement, (n,).

    Args:
        surrogate: Fitted to the observations.
        seen: Observations, the pending ones among them; those that failed are left out.
        seed: Of the quasi-random posterior samples.
        samples: S.
    """
    there = dict.fromkeys(one.assignment for one in seen if one.measured or one.pending)
    cost_column = surrogate.features.cost
    with torch.no_grad():
        base = surrogate.numbers(list(there))
        base = base[base[:, cost_column].argsort()]
        costs = base[:, cost_column]
        drawn = Samples(surrogate, base, samples, seed)
        edges, heights = _steps(drawn.values, costs, reference_score(drawn.means, costs))

    def acquisition(points: Sequence[Assignment]) -> Tensor:
        with torch.no_grad():
            x = surrogate.numbers(points)
            mu, sd = drawn.given(x)
            cost = x[:, cost_column, None]
            lengths = (edges[:, None, 1:] - torch.maximum(edges[:, None, :-1], cost)).clamp_min(
                0
            )  # (S, n, J)
            z = (mu[:, :, None] - heights[:, None]) / sd[:, None]
            terms = lengths.log() + sd.log()[:, None] + _log_ei_helper(z)
            total: Tensor = terms.logsumexp(dim=-1).logsumexp(dim=0)
            return total - math.log(samples)

    return acquisition


def _steps(drawn: Tensor, costs: Tensor, reference: float) -> tuple[Tensor, Tensor]:
    """The staircases H^s without the points that are on no step: edges (S, J + 1) and heights (S, J).

    Shorter ones are filled up with steps of no length. Hundreds of points make tens of steps.
    """
    heights = drawn.cummax(dim=-1).values.clamp_min(reference)  # right of c_1, ..., c_m
    before = torch.cat([torch.full_like(heights[:, :1], reference), heights[:, :-1]], dim=1)
    steps = [(costs[up], high[up]) for up, high in zip(heights > before, heights, strict=True)]
    most = max(len(c) for c, _ in steps)
    edges = torch.full((len(drawn), most + 2), REFERENCE_COST, dtype=torch.float64)
    edges[:, 0] = -math.inf
    found = torch.full((len(drawn), most + 1), reference, dtype=torch.float64)
    for i, (c, high) in enumerate(steps):
        edges[i, 1 : len(c) + 1] = c
        found[i, 1 : len(c) + 1] = high
    return edges, found
