"""A worker that has trained a thousand trials is as large as after the first hundred, and its backbone is untouched."""

from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from autopeft.nouns import Configuration, Module
from autopeft.train import Workbench
from autopeft.train.packing import Packed
from autopeft.train.running import Request

from .test_frozen import prepare
from .test_workbench import weights

torch.set_num_threads(1)
TRIALS = 1_000
WARM = 200  # by then every kind has been there several times, and every cache is as full as it gets


def lora(layers: tuple[int, ...], **options: object) -> Module:
    return Module("lora", 2, layers, tuple(sorted([*options.items(), ("alpha", 4.0), ("sites", ("q", "v"))])))


KINDS = [
    [],
    [lora((0, 1, 2, 3, 4, 5))],
    [lora((4,), init="pissa")],
    [lora((5,), dora=True)],
    [Module("bottleneck", 6, (2, 3), (("position", "parallel"), ("sites", ("ffn",))))],
    [Module("prefix", 2, (0, 5), (("sites", ("attention",)),))],
    [Module("oft", 4, (5,), (("sites", ("q",)),))],
    [Module("sparse", 0.01, (3,), (("mask", "random"), ("sites", ("down",))))],
]


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    bench = prepare(tmp_path, "starter", tmp_path / "cache")
    bench.training = replace(bench.training, epochs=1)
    for split, data in bench.data.items():
        bench.data[split] = type(data)(data.pixel_values[:8], data.labels[:8])  # type: ignore[call-arg,union-attr]
    return bench


@pytest.mark.slow
def test_a_thousand_trials(bench: Workbench) -> None:
    before, process = weights(bench), psutil.Process()
    sizes = []
    for number in range(TRIALS):
        configuration = Configuration.of(KINDS[number % len(KINDS)], 1e-2)
        for _ in bench.trial(configuration, number, None):
            pass
        if number % 50 == 0:
            sizes.append((number, process.memory_info().rss))
    warm = [size for number, size in sizes if number >= WARM]
    assert max(warm) < 1.05 * warm[0], sizes
    assert weights(bench) == before


@pytest.mark.slow
def test_a_hundred_packs(bench: Workbench) -> None:
    before, process = weights(bench), psutil.Process()
    sizes = []
    for number in range(120):
        kinds = [KINDS[(number + i) % len(KINDS)] for i in range(3)]
        packed = Packed(bench, [Request(Configuration.of(k, 1e-2), 0, None) for k in kinds if k != KINDS[2]])
        while packed.running:
            packed.epoch()
        sizes.append(process.memory_info().rss)
    assert max(sizes[40:]) < 1.05 * sizes[40], sizes
    assert weights(bench) == before
