"""A Gaussian process of the score over a space, with what is known of such spaces in its kernel.

Notation:
    n, p     observations; numbers of a point (`autopeft.optimize.features`)
    x        a point's numbers, x_g those of group g, c the log cost, u the amounts in the layers
    m_b(x)   what belief b says of x: of observations from elsewhere, of gradients; around 0, of variance 1 or so

    k(x, x') = s M(sqrt(sum_g |A_g (x_g - x'_g)|^2 / (d_g l_g^2)))    all groups in interaction; d_g columns
             + sum_i w_i M(|x_i - x'_i| / l)                         each decision for itself (switches: w_i x_i x'_i)
             + t c c' + r u^T A_u^T A_u u'                            trends in the log cost and in the amounts
             + sum_b v_b m_b(x) m_b(x') + z_b M(|m_b(x) - m_b(x')| / l)
                                                                      beliefs, each with weights that are learnt
             + 1                                                      the mean

with M the Matern 5/2 kernel. Each decision for itself is what makes few observations go far: most of what a configuration is
worth is a sum. All but the first line is a product Phi(x) W Phi(x')^T with a diagonal W, the one-dimensional kernels by
their projection on a grid of a few places (Rasmussen and Williams 2006, section 8.1), so that sixty decisions are learnt
as fast as six. Scores are standardised. Hyperparameters maximise the posterior (MAP), under wide normal priors on
their logarithms. Of many observations only some are used for that: the likelihood of 160 says enough.

What each term is worth is measured in docs/suggesting.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from autopeft.dsl import Assignment
from autopeft.optimize.features import Features
from autopeft.optimize.observation import Observation

_FIT = 160
_ITERATIONS = 50
_LEAST_NOISE = 1e-3  # of the scores' variance


@dataclass(frozen=True)
class Prior:
    """Centre and width of a normal distribution of a logarithm."""

    centre: float
    width: float


_LENGTH = Prior(0.0, 1.0)
_TOGETHER = Prior(-0.5, 1.5)
_ALONE = Prior(-2.0, 1.5)
_TREND = Prior(-1.0, 2.0)
_NOISE = Prior(-1.5, 1.0)
_BELIEF = Prior(-0.5, 2.0)

Belief = Callable[[Sequence[Assignment]], Tensor]
"""What is thought of points before any of them is measured: (n,), larger is better, around 0 and of variance 1 or so."""


def _matern(squared: Tensor) -> Tensor:
    """Matern 5/2 of squared scaled distances."""
    r = (5 * squared.clamp_min(1e-16)).sqrt()
    return (1 + r + squared * (5 / 3)) * torch.exp(-r)


class _Grid:
    """One-dimensional Matern kernels as products: M(|p - q| / l) is about phi(p) . phi(q).

    Exact where p or q is one of the places.
    """

    def __init__(self, low: float, high: float, places: int, length: float) -> None:
        self._places = torch.linspace(low, high, places, dtype=torch.float64)
        self._length = length
        among = self._matern(self._places)
        self._root = torch.linalg.cholesky(among + 1e-8 * torch.eye(places, dtype=torch.float64))

    def __len__(self) -> int:
        return len(self._places)

    def __call__(self, values: Tensor) -> Tensor:
        """(n, d) to phi of each, (n, d, places)."""
        near = self._matern(values).reshape(-1, len(self._places))
        phi: Tensor = torch.linalg.solve_triangular(self._root, near.T, upper=False).T
        return phi.reshape(*values.shape, len(self._places))

    def _matern(self, values: Tensor) -> Tensor:
        return _matern(((values.unsqueeze(-1) - self._places) / self._length).square())


_ON_SCALE = _Grid(0.0, 1.0, 9, 0.7)
_OF_BELIEF = _Grid(-3.0, 3.0, 13, 1.5)


@dataclass(frozen=True)
class _Kernel:
    """k of the module's notation, for a space and so many beliefs.

    Points are rows: their numbers, what the beliefs say, then Phi.
    """

    features: Features
    beliefs: int

    @cached_property
    def _plain(self) -> int:
        """Columns before Phi."""
        return self.features.amounts.columns[1] + self.beliefs

    def _blocks(self, numbers: Tensor, told: Sequence[Tensor]) -> list[tuple[Prior, int, Tensor]]:
        """Phi by terms of one kind: the prior of a term's weight, how many terms, and their columns in order."""
        features, (first, last) = self.features, self.features.amounts.columns
        blocks = [
            (_ALONE, len(features.switches), numbers[:, list(features.switches)]),
            (_ALONE, len(features.scales), _ON_SCALE(numbers[:, list(features.scales)]).flatten(1)),
        ]
        for m in told:
            blocks += [(_BELIEF, 1, m[:, None]), (_ALONE, 1, _OF_BELIEF(m[:, None]).flatten(1))]
        return [
            *blocks,
            (_TREND, 1, numbers[:, features.cost, None]),
            (_TREND, 1, numbers[:, first:last] @ features.amounts.alike.T),
        ]

    @cached_property
    def _terms(self) -> list[tuple[Prior, int]]:
        """The weights in W: a prior, and how many columns of Phi share it."""
        no_points = torch.zeros(0, self.features.amounts.columns[1], dtype=torch.float64)
        blocks = self._blocks(no_points, [no_points[:, 0]] * self.beliefs)
        return [(prior, columns.shape[1] // terms) for prior, terms, columns in blocks for _ in range(terms)]

    def priors(self) -> list[Prior]:
        """One for each hyperparameter, in order."""
        return [*[_LENGTH] * len(self.features.groups), _TOGETHER, *(prior for prior, _ in self._terms)]

    def rows(self, numbers: Tensor, told: Sequence[Tensor]) -> Tensor:
        """Points' numbers (n, p) and what each belief says of them (n,) as this kernel takes them."""
        phi = [columns for _, _, columns in self._blocks(numbers, told)]
        return torch.cat([numbers, *(m[:, None] for m in told), *phi], dim=1)

    def distances(self, a: Tensor, b: Tensor) -> Tensor:
        """Squared distances of the points a (n, ...) and b (m, ...) in each group, (g, n, m)."""
        groups = []
        for group in self.features.groups:
            first, last = group.columns
            x, y = a[:, first:last] @ group.alike.T, b[:, first:last] @ group.alike.T
            groups.append(_squared(x, y) / group.width)
        return torch.stack(groups)

    def __call__(self, a: Tensor, b: Tensor, distances: Tensor, log: Tensor) -> Tensor:
        """(n, m), from the logarithms of all hyperparameters but the noise."""
        lengths, together, weights = self._split(log)
        near = torch.einsum("gnm,g->nm", distances, torch.exp(-2 * lengths))
        return together * _matern(near) + (a[:, self._plain :] * weights) @ b[:, self._plain :].T + 1.0

    def diagonal(self, a: Tensor, log: Tensor) -> Tensor:
        """k(x, x) of every point, (n,)."""
        _, together, weights = self._split(log)
        return together + a[:, self._plain :].square() @ weights + 1.0

    def _split(self, log: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        groups = len(self.features.groups)
        widths = torch.tensor([width for _, width in self._terms])
        return log[:groups], log[groups].exp(), log[groups + 1 :].exp().repeat_interleave(widths)


def _squared(x: Tensor, y: Tensor) -> Tensor:
    return ((x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T).clamp_min(0)


@dataclass(frozen=True)
class Surrogate:
    """A fitted Gaussian process; everything in the units of the scores.

    Attributes:
        features: Of the space.
        beliefs: What the kernel takes beside the features.
        log: Logarithms of the hyperparameters.
        noise: Variance of a measured score around the true one.
        centre: Mean of the true scores before anything is measured.
    """

    features: Features
    beliefs: tuple[Belief, ...]
    log: Tensor
    noise: float
    _x: Tensor
    _root: Tensor  # Cholesky factor of the standardised scores' covariance
    _alpha: Tensor
    centre: float
    _scale: float

    def numbers(self, points: Sequence[Assignment]) -> Tensor:
        """What the kernel takes of points, one row each; the first columns are their features."""
        return _rows(self._kernel, self.beliefs, points)

    @property
    def _kernel(self) -> _Kernel:
        return _Kernel(self.features, len(self.beliefs))

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Prior covariance of the true scores at points a (n, p) and b (m, p)."""
        return self._kernel(a, b, self._kernel.distances(a, b), self.log) * self._scale**2

    def variance(self, a: Tensor) -> Tensor:
        """Prior variance of the true scores, (n,): the diagonal of `covariance`."""
        return self._kernel.diagonal(a, self.log) * self._scale**2

    def mean(self, a: Tensor) -> Tensor:
        """Posterior mean of the true scores, (n,)."""
        return self.centre + self.covariance(a, self._x) @ self._alpha / self._scale

    def opinion(self, points: Sequence[Assignment]) -> Tensor:
        """The mean, standardised as the scores were: a `Belief` of another study's."""
        with torch.no_grad():
            return (self.mean(self.numbers(points)) - self.centre) / self._scale

    def posterior(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean (n,) and covariance (n, n) of the true scores."""
        cross = self.covariance(a, self._x) / self._scale**2
        half = torch.linalg.solve_triangular(self._root, cross.T, upper=False)
        covariance = self.covariance(a, a) - half.T @ half * self._scale**2
        return self.centre + cross @ self._alpha * self._scale, covariance


def _rows(kernel: _Kernel, beliefs: Sequence[Belief], points: Sequence[Assignment]) -> Tensor:
    return kernel.rows(kernel.features(points), [belief(points) for belief in beliefs])


def fit_surrogate(
    features: Features, seen: Sequence[Observation], beliefs: Sequence[Belief] = ()
) -> Surrogate:
    """Fit to the measured ones among the observations.

    Args:
        features: Of the space.
        seen: Observations; those without a score are left out.
        beliefs: What is thought of points beforehand; how much each says here is learnt.
    """
    measured = [one for one in seen if one.measured]
    told = tuple(beliefs)
    kernel = _Kernel(features, len(told))
    x = _rows(kernel, told, [one.assignment for one in measured])
    scores = torch.tensor([one.score for one in measured], dtype=torch.float64)
    centre = float(scores.mean()) if len(scores) else 0.0
    scale = max(float(scores.std(unbiased=False)) if len(scores) else 0.0, 1e-9)
    if len(scores) < 2 or scale < 1e-8:
        scale = 1.0
    y = (scores - centre) / scale
    further = torch.tensor([one.variance for one in measured], dtype=torch.float64) / scale**2
    log = _fit(kernel, x, y, further)
    covariance = kernel(x, x, kernel.distances(x, x), log[:-1])
    noise = _LEAST_NOISE + float(log[-1].exp())
    root = torch.linalg.cholesky(covariance + torch.diag(noise + further))
    alpha = torch.cholesky_solve(y[:, None], root)[:, 0]
    return Surrogate(features, told, log[:-1], noise * scale**2, x, root, alpha, centre, scale)


def _fit(kernel: _Kernel, x: Tensor, y: Tensor, further: Tensor) -> Tensor:
    """Logarithms of the hyperparameters, the noise's last, at the greatest posterior density."""
    if len(x) > _FIT:  # every k-th, so that early and late ones are among them
        at = torch.linspace(0, len(x) - 1, _FIT).round().long()
        x, y, further = x[at], y[at], further[at]
    priors = [*kernel.priors(), _NOISE]
    centre = torch.tensor([p.centre for p in priors], dtype=torch.float64)
    width = torch.tensor([p.width for p in priors], dtype=torch.float64)
    distances = kernel.distances(x, x)

    def density(values: np.ndarray) -> tuple[float, np.ndarray]:
        log = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        noise = _LEAST_NOISE + log[-1].exp() + further
        covariance = kernel(x, x, distances, log[:-1]) + torch.diag(noise)
        root, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed):
            return math.inf, np.zeros_like(values)
        half = torch.linalg.solve_triangular(root, y[:, None], upper=False)
        loss = half.square().sum() / 2 + root.diagonal().log().sum()
        loss = loss + (((log - centre) / width) ** 2).sum() / 2
        loss.backward()
        assert log.grad is not None
        return float(loss.detach()), log.grad.numpy()

    found = minimize(density, centre.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
    return torch.tensor(found.x, dtype=torch.float64)
