"""Plain BoTorch: a Gaussian process for each of the two objectives on one-hot inputs, and noisy expected hypervolume.

Settings, by BoTorch's documentation: the tutorial "Noisy, parallel, multi-objective BO in BoTorch with qEHVI, qNEHVI, and
qNParEGO" (`SingleTaskGP` for each objective, `SumMarginalLogLikelihood`, 128 Sobol samples, `prune_baseline=True`, all
observed points as the baseline), in the log form that it advises since 0.10 (`qLogNoisyExpectedHypervolumeImprovement`);
the reference point by `infer_reference_point`; inputs one-hot by `NumericToCategoricalEncoding`; over the discrete space
`optimize_acqf_discrete_local_search` with the tutorial's 10 restarts and 512 raw samples, and what was evaluated given as
`X_avoid`.
A fit begins at the hyperparameters of the one before, as in the tutorial "Using BoTorch with closed loops"; anew, it takes 400
steps. Objectives are the score and the negative log cost. The random start is as long as ours.

BoTorch compiles a C++ kernel for the log form at first use, once for a machine; where that fails it computes the same in
Python.
"""

import random
import warnings
from collections.abc import Mapping
from functools import partial

import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms.input import NumericToCategoricalEncoding
from botorch.optim import optimize_acqf_discrete_local_search
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from gpytorch.mlls import SumMarginalLogLikelihood
from torch import Tensor
from torch.nn.functional import one_hot

from autopeft.dsl import BoundSpace
from autopeft.nouns import Configuration
from autopeft.optimize.start import start_size
from peers.lattice import Lattice, Point

_SAMPLES = 128
_RAW = 512
_RESTARTS = 10


class BotorchNehvi:
    """Random points, then the acquisition's best."""

    def __init__(self, space: BoundSpace, seed: int) -> None:
        self._lattice = Lattice(space)
        self._rng = random.Random(seed)
        self._start = start_size(space)
        self._asked: list[Point] = []
        self._points: list[Point] = []
        self._values: list[tuple[float, float]] = []
        self._state: dict[str, Tensor] = {}

    def ask(self, n: int) -> list[Configuration]:
        """See `Peer`."""
        return [self._one() for _ in range(n)]

    def _one(self) -> Configuration:
        if len(self._points) < self._start:
            point = self._lattice.draw(self._rng)
            while point in self._asked:
                point = self._lattice.draw(self._rng)
        else:
            point = self._best()
        self._asked.append(point)
        return self._lattice.space.configuration(self._lattice.assignment(point))

    def tell(self, configuration: Configuration, values: Mapping[str, float]) -> None:
        """See `Peer`."""
        point = self._lattice.point(self._lattice.space.assignment(configuration))
        if point not in self._asked:
            self._asked.append(point)
        self._points.append(point)
        self._values.append((values["score"], -self._lattice.cost(point)))

    def _best(self) -> Point:
        torch.manual_seed(self._rng.getrandbits(31))
        x = torch.tensor(self._points, dtype=torch.float64)
        y = torch.tensor(self._values, dtype=torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # inputs outside of [0, 1], which the one-hot encoding mends
            model = self._fit(x, y)
            acquisition = qLogNoisyExpectedHypervolumeImprovement(
                model,
                ref_point=infer_reference_point(y[is_non_dominated(y)]),
                X_baseline=x,
                sampler=SobolQMCNormalSampler(torch.Size([_SAMPLES]), seed=self._rng.getrandbits(31)),
                prune_baseline=True,
            )
            found, _ = optimize_acqf_discrete_local_search(
                acquisition,
                discrete_choices=[torch.arange(size, dtype=torch.float64) for size in self._lattice.sizes],
                q=1,
                num_restarts=_RESTARTS,
                raw_samples=_RAW,
                inequality_constraints=self._constraints(),
                X_avoid=torch.tensor(self._asked, dtype=torch.float64),
            )
        return tuple(int(v) for v in found[0])

    def _fit(self, x: Tensor, y: Tensor) -> ModelListGP:
        sizes = self._lattice.sizes
        models = []
        for i in range(y.shape[-1]):
            one_hots = NumericToCategoricalEncoding(
                dim=len(sizes),
                categorical_features=dict(enumerate(sizes)),
                encoders={j: partial(_one_hot, size) for j, size in enumerate(sizes)},
            )
            models.append(SingleTaskGP(x, y[:, i : i + 1], input_transform=one_hots))
        model = ModelListGP(*models)
        if self._state:
            model.load_state_dict(self._state, strict=False)
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        self._state = {name: value for name, value in model.state_dict().items() if "raw_" in name}
        return model

    def _constraints(self) -> list[tuple[Tensor, Tensor, float]]:
        # Some layer and some size must be on; where they can be off, off is position 0.
        groups = self._lattice.groups_of_switches()
        return [(torch.tensor(group), torch.ones(len(group), dtype=torch.float64), 1.0) for group in groups]


def _one_hot(size: int, positions: Tensor) -> Tensor:
    return one_hot(positions.long(), size)


def make(space: BoundSpace, seed: int, evaluations: int) -> BotorchNehvi:
    return BotorchNehvi(space, seed)
