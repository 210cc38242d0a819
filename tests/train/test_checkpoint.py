"""A trial that is left between two epochs ends with the numbers of one that was not."""

import resource
from pathlib import Path

import pytest
import torch

from autopeft.nouns import Configuration, Module
from autopeft.tasks.batches import EncodedImages
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench, checkpoint
from autopeft.train.checkpoint import Checkpoint
from autopeft.train.running import Report

LORA = Module("lora", 2, (0, 1, 2), (("alpha", 4.0), ("sites", ("q", "v"))))
SERIAL = Module("bottleneck", 4, (0, 1), (("position", "serial"), ("sites", ("ffn",))))
PREFIX = Module("prefix", 3, (0, 1), (("sites", ("attention",)),))
ADALORA = Module("adalora", 3, (0, 1), (("sites", ("q", "v")), ("target_rank", 1)))
SPARSE = Module("sparse", 0.01, (0, 1), (("mask", "random"), ("sites", ("q",))))
PISSA = Module("lora", 2, (0, 1), (("init", "pissa"), ("sites", ("q", "v"))))

KINDS = {
    "lora": Configuration.of([LORA], 1e-2),
    "bottleneck and prefix": Configuration.of([SERIAL, PREFIX], 1e-2),
    "adalora": Configuration.of([ADALORA], 1e-2),
    "sparse": Configuration.of([SPARSE], 1e-2),
    "pissa and bottleneck": Configuration.of([PISSA, SERIAL], 1e-2),
    "nothing but the head": Configuration.of([], 1e-2),
    "dealt out before": Configuration.of([LORA], 1e-2, None, {"type": "spt"}),
}
STEERED = Configuration.of([LORA], 1e-2, None, {"type": "ist"})


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """The starter, with few images."""
    torch.set_num_threads(1)
    task = resolve_task("starter", confirmation_fraction=0.5)
    bench = Workbench.prepare("starter", {}, task.settings, Training(epochs=3, batch_size=32))
    for name, split in bench.data.items():
        assert isinstance(split, EncodedImages)
        bench.data[name] = EncodedImages(split.pixel_values[:96], split.labels[:96])
    return bench


def same(one: Report, other: Report) -> bool:
    """Whether two reports say the same, to the last bit; time and memory are what they are."""
    exact = [
        {name: value for name, value in report.values.items() if name not in ("seconds", "peak_memory_bytes")}
        for report in (one, other)
    ]
    return (one.rung, one.last, exact[0]) == (other.rung, other.last, exact[1])


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_as_if_it_had_never_been_left(bench: Workbench, kind: str, tmp_path: Path) -> None:
    whole = list(bench.trial(KINDS[kind], 3, tmp_path / "whole"))
    file = tmp_path / "left" / checkpoint.NAME
    for epochs in (1, 2):  # left after the first epoch, and again after the second
        trial = bench.trial(KINDS[kind], 3, tmp_path / "left", checkpoint=file)
        seen = [next(trial) for _ in range(epochs)]
        trial.close()  # type: ignore[attr-defined]  # a generator
        assert same(seen[-1], whole[epochs - 1])
    found = list(bench.trial(KINDS[kind], 3, tmp_path / "left", checkpoint=file))
    assert [report.rung for report in found] == [2, 3]  # what was reported last comes first once more
    assert all(same(one, other) for one, other in zip(found, whole[1:], strict=True))
    for saved in (tmp_path / "whole").glob("*.safetensors"):
        assert saved.read_bytes() == (tmp_path / "left" / saved.name).read_bytes()


def test_an_allocator_that_decides_while_it_is_trained_begins_anew(bench: Workbench, tmp_path: Path) -> None:
    file = tmp_path / checkpoint.NAME
    trial = bench.trial(STEERED, 3, None, checkpoint=file)
    first = next(trial)
    trial.close()  # type: ignore[attr-defined]
    assert not file.exists()
    found = list(bench.trial(STEERED, 3, None, checkpoint=file))
    assert [report.rung for report in found] == [1, 2, 3]
    assert same(found[0], first)


def test_the_checkpoint_of_another_trial_is_not_taken_up(bench: Workbench, tmp_path: Path) -> None:
    """Such as one left by a study of the same name in a database that was deleted."""
    file = tmp_path / checkpoint.NAME
    next(bench.trial(KINDS["lora"], 3, None, checkpoint=file))
    for configuration, seed in ((KINDS["lora"], 4), (KINDS["bottleneck and prefix"], 3)):
        (first, *_) = bench.trial(configuration, seed, None, checkpoint=tmp_path / "none")
        other = tmp_path / f"{seed}-{checkpoint.NAME}"
        other.write_bytes(file.read_bytes())
        assert same(next(bench.trial(configuration, seed, None, checkpoint=other)), first)
    file.write_bytes(file.read_bytes()[:1000])  # no whole file
    assert next(bench.trial(KINDS["lora"], 3, None, checkpoint=file)).rung == 1


def test_a_write_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / checkpoint.NAME
    small = Checkpoint({"a": 1}, {"epoch": 1}, {"t": torch.ones(3)})
    checkpoint.write(small, file)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.write(Checkpoint({"a": 1}, {"epoch": 2}, {"t": torch.ones(10_000)}), file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = checkpoint.read(file)
    assert kept is not None
    assert kept.state == {"epoch": 1}
    assert [one.name for one in tmp_path.iterdir()] == [checkpoint.NAME]
    checkpoint.remove(tmp_path)
    assert not tmp_path.exists()
