"""Joint samples of a surrogate at the points that are there, and what each makes of any other point.

Notation:
    B         points, m of them
    f^s       one of S joint posterior samples of the true scores at B
    mu^s, sd  another point's posterior given f^s; sd is the same for all s

Given f^s at all of B, the noisy measurements there say nothing more of f(x): its posterior is that of the prior given f^s.
"""

import torch
from botorch.sampling.qmc import NormalQMCEngine
from torch import Tensor

from autopeft.optimize.surrogate import Surrogate

_JITTER = 1e-5  # of covariances, as a share of their mean variance


class Samples:
    """Samples of a surrogate.

    Attributes:
        means: Posterior means at B, (m,).
        values: f^s, (S, m).
    """

    def __init__(self, surrogate: Surrogate, base: Tensor, count: int, seed: int) -> None:
        """Draw them.

        Args:
            surrogate: Fitted.
            base: B, as `Surrogate.numbers` gives it.
            count: S.
            seed: Of the quasi-random draw.
        """
        self._surrogate, self._base = surrogate, base
        with torch.no_grad():
            self.means, covariance = surrogate.posterior(base)
            normal = NormalQMCEngine(d=len(base), seed=seed).draw(count, dtype=torch.float64)
            self.values: Tensor = self.means + normal @ _root(covariance).T
            self._root = _root(surrogate.covariance(base, base))
            self._weights = torch.cholesky_solve((self.values - surrogate.centre).T, self._root)  # (m, S)

    def given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu^s (S, n) and sd (n,) of points, given as `Surrogate.numbers` gives them."""
        with torch.no_grad():
            cross = self._surrogate.covariance(x, self._base)  # (n, m)
            mu = self._surrogate.centre + (cross @ self._weights).T
            half = torch.linalg.solve_triangular(self._root, cross.T, upper=False)
            prior = self._surrogate.variance(x)
            sd = (prior - half.square().sum(0)).clamp_min(1e-12 * float(prior.mean())).sqrt()
        return mu, sd


def _root(covariance: Tensor) -> Tensor:
    jitter = _JITTER * float(covariance.diagonal().mean().clamp_min(1e-12))
    root: Tensor = torch.linalg.cholesky(
        covariance + jitter * torch.eye(len(covariance), dtype=torch.float64)
    )
    return root
