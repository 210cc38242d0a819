"""Suggestions for any space and any objectives."""

import math
import random
from collections.abc import Callable, Sequence

import pytest
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume
from botorch.utils.multi_objective.pareto import is_non_dominated

from autopeft.dsl import Assignment, Choice, Condition, Float, Integer, PlainSpace, Point, build_space
from autopeft.errors import InputError, UsedUpError
from autopeft.optimize import general
from autopeft.optimize.general import Told, front, log_nehvi, propose_general, reference_point, spread_out
from autopeft.optimize.observation import Observation
from autopeft.optimize.plain_features import PlainFeatures
from autopeft.optimize.surrogate import fit_surrogate
from autopeft.registry import Objective

GRID = build_space(
    "grid",
    decisions={
        "x": Integer(0, 9),
        "y": Integer(0, 9),
        "kind": Choice(["a", "b", "c"]),
        "z": Choice([0, 1, 2], when=[Condition("kind", "in", ("a",))]),
    },
).plain()

GAIN = Objective("gain", "maximize")
LOSS = Objective("loss", "minimize")
STEPS = Objective("steps", "minimize", function=lambda point: point["x"] + point["y"])
HEIGHT = Objective("height", "maximize", function=lambda point: point["y"])


def gain(point: Point) -> float:
    kind = {"a": 0.2, "b": 0.0, "c": -0.2}[point["kind"]]
    return kind - ((point["x"] - 7) / 10) ** 2 - ((point["y"] - 2) / 10) ** 2 + 0.05 * point.get("z", 0)


def loss(point: Point) -> float:
    return ((point["x"] - 2) / 10) ** 2 + ((point["y"] - 8) / 10) ** 2 + 0.1 * (point["kind"] == "a")


def told(points: Sequence[Assignment], *, pending: Sequence[Assignment] = ()) -> list[Told]:
    measured = [GRID.configuration(point) for point in points]
    values = [{"gain": gain(point), "loss": loss(point)} for point in measured]
    return [*map(Told, points, values), *(Told(point, None) for point in pending)]


def samples(n: int, seed: int = 0) -> list[Assignment]:
    return list(dict.fromkeys(GRID.sample(random.Random(seed), 3 * n)))[:n]


@pytest.mark.parametrize(
    "objectives",
    [[GAIN], [GAIN, STEPS], [GAIN, LOSS], [GAIN, LOSS, STEPS]],
    ids=lambda objectives: "+".join(o.name for o in objectives),
)
def test_the_acquisition_is_the_expected_improvement(
    objectives: list[Objective], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against plain Monte Carlo: joint samples of all points, and the hypervolume with and without the candidate."""
    monkeypatch.setattr(general, "_SAMPLES", (128,) * 4)
    base, pending, candidates = samples(12)[:7], samples(12)[7:9], samples(12)[9:]
    seen = told(base, pending=pending)
    expected = simulated(objectives, seen, [*base, *pending], candidates, draws=250)
    found = log_nehvi(GRID, objectives, seen, seed=1)(candidates).exp()
    assert torch.allclose(found, expected, rtol=0.25, atol=0.1 * float(expected.max()))


def simulated(
    objectives: Sequence[Objective],
    seen: Sequence[Told],
    base: Sequence[Assignment],
    candidates: Sequence[Assignment],
    draws: int,
) -> torch.Tensor:
    points = [*base, *candidates]
    columns, means = [], []
    generator = torch.Generator().manual_seed(0)
    for objective in objectives:
        sign = 1.0 if objective.direction == "maximize" else -1.0
        if objective.function is not None:
            exact = torch.tensor([sign * objective.function(GRID.configuration(p)) for p in points]).double()
            columns.append(exact.expand(draws, -1))
            means.append(exact)
            continue
        measured = [one for one in seen if one.values is not None]
        observations = [Observation(one.assignment, sign * one.values[objective.name]) for one in measured]  # type: ignore[index]
        surrogate = fit_surrogate(PlainFeatures(GRID), observations)  # type: ignore[arg-type]
        with torch.no_grad():
            mean, covariance = surrogate.posterior(surrogate.numbers(points))
        root = torch.linalg.cholesky(
            covariance + 1e-6 * covariance.diagonal().mean() * torch.eye(len(points))
        )
        normal = torch.randn(draws, len(points), generator=generator, dtype=torch.float64)
        columns.append(mean + normal @ root.T)
        means.append(mean)
    values = torch.stack(columns, dim=-1)  # (draws, points, K)
    complete = sum(one.values is not None for one in seen)
    reference = reference_point(torch.stack(means, dim=-1)[:complete])
    if len(objectives) == 1:
        best = values[:, : len(base), 0].amax(dim=1, keepdim=True)
        return (values[:, len(base) :, 0] - best).clamp_min(0).mean(dim=0)
    volume = Hypervolume(reference)
    total = torch.zeros(len(candidates), dtype=torch.float64)
    for row in values:
        before = volume_of(volume, row[: len(base)], reference)
        for i in range(len(candidates)):
            after = volume_of(volume, torch.cat([row[: len(base)], row[len(base) + i, None]]), reference)
            total[i] += after - before
    return total / len(values)


def volume_of(volume: Hypervolume, values: torch.Tensor, reference: torch.Tensor) -> float:
    values = values[(values > reference).all(dim=-1)]
    return float(volume.compute(values[is_non_dominated(values)])) if len(values) else 0.0


def test_the_order_of_what_was_told_does_not_matter() -> None:
    seen = told(samples(9)[:7], pending=samples(9)[7:])
    shuffled = random.Random(1).sample(seen, len(seen))
    assert propose_general(GRID, [GAIN, LOSS], seen, 3) == propose_general(GRID, [GAIN, LOSS], shuffled, 3)


def test_nothing_known_is_proposed_and_all_is_a_function_of_the_arguments() -> None:
    seen = told(samples(9)[:7], pending=samples(9)[7:])
    point = propose_general(GRID, [GAIN, STEPS], seen, 3)
    assert point == propose_general(GRID, [GAIN, STEPS], seen, 3)
    assert point == GRID.canonical(point)
    assert point not in samples(9)
    assert len({propose_general(GRID, [GAIN], told([]), seed) for seed in range(5)}) > 2


def test_four_objectives() -> None:
    point = propose_general(GRID, [HEIGHT, LOSS, STEPS, GAIN], told(samples(7)), 0)
    assert point not in samples(7)
    assert GRID.valid(point)


def test_where_nothing_can_be_better_the_farthest_is_taken() -> None:
    """Whatever is left is dearer than the reference point, so that its volume is exactly 0."""
    space = build_space("s", decisions={"x": Choice([0, 1, 2, 3, 4, 100, 101, 102])}).plain()
    cost = Objective("cost", "minimize", function=lambda point: point["x"])
    seen = [Told((x,), {"gain": float(x % 3)}) for x in range(5)]
    acquisition = log_nehvi(space, [GAIN, cost], seen, seed=0)
    assert acquisition([(100,), (101,), (102,)]).tolist() == [-math.inf] * 3
    assert propose_general(space, [GAIN, cost], seen, 0) == (102,)


def test_values_that_are_all_the_same_and_points_that_failed() -> None:
    seen = [Told(point, {"gain": 0.5}) for point in samples(6)]
    assert propose_general(GRID, [GAIN], seen, 0) not in samples(6)
    failed = [Told(point, {"gain": math.nan}) for point in samples(6)]
    assert propose_general(GRID, [GAIN], failed, 0) not in samples(6)
    assert propose_general(GRID, [GAIN, STEPS], [*seen[:5], failed[5]], 0) not in samples(6)


def test_the_start_is_spread_out() -> None:
    rng, taken = random.Random(0), set(GRID.sample(random.Random(0), 1))
    for _ in range(4):
        taken.add(spread_out(GRID, taken, rng))
    assert {point[2] for point in taken} == {"a", "b", "c"}


@pytest.mark.parametrize(
    "decisions",
    [
        {"kind": Choice(["a", "b", "c", "d", "e", "f", "g", "h"])},
        {"on": Choice([False, True]), "off": Choice([False, True]), "kind": Choice(["a", "b", "c"])},
        {"x": Float(-1, 1)},
        {"x": Integer(0, 5000), "y": Float(1e-4, 1.0, log=True), "fixed": 3},
    ],
    ids=["words", "switches", "one float", "intervals"],
)
def test_spaces_of_one_kind_of_decision(decisions: dict[str, object]) -> None:
    space = build_space("s", decisions=decisions).plain()  # type: ignore[arg-type]
    points = list(dict.fromkeys(space.sample(random.Random(0), 12)))[:6]
    seen = [Told(point, {"gain": math.sin(i)}) for i, point in enumerate(points)]
    point = propose_general(space, [GAIN], seen, 0)
    assert point not in points
    assert space.valid(point)


def test_the_last_points_of_a_space_are_found() -> None:
    """One of them is never drawn."""
    space = build_space("s", decisions={"kind": Choice(["a", "b", "c"], priors=[1, 1, 0])}).plain()
    seen: list[Told] = []
    for _ in range(3):
        seen.append(Told(propose_general(space, [GAIN], seen, 0), {"gain": 0.0}))
    assert {one.assignment for one in seen} == {("a",), ("b",), ("c",)}
    with pytest.raises(UsedUpError):
        propose_general(space, [GAIN], seen, 0)


def test_what_a_function_says_must_be_finite() -> None:
    odd = Objective("odd", "minimize", function=lambda point: math.inf if point["x"] > 3 else 0.0)
    with pytest.raises(InputError, match="the function of 'odd' says inf of"):
        propose_general(GRID, [GAIN, odd], told(samples(8)), 0)


def test_the_front_of_several_objectives() -> None:
    assert front([[1.0, 2.0, 0.0], [1.0, 0.0, 0.5]]) == [0, 1]
    assert front([[1.0, 2.0, 0.0]]) == [1]
    assert front([[]]) == []


# -- better than chance ------------------------------------------------------------------------------------------------


def search(space: PlainSpace, value: Callable[[Point], float], evaluations: int, seed: int) -> float:
    seen: list[Told] = []
    for _ in range(evaluations):
        point = propose_general(space, [GAIN], seen, seed)
        seen.append(Told(point, {"gain": value(space.configuration(point))}))
    return max(one.values["gain"] for one in seen if one.values is not None)


def by_chance(space: PlainSpace, value: Callable[[Point], float], evaluations: int, seeds: int) -> float:
    rng = random.Random(0)
    best = [
        max(value(space.configuration(point)) for point in space.sample(rng, evaluations))
        for _ in range(seeds)
    ]
    return sum(best) / len(best)


def test_the_optimum_of_a_small_space_is_found() -> None:
    """500 points, 18 evaluations: chance alone is 4 % likely to find the best one."""
    assert GRID.cardinality == 500
    assert search(GRID, gain, 18, seed=0) == pytest.approx(0.3, abs=0.025)
    assert by_chance(GRID, gain, 18, seeds=300) < 0.22


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bowl", "steep", "words"])
def test_small_optima_are_found_sooner_than_by_chance(name: str) -> None:
    """At most half of the regret of chance, over six seeds."""
    words = build_space("words", decisions={f"w{i}": Choice(["a", "b", "c", "d"]) for i in range(5)}).plain()
    spaces: dict[str, tuple[PlainSpace, Callable[[Point], float]]] = {
        "bowl": (GRID, gain),
        "steep": (GRID, lambda point: -math.hypot(point["x"] - 3, point["y"] - 6) + (point["kind"] == "b")),
        "words": (words, lambda point: sum(1.0 + 0.2 * i for i in range(5) if point[f"w{i}"] == "abcda"[i])),
    }
    space, value = spaces[name]
    points = {space.canonical(point) for point in space.sample(random.Random(0), 20_000)}
    optimum = max(value(space.configuration(point)) for point in points)
    ours = sum(optimum - search(space, value, 24, seed) for seed in range(6)) / 6
    assert ours <= 0.5 * (optimum - by_chance(space, value, 24, seeds=300))
