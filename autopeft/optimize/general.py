"""Suggestions for any space and any objectives: one or several, each measured or known.

A Gaussian process models each measured objective; the known ones are exact. All are maximised, as coordinates
(`Objective.coordinate`): what is to be small is negated, and of what spans orders of magnitude it is the logarithm. The acquisition is noisy expected hypervolume improvement; of one objective alone, noisy expected improvement.

Notation:
    K            objectives
    B            points that are told or pending, m of them
    f            the objectives without noise at a point, (K,): independent posteriors, a known one without variance
    f^s          one of S joint posterior samples of f at B: pending points take part with what they may turn out to be
    r            the reference point, (K,)
    [l, u)       cells, a partition of what is above r and not dominated by f^s; u may be infinite
    mu^s, sd     a candidate's posterior given f^s

    HVI(f(x))  = sum over cells of  prod_k (min(u_k, f_k(x)) - l_k)^+
    NEHVI(x)   = 1/S sum_s sum over cells of s of  prod_k [v_k(l_k) - v_k(u_k)],
    v_k(a)     = E[(f_k(x) - a)^+ | f^s] = sd_k h((mu^s_k - a) / sd_k),      h(z) = phi(z) + z Phi(z)

That is the noisy expected hypervolume improvement of Daulton et al. 2021 (arXiv 2105.08195, equation 3), integrated over the
candidate in closed form as in Yang et al. 2019 (doi 10.1016/j.swevo.2018.10.007), cell by cell on BoTorch's box
decomposition (Lacour et al. 2017), in logarithms (Ament et al. 2023, arXiv 2310.20708): a value that is 0 in floating
point, everywhere, still has an order. For K = 1 there is one cell, from the best of f^s upwards: noisy expected
improvement (Letham et al. 2019, arXiv 1706.07094).
"""

import functools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from botorch.acquisition.analytic import _log_ei_helper  # log h(z), stable for every z
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from autopeft.dsl import Assignment, BoundSpace, PlainSpace, SearchSpace
from autopeft.errors import InputError, unknown_name
from autopeft.optimize.climb import climb
from autopeft.optimize.ehvi import Acquisition
from autopeft.optimize.features import Features, features_of
from autopeft.optimize.observation import Observation
from autopeft.optimize.plain_features import PlainFeatures
from autopeft.optimize.samplers import SAMPLERS
from autopeft.optimize.samples import Samples
from autopeft.optimize.start import fresh, generator, start_size
from autopeft.optimize.surrogate import Belief, Surrogate, fit_surrogate
from autopeft.registry import Objective

_SAMPLES = (64, 32, 16, 8)  # S, for one objective to four: there are more cells of each
_MEMBERS = 40  # of a front of three or four, of which the cells are counted; spread evenly over all
_TERMS = 2_000_000  # cells x candidates at a time
_ORIGINS = 6  # members of the front around which the search for the next point begins
_SPREAD = 64  # random points among which the one farthest from all others is taken


@dataclass(frozen=True)
class Told:
    """What is known of one point.

    Attributes:
        assignment: The point, canonical.
        values: The measured objectives by name; NaN where it failed; None while it is pending.
        variance: Of the values, beyond the noise that all share; see `Observation`.
    """

    assignment: Assignment
    values: Mapping[str, float] | None
    variance: Mapping[str, float] | None = None

    @property
    def complete(self) -> bool:
        """Whether there is something to learn from."""
        return self.values is not None and all(map(math.isfinite, self.values.values()))


def propose_general(
    space: BoundSpace | PlainSpace, objectives: Sequence[Objective], told: Sequence[Told], seed: int
) -> Assignment:
    """The next point: one of a spread-out start, then the one of the greatest acquisition. A function of its arguments.

    Args:
        space: The space.
        objectives: One to four.
        told: All points there are, in any order.
        seed: Of the search.

    Raises:
        UsedUpError: Every point is told or pending.
    """
    told = sorted(told, key=repr)  # whatever came first, sums have the same last digit
    rng = generator(seed, len(told))
    taken = {one.assignment for one in told}
    complete = [one for one in told if one.complete]
    if len(told) < start_size(space) or len(complete) < 2:
        return spread_out(space, taken, rng)
    acquisition = log_nehvi(space, objectives, told, seed=rng.getrandbits(31))
    point = climb(space, acquisition, taken, _leading(space, objectives, complete), rng)
    # Where nothing can be better than what there is, as far as is known, the one that is farthest from it teaches most.
    return point if float(acquisition([point])) > -math.inf else spread_out(space, taken, rng)


TRAINABLE = "trainable"
"""The objective that a bound space has tables of."""

General = Callable[[BoundSpace | PlainSpace, Sequence[Objective], Sequence[Told], int], Assignment]
"""(space, objectives, what was told, seed) to a point that is not known."""


def find_general(sampler: str) -> General:
    """The way to the next point with this name, of any objectives.

    Raises:
        UnknownNameError: There is none.
    """
    if sampler not in SAMPLERS:
        raise unknown_name("sampler", sampler, SAMPLERS)
    if sampler == "botorch":
        return propose_general
    if sampler == "random":
        return _propose_random
    return functools.partial(_propose_optuna, sampler.partition(":")[2])


def _propose_random(
    space: BoundSpace | PlainSpace, objectives: Sequence[Objective], told: Sequence[Told], seed: int
) -> Assignment:
    return fresh(space, {one.assignment for one in told}, generator(seed, len(told)), 1)[0]


def _propose_optuna(
    sampler: str,
    space: BoundSpace | PlainSpace,
    objectives: Sequence[Objective],
    told: Sequence[Told],
    seed: int,
) -> Assignment:
    from autopeft.optimize.optuna import ask_optuna  # takes a second to import

    rows: list[tuple[Assignment, list[float] | None]] = []
    for one in told:
        known = {o.name: known_values(space, o, [one.assignment])[0] for o in objectives if o.known}
        if one.values is None:
            rows.append((one.assignment, None))
        else:
            measured = {o.name: o.coordinate(one.values[o.name]) for o in objectives if not o.known}
            rows.append((one.assignment, [(known | measured)[o.name] for o in objectives]))
    return ask_optuna(sampler, space, ["maximize"] * len(objectives), rows, seed)


def spread_out(space: SearchSpace, taken: set[Assignment], rng: random.Random) -> Assignment:
    """Of some random points the one that is farthest from all that are taken, by its encoding."""
    pool = fresh(space, taken, rng, _SPREAD)
    if not taken:
        return pool[0]
    there = torch.tensor([space.encode(a).vector for a in sorted(taken, key=repr)], dtype=torch.float64)
    here = torch.tensor([space.encode(a).vector for a in pool], dtype=torch.float64)
    return pool[int(torch.cdist(here, there, p=1).amin(dim=1).argmax())]


# -- the acquisition ---------------------------------------------------------------------------------------------------


def known_values(
    space: BoundSpace | PlainSpace, objective: Objective, points: Sequence[Assignment]
) -> list[float]:
    """An objective that is known exactly, as a coordinate: larger is better.

    The trainable parameters of a bound space are at their places in its budget.

    Raises:
        InputError: A function says something that has no place on its scale.
    """
    if objective.name == TRAINABLE and isinstance(space, BoundSpace) and objective.function is None:
        sign = 1.0 if objective.direction == "maximize" else -1.0
        return [sign * space.cost_coordinate(space.cost(point)) for point in points]
    found = []
    for point in points:
        configuration = space.configuration(point)
        value = objective.value(configuration, space.shape if isinstance(space, BoundSpace) else None)
        coordinate = objective.coordinate(value)
        if not math.isfinite(coordinate):
            above = " above 0" if objective.log else ""
            raise InputError(
                f"the function of '{objective.name}' says {value} of {configuration}: what is known must be a finite "
                f"number{above} everywhere in the space."
            )
        found.append(coordinate)
    return found


def log_nehvi(
    space: BoundSpace | PlainSpace, objectives: Sequence[Objective], told: Sequence[Told], *, seed: int
) -> Acquisition:
    """The acquisition function: canonical assignments (n of them) to log NEHVI (n,).

    Args:
        space: The space.
        objectives: One to four.
        told: Points, of which at least one is complete.
        seed: Of the quasi-random posterior samples.
    """
    complete = list(dict.fromkeys(one.assignment for one in told if one.complete))
    pending = [one.assignment for one in told if one.values is None]
    base = list(dict.fromkeys([*complete, *pending]))
    models: list[_Model] = []
    for i, objective in enumerate(objectives):
        if objective.known:
            models.append(_Exact(space, objective, base))
        else:
            samples = _SAMPLES[len(objectives) - 1]
            models.append(_Sampled(_fit(space, objective, told), base, samples, seed + i))
    means = torch.stack([model.means for model in models], dim=-1)[: len(complete)]
    reference = reference_point(means)
    at_base = torch.stack(
        [model.samples.expand(_SAMPLES[len(objectives) - 1], -1) for model in models], dim=-1
    )  # (S, m, K)
    cells = [_cells(sample, reference) for sample in at_base]
    low, high = (torch.cat([bounds[side] for bounds in cells]) for side in (0, 1))  # (C, K)
    of = torch.repeat_interleave(torch.arange(len(cells)), torch.tensor([len(bounds[0]) for bounds in cells]))

    def acquisition(points: Sequence[Assignment]) -> Tensor:
        chunk = max(1, _TERMS // len(low))
        found = [
            _log_volume(models, points[i : i + chunk], low, high, of) for i in range(0, len(points), chunk)
        ]
        return torch.cat(found) - math.log(len(cells))

    return acquisition


def reference_point(values: Tensor) -> Tensor:
    """From where improvement counts, from the data themselves.

    A tenth of the front's range below its worst, and never above the median of all: while the front is a few points
    close to each other, what lies beyond them counts too.

    Args:
        values: (n, K), larger is better.
    """
    front = values[is_non_dominated(values)]
    worst, best = front.amin(dim=0), front.amax(dim=0)
    reach = torch.where(best > worst, best - worst, (values.amax(dim=0) - values.amin(dim=0)).clamp_min(1e-9))
    return torch.minimum(worst - 0.1 * reach, values.median(dim=0).values)


def _cells(values: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds (c, K) of the cells that partition what is above the reference and not dominated."""
    if values.shape[-1] == 1:
        return values.amax(dim=0, keepdim=True), torch.full((1, 1), math.inf, dtype=values.dtype)
    front = values[is_non_dominated(values)]
    front = front[(front > reference).all(dim=-1)]
    if values.shape[-1] > 2 and len(front) > _MEMBERS:
        front = front[torch.linspace(0, len(front) - 1, _MEMBERS).round().long()]
    bounds = FastNondominatedPartitioning(ref_point=reference, Y=front).get_hypercell_bounds()
    return bounds[0], bounds[1]


@dataclass(frozen=True)
class _Exact:
    """An objective that is known."""

    space: BoundSpace | PlainSpace
    objective: Objective
    base: Sequence[Assignment]

    @property
    def means(self) -> Tensor:
        """(m,) at the base."""
        return torch.tensor(known_values(self.space, self.objective, self.base), dtype=torch.float64)

    @property
    def samples(self) -> Tensor:
        """(1, m)."""
        return self.means.unsqueeze(0)

    def log_gains(self, points: Sequence[Assignment], low: Tensor, high: Tensor, of: Tensor) -> Tensor:
        """log E[(min(u, f) - l)^+]: cells l, u (C,) to (C, n)."""
        value = torch.tensor(known_values(self.space, self.objective, points), dtype=torch.float64)
        return (torch.minimum(value, high.unsqueeze(-1)) - low.unsqueeze(-1)).clamp_min(0).log()


class _Sampled:
    """A measured objective: its posterior, and joint samples of it at the base."""

    def __init__(self, surrogate: Surrogate, base: Sequence[Assignment], samples: int, seed: int) -> None:
        self._surrogate = surrogate
        with torch.no_grad():
            self._drawn = Samples(surrogate, surrogate.numbers(base), samples, seed)
        self.means, self.samples = self._drawn.means, self._drawn.values

    def log_gains(self, points: Sequence[Assignment], low: Tensor, high: Tensor, of: Tensor) -> Tensor:
        """log E[(min(u, f) - l)^+ | f^s]: cells l, u (C,), each of the sample `of` (C,), to (C, n)."""
        with torch.no_grad():
            mu, sd = self._drawn.given(self._surrogate.numbers(points))
            mu = mu[of]  # (C, n)
            gain: Tensor = sd.log() + _log_ei_helper((mu - low.unsqueeze(-1)) / sd)
            finite = high.isfinite()
            if finite.any():
                beyond = sd.log() + _log_ei_helper((mu[finite] - high[finite].unsqueeze(-1)) / sd)
                gain[finite] = _log_difference(gain[finite], beyond)
        return gain


_Model = _Exact | _Sampled


def _log_difference(a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) - exp(b)) for a >= b; -inf where they are equal."""
    difference: Tensor = a + torch.log(-torch.expm1((b - a).clamp_max(0.0)))
    return difference


def _log_volume(
    models: Sequence[_Model], points: Sequence[Assignment], low: Tensor, high: Tensor, of: Tensor
) -> Tensor:
    total = torch.zeros(len(low), len(points), dtype=torch.float64)
    for k, model in enumerate(models):
        total += model.log_gains(points, low[:, k], high[:, k], of)
    return total.logsumexp(dim=0)


def expected_values(
    space: BoundSpace | PlainSpace,
    objective: Objective,
    told: Sequence[Told],
    points: Sequence[Assignment],
    beliefs: Sequence[Belief] = (),
) -> list[float]:
    """A measured objective's posterior means at some points, larger is better.

    Args:
        space: The space.
        objective: The objective.
        told: All points there are.
        points: Of which to say it.
        beliefs: What was thought of points beforehand.
    """
    if not points:
        return []
    surrogate = _fit(space, objective, told, beliefs)
    with torch.no_grad():
        means: list[float] = surrogate.mean(surrogate.numbers(points)).tolist()
    return means


def _fit(
    space: BoundSpace | PlainSpace, objective: Objective, told: Sequence[Told], beliefs: Sequence[Belief] = ()
) -> Surrogate:
    seen = []
    for one in told:
        if one.complete and one.values is not None:
            variance = (one.variance or {}).get(objective.name, 0.0)
            seen.append(
                Observation(one.assignment, objective.coordinate(one.values[objective.name]), variance)
            )
    if isinstance(space, BoundSpace):
        return fit_surrogate(features_of(space), seen, beliefs)
    return fit_surrogate(cast(Features, PlainFeatures(space)), seen, beliefs)


# -- its maximum -------------------------------------------------------------------------------------------------------


def _leading(
    space: BoundSpace | PlainSpace, objectives: Sequence[Objective], complete: Sequence[Told]
) -> list[Assignment]:
    """Some points of the front of what was told."""
    columns = []
    for objective in objectives:
        if objective.known:
            columns.append(known_values(space, objective, [one.assignment for one in complete]))
        else:
            columns.append([objective.coordinate(cast(Any, one.values)[objective.name]) for one in complete])
    members = [complete[i].assignment for i in front(columns)]
    return list(dict.fromkeys(members))[-_ORIGINS:]


def front(columns: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other dominates: objectives (K) of points (n), larger is better."""
    if not columns[0]:
        return []
    on = is_non_dominated(torch.tensor(columns, dtype=torch.float64).T)
    return [i for i, member in enumerate(on.tolist()) if member]
