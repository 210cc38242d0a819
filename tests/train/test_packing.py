"""Trials that are trained together say what they say alone."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autopeft.adapters.pack import NotPackedError, Rows
from autopeft.errors import TrialError
from autopeft.nouns import Configuration, Module
from autopeft.train import Report, Workbench
from autopeft.train.packing import Packed
from autopeft.train.running import Request

from .test_frozen import LAST, MIDDLE, PREFIX, prepare
from .test_workbench import weights

torch.set_num_threads(1)
CONFIGURATIONS = [
    Configuration.of(modules, rate)
    for modules, rate in (([LAST], 1e-2), ([], 3e-2), ([MIDDLE, LAST], 3e-3), ([PREFIX], 1e-2))
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Workbench:
    folder = tmp_path_factory.mktemp("packing")
    return prepare(folder, str(minilm_folder), folder / "cache")


def requests(*configurations: Configuration, seeds: tuple[int, ...] = (0,)) -> list[Request]:
    return [Request(c, seeds[i % len(seeds)], None) for i, c in enumerate(configurations)]


def alone(bench: Workbench, request: Request) -> list[Report]:
    return list(bench.trial(request.configuration, request.seed, request.folder))


def packed(bench: Workbench, wanted: list[Request]) -> dict[int, list[Report | TrialError]]:
    """All that each trial says."""
    pack = Packed(bench, wanted)
    found: dict[int, list[Report | TrialError]] = {number: [] for number in range(len(wanted))}
    try:
        while pack.running:
            for number, answer in pack.epoch().items():
                found[number].append(answer)
    finally:
        pack.close()
    return found


def values(reports: list[Report | TrialError]) -> list[tuple[float, float]]:
    assert all(isinstance(one, Report) for one in reports)
    return [(one.values["score"], one.values["train_loss"]) for one in reports if isinstance(one, Report)]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)], ids=["one order", "two orders"])
def test_each_learns_what_it_learns_alone(bench: Workbench, seeds: tuple[int, ...]) -> None:
    before = weights(bench)
    wanted = requests(*CONFIGURATIONS, seeds=seeds)
    found = packed(bench, wanted)
    for number, request in enumerate(wanted):
        expected = alone(bench, request)
        assert values(found[number]) == [pytest.approx(one, abs=1e-4) for one in values([*expected])]
        last = found[number][-1]
        assert isinstance(last, Report)
        assert last.last
        assert last.details["packed"] == len(wanted)
    assert weights(bench) == before


def test_images_too(tmp_path: Path, minilm_folder: Path) -> None:
    bench = prepare(tmp_path, "starter", None)
    wanted = requests(*CONFIGURATIONS)
    found = packed(bench, wanted)
    for number, request in enumerate(wanted):
        assert values(found[number]) == [
            pytest.approx(one, abs=1e-4) for one in values([*alone(bench, request)])
        ]


def test_who_fails_or_is_stopped_leaves_the_others(bench: Workbench) -> None:
    diverges = Configuration.of([MIDDLE], 1e30)
    wanted = requests(CONFIGURATIONS[0], diverges, CONFIGURATIONS[2], CONFIGURATIONS[3])
    pack = Packed(bench, wanted)
    first = pack.epoch()
    assert isinstance(first[1], TrialError)
    assert "the training loss is" in str(first[1])
    pack.stop(3)
    assert pack.running == [0, 2]
    second = pack.epoch()
    assert pack.running == []
    for number in (0, 2):
        reports = [first[number], second[number]]
        assert values(reports) == [
            pytest.approx(one, abs=1e-4) for one in values([*alone(bench, wanted[number])])
        ]


def test_one_that_cannot_be_put_on_says_so(bench: Workbench) -> None:
    wide = Configuration.of([Module("oft", 7, (0,), (("sites", ("q",)),))], 1e-2)  # no divisor of the width
    found = packed(bench, requests(CONFIGURATIONS[0], wide))
    assert [type(one) for one in found[1]] == [TrialError]
    assert len(found[0]) == 2


def test_adapters_are_saved_as_they_are_alone(bench: Workbench, tmp_path: Path) -> None:
    configurations = [CONFIGURATIONS[0], CONFIGURATIONS[2]]
    packed(bench, [Request(c, 0, tmp_path / f"packed-{i}") for i, c in enumerate(configurations)])
    for i, configuration in enumerate(configurations):
        alone(bench, Request(configuration, 0, tmp_path / f"alone-{i}"))
        for file in (tmp_path / f"alone-{i}").rglob("*.safetensors"):
            mine = load_file(tmp_path / f"packed-{i}" / file.relative_to(tmp_path / f"alone-{i}"))
            for name, tensor in load_file(file).items():
                assert torch.allclose(mine[name], tensor, atol=1e-4), name


def test_a_model_that_takes_no_pack_trains_them_one_by_one(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Rows, tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise NotPackedError("it is no batch")

    wanted = requests(CONFIGURATIONS[0], CONFIGURATIONS[3])
    expected = [alone(bench, request) for request in wanted]
    monkeypatch.setattr(Rows, "parts", refused)
    found = packed(bench, wanted)
    for number in range(2):
        assert values(found[number]) == values([*expected[number]])
        last = found[number][-1]
        assert isinstance(last, Report)
        assert "packed" not in last.details


def test_memory_that_runs_out_makes_parts_of_every_batch(bench: Workbench) -> None:
    """A model that takes seven rows at once: of two trials, batches of eight in parts of two."""
    plain = Workbench(bench.backbone, bench.task, bench.data, bench.training)
    wanted = requests(CONFIGURATIONS[2], CONFIGURATIONS[3])
    expected = [alone(plain, request) for request in wanted]
    layer = bench.backbone.model.get_submodule(bench.backbone.layout.layers[0].path)

    def full(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if len(args[0]) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = layer.register_forward_pre_hook(full)
    try:
        found = packed(plain, wanted)
    finally:
        handle.remove()
    for number in range(2):
        assert values(found[number]) == [pytest.approx(one, abs=1e-4) for one in values([*expected[number]])]
        last = found[number][-1]
        assert isinstance(last, Report)
        assert last.details["rows_at_once"] == 2
