"""AutoPEFT's search, as its paper gives it and as its public code runs.

Zhou, Wan, Vulic and Korhonen (2024), "AutoPEFT: Automatic configuration search for parameter-efficient fine-tuning",
TACL 12, arXiv:2301.12132, section 3.2, and the code at github.com/cambridgeltl/autopeft, revision 572dcaf.

Of both:
- every decision as the middle of its bin in [0, 1] (ConfigSpace's vector), sizes in their order, "absent" the first of them;
- both objectives, the score and the percentage of parameters, each through a Gaussian copula (the empirical distribution
  function, then the normal quantile), the reference point through the same one;
- an independent Gaussian process with the SAAS prior for each of the two;
- noisy expected hypervolume improvement (not its log form, which came later), all points as the baseline, 128 samples;
- four proposals at a time, each found with those before it pending: ten climbs, each from a random neighbour of a random
  member of the front, over fifteen neighbours a step.

The prior's posterior: the paper samples it by NUTS. BoTorch 0.18 samples with NumPyro; `nuts=True` does that, with the
code's 128 steps of warm-up and 64 draws, of which every fourth is kept. Without it
the same prior has BoTorch's MAP estimates over an ensemble of four sparsities (`EnsembleMapSaasSingleTaskGP`).

As the paper gives it: neighbours differ in one decision, what was evaluated is left out, the point that is evaluated is
the one that the acquisition chose, and the reference point comes from the data (`infer_reference_point`).

As its code runs (`as_code=True`): neighbours are the steps of a random walk; known points come again and are trained again;
the start of the winning climb is what is evaluated, and its score is booked for the climb's end; noise of 1e-4 is added to
both objectives; and the reference point is at a score of 0.70 and 26 % of the parameters, whatever the task.

The random start is as long as ours unless `start` says otherwise; the paper's is 100 of 200 evaluations.
"""

import random
import warnings
from collections.abc import Mapping, Sequence

import torch
from botorch.acquisition.multi_objective.monte_carlo import qNoisyExpectedHypervolumeImprovement
from botorch.fit import fit_fully_bayesian_model_nuts, fit_gpytorch_mll
from botorch.models import ModelListGP
from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP
from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from autopeft.dsl import BoundSpace
from autopeft.nouns import Configuration
from autopeft.optimize.start import start_size
from peers.lattice import Lattice, Point

_BATCH = 4
_CLIMBS = 10
_NEIGHBOURS = 15
_STEPS = (
    13  # with ten climbs and fifteen neighbours, about 2,000 evaluations of the acquisition for a proposal
)
_SAMPLES = 128
_NOISE = 1e-4
_REFERENCE = (0.70, -26.0)  # score, negative percentage of parameters
_CLAMP = 1e-4


class Zhou2024:
    """Random points, then batches of four."""

    def __init__(self, space: BoundSpace, seed: int, *, start: int, as_code: bool, nuts: bool) -> None:
        self._lattice = Lattice(space)
        self._rng = random.Random(seed)
        self._start = start
        self._as_code = as_code
        self._nuts = nuts
        self._queue: list[tuple[Point, Point]] = []
        self._asked: set[Point] = set()
        self._booked: dict[str, list[Point]] = {}
        self._points: list[Point] = []
        self._values: list[tuple[float, float]] = []

    def ask(self, n: int) -> list[Configuration]:
        """See `Peer`."""
        return [self._one() for _ in range(n)]

    def _one(self) -> Configuration:
        if not self._queue:
            self._queue = self._at_random() if len(self._points) < self._start else self._proposals()
        trained, booked = self._queue.pop(0)
        self._asked.add(trained)
        configuration = self._lattice.space.configuration(self._lattice.assignment(trained))
        self._booked.setdefault(configuration.key, []).append(booked)
        return configuration

    def tell(self, configuration: Configuration, values: Mapping[str, float]) -> None:
        """See `Peer`."""
        space = self._lattice.space
        cost = space.cost(space.assignment(configuration))
        noise = [self._rng.gauss(0, _NOISE) if self._as_code else 0.0 for _ in range(2)]
        percent = 100 * cost / space.shape.parameters
        booked = self._booked.get(configuration.key)
        point = booked.pop(0) if booked else self._lattice.point(space.assignment(configuration))
        self._asked.add(point)
        self._points.append(point)
        self._values.append((values["score"] + noise[0], -percent + noise[1]))

    def _at_random(self) -> list[tuple[Point, Point]]:
        point = self._lattice.draw(self._rng)
        while point in self._asked:
            point = self._lattice.draw(self._rng)
        return [(point, point)]

    def _encode(self, points: Sequence[Point]) -> Tensor:
        sizes = self._lattice.sizes
        rows = [[(position + 0.5) / n for position, n in zip(p, sizes, strict=True)] for p in points]
        return torch.tensor(rows, dtype=torch.float64)

    def _proposals(self) -> list[tuple[Point, Point]]:
        torch.manual_seed(self._rng.getrandbits(31))
        values = torch.tensor(self._values, dtype=torch.float64)
        x = self._encode(self._points)
        y = torch.stack([copula(column, column) for column in values.T], dim=-1)
        if self._as_code:
            fixed = [
                copula(torch.tensor([r]), column) for r, column in zip(_REFERENCE, values.T, strict=True)
            ]
            reference = torch.cat(fixed)
        else:
            reference = infer_reference_point(y[is_non_dominated(y)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ModelListGP(*(self._fit(x, y[:, i : i + 1]) for i in range(2)))
            acquisition = qNoisyExpectedHypervolumeImprovement(
                model,
                ref_point=reference,
                X_baseline=x,
                sampler=SobolQMCNormalSampler(torch.Size([_SAMPLES]), seed=self._rng.getrandbits(31)),
                prune_baseline=True,
            )
            front = [self._points[i] for i in is_non_dominated(y).nonzero().flatten().tolist()]
            found: list[tuple[Point, Point]] = []
            for _ in range(_BATCH):
                found.append(self._climb(acquisition, front, {end for _, end in found}))
                acquisition.set_X_pending(self._encode([end for _, end in found]))
        return found

    def _fit(self, x: Tensor, y: Tensor) -> SaasFullyBayesianSingleTaskGP | EnsembleMapSaasSingleTaskGP:
        if self._nuts:
            sampled = SaasFullyBayesianSingleTaskGP(x, y)
            fit_fully_bayesian_model_nuts(
                sampled,
                warmup_steps=128,
                num_samples=64,
                thinning=4,
                disable_progbar=True,
                jit_compile=True,
                seed=self._rng.getrandbits(31),
            )
            return sampled
        model = EnsembleMapSaasSingleTaskGP(x, y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model

    def _climb(
        self,
        acquisition: qNoisyExpectedHypervolumeImprovement,
        front: Sequence[Point],
        pending: set[Point],
    ) -> tuple[Point, Point]:
        # (start, end) of the climb that ends highest; the corrected algorithm evaluates the end, the code the start.
        known = pending if self._as_code else self._asked | pending
        starts = [self._near(self._rng.choice(front), 1)[0] for _ in range(_CLIMBS)]
        seen: dict[Point, float] = {}

        def score(points: Sequence[Point]) -> None:
            new = [p for p in dict.fromkeys(points) if p not in seen]
            if new:
                with torch.no_grad():
                    found = acquisition(self._encode(new).unsqueeze(1))
                seen.update(zip(new, found.tolist(), strict=True))

        ends = list(starts)
        score(ends)
        for _ in range(_STEPS):
            around = [self._near(end, _NEIGHBOURS) for end in ends]
            score([point for near in around for point in near])
            climbed = [max([e, *near], key=seen.__getitem__) for e, near in zip(ends, around, strict=True)]
            if climbed == ends:
                break
            ends = climbed
        if self._as_code:
            return max(zip(starts, ends, strict=True), key=lambda pair: seen[pair[1]])
        free = [point for point in seen if point not in known]
        best = max(free, key=seen.__getitem__) if free else self._fresh(known)
        return best, best

    def _fresh(self, known: set[Point]) -> Point:
        point = self._lattice.draw(self._rng)
        while point in known:
            point = self._lattice.draw(self._rng)
        return point

    def _near(self, point: Point, n: int) -> list[Point]:
        if not self._as_code:
            every = self._lattice.neighbours(point)
            return self._rng.sample(every, min(n, len(every)))
        walk, sizes = list(point), self._lattice.sizes
        found: list[Point] = []
        while len(found) < n:  # each step from the last one, through what is not valid too
            i = self._rng.randrange(len(sizes))
            walk[i] = self._rng.choice([v for v in range(sizes[i]) if v != walk[i]])
            if self._lattice.valid(walk):
                found.append(tuple(walk))
        return found


def copula(values: Tensor, of: Tensor) -> Tensor:
    """Normal quantiles of the shares of `of` that are at most each value, kept off 0 and 1."""
    shares = (of.unsqueeze(0) <= values.unsqueeze(1)).double().mean(dim=1)
    return torch.special.ndtri(shares.clamp(_CLAMP, 1 - _CLAMP))


def make(
    space: BoundSpace,
    seed: int,
    evaluations: int,
    *,
    start: int | None = None,
    as_code: bool = False,
    nuts: bool = False,
) -> Zhou2024:
    return Zhou2024(space, seed, start=start or start_size(space), as_code=as_code, nuts=nuts)
