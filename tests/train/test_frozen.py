"""What the frozen layers make of the data, computed once: the same to the digit, for every trial that leaves them alone."""

import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from backbones.architectures import ARCHITECTURES, Architecture, inputs
from backbones.running import prepare as prepare_backbone

from autopeft.nouns import Configuration, Module
from autopeft.tasks.load import resolve_task
from autopeft.train import Report, Training, Workbench, frozen
from autopeft.train.frozen import FROZEN, FrozenLayers

torch.set_num_threads(1)
LAST = Module("lora", 2, (3,), (("alpha", 4.0), ("sites", ("q", "v"))))
MIDDLE = Module("bottleneck", 4, (1, 2), (("position", "parallel"), ("sites", ("ffn",))))
PREFIX = Module("prefix", 3, (2,), (("sites", ("attention",)),))
PISSA = Module("lora", 2, (2, 3), (("alpha", 4.0), ("init", "pissa"), ("sites", ("q",))))
PROMPT = Module("prompt_tuning", 2, (0,), (("sites", ("input",)),))


def prepare(folder: Path, model: str, cache: Path | None) -> Workbench:
    """A workbench on four layers of MiniLM, or on the starter with some of its images."""
    if model == "starter":
        task = resolve_task("starter")
        bench = Workbench.prepare("starter", {}, task.settings, Training(epochs=2), cache=cache)
        for split, data in bench.data.items():
            bench.data[split] = type(data)(data.pixel_values[:96], data.labels[:96])  # type: ignore[call-arg,union-attr]
        return bench
    words = ("good", "bad")
    rows = [
        f"this film is {'very ' * (i % 5)}{words[i % 2]}, says critic {i}\t{words[i % 2]}" for i in range(60)
    ]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    task = resolve_task(str(folder / "train.tsv"), max_length=32)
    training = Training(epochs=2, batch_size=8)
    return Workbench.prepare(model, {"num_hidden_layers": 4}, task.settings, training, cache=cache)


def losses(bench: Workbench, configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every step."""
    found: list[float] = []
    own = bench.loss_of

    def noting(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = own(logits, labels)
        found.append(float(loss.detach()))
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(bench, "loss_of", noting)
        reports = run(bench, configuration)
    return [*found, *(report.values["score"] for report in reports)]


def run(bench: Workbench, configuration: Configuration) -> list[Report]:
    return list(bench.trial(configuration, 0, None))


@pytest.mark.parametrize("model", ["minilm", "starter"])
def test_every_step_loses_the_same(
    model: str, tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(minilm_folder) if model == "minilm" else model
    plain = prepare(tmp_path, path, None)
    cached = prepare(tmp_path, path, tmp_path / "cache")
    for modules in ([], [LAST], [MIDDLE, LAST], [PREFIX], [PISSA]):
        configuration = Configuration.of(modules, 1e-2)
        wanted = losses(plain, configuration, monkeypatch)
        for _ in range(2):  # when the states are made, and when they are there
            assert losses(cached, configuration, monkeypatch) == pytest.approx(wanted, abs=1e-5)
    layers = 4 if model == "minilm" else 6
    written = {path.name for path in (tmp_path / "cache").glob("train-*.bin")}
    assert written == {f"train-{depth}.bin" for depth in (layers, 3, 1, 2)}


def test_depth(tmp_path: Path, minilm_folder: Path) -> None:
    bench = prepare(tmp_path, str(minilm_folder), tmp_path / "cache")
    layers = FrozenLayers(bench.backbone, tmp_path)
    for modules, depth in (([], 4), ([LAST], 3), ([MIDDLE, LAST], 1), ([PROMPT], 0), ([PROMPT, LAST], 0)):
        assert layers.depth(Configuration.of(modules, 1e-2)) == depth
    assert run(bench, Configuration.of([LAST], 1e-2))[-1].details["layers_left_out"] == 3
    assert run(bench, Configuration.of([PROMPT], 1e-2))[-1].details["layers_left_out"] == 0


def test_the_states_of_a_depth_do_not_hang_on_those_before(tmp_path: Path, minilm_folder: Path) -> None:
    bench = prepare(tmp_path, str(minilm_folder), None)
    straight = FrozenLayers(bench.backbone, tmp_path / "a").states("train", bench.data["train"], 3)
    by_steps = FrozenLayers(bench.backbone, tmp_path / "b")
    by_steps.states("train", bench.data["train"], 1)
    stepped = by_steps.states("train", bench.data["train"], 3)
    assert straight is not None
    assert stepped is not None
    assert torch.equal(straight.rows, stepped.rows)


def test_another_worker_reads_them(
    tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = prepare(tmp_path, str(minilm_folder), None)
    first = FrozenLayers(bench.backbone, tmp_path / "cache").states("train", bench.data["train"], 2)
    monkeypatch.setattr(FrozenLayers, "_compute", lambda *args: pytest.fail("it was there"))
    second = FrozenLayers(bench.backbone, tmp_path / "cache").states("train", bench.data["train"], 2)
    assert first is not None
    assert second is not None
    assert torch.equal(first.rows, second.rows)


def test_one_that_is_half_written_is_no_file(tmp_path: Path, minilm_folder: Path) -> None:
    bench = prepare(tmp_path, str(minilm_folder), None)
    first = FrozenLayers(bench.backbone, tmp_path).states("train", bench.data["train"], 2)
    (tmp_path / "train-2.json").write_text('{"shape": [1')
    again = FrozenLayers(bench.backbone, tmp_path).states("train", bench.data["train"], 2)
    assert first is not None
    assert again is not None
    assert torch.equal(first.rows, again.rows)
    assert json.loads((tmp_path / "train-2.json").read_text())["shape"] == list(first.rows.shape)


@pytest.mark.parametrize("after", ["first batch", "all batches"])
def test_a_folder_that_another_worker_takes_away_meanwhile_costs_nothing(
    tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    bench = prepare(tmp_path, str(minilm_folder), None)
    data, cache = bench.data["train"], tmp_path / "cache"
    wanted = FrozenLayers(bench.backbone, tmp_path / "other").states("train", data, 2)
    layers = FrozenLayers(bench.backbone, cache)
    monkeypatch.setattr(layers, "_batch", 25 if after == "first batch" else 60)
    new = layers._new

    def taken_away(*args: Any) -> torch.Tensor | None:
        found = new(*args)
        if after == "all batches":
            shutil.rmtree(cache)
        else:
            bench.backbone.model.register_forward_pre_hook(
                lambda *_: shutil.rmtree(cache, ignore_errors=True)
            )
        return found

    monkeypatch.setattr(layers, "_new", taken_away)
    found = layers.states("train", data, 2)
    assert wanted is not None
    assert found is not None
    assert torch.allclose(found.rows, wanted.rows, atol=1e-5)
    assert not cache.exists()
    monkeypatch.undo()
    assert layers.states("train", data, 2) is found
    bench.backbone.model._forward_pre_hooks.clear()
    assert layers.states("train", data, 3) is not None
    assert (cache / "train-3.bin").exists()  # made anew by who still needs it


def test_files_have_a_bound(tmp_path: Path, minilm_folder: Path) -> None:
    """Room for two: the one that was not used for longest goes. Room for none: all is computed."""
    bench = prepare(tmp_path, str(minilm_folder), None)
    data = bench.data["train"]
    one = int(data.lengths.sum()) * 384 * 4
    layers = FrozenLayers(bench.backbone, tmp_path / "two", most_bytes=2 * one + 1)
    for depth in (1, 2, 1, 3):
        assert layers.states("train", data, depth) is not None
        time.sleep(0.02)  # file systems count time in coarse steps
    assert {path.name for path in (tmp_path / "two").glob("*.bin")} == {"train-1.bin", "train-3.bin"}
    assert (
        FrozenLayers(bench.backbone, tmp_path / "none", most_bytes=one - 1).states("train", data, 1) is None
    )


@pytest.mark.parametrize("most", [16, 0])
def test_what_does_not_fit_into_memory_at_once(
    most: int, tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = prepare(tmp_path, str(minilm_folder), tmp_path / "cache")
    wanted = prepare(tmp_path, str(minilm_folder), tmp_path / "other")
    model = cached.backbone.model
    answer = model.forward

    def with_little_memory(**inputs: torch.Tensor) -> object:
        if len(inputs["input_ids"]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return answer(**inputs)

    monkeypatch.setattr(model, "forward", with_little_memory)
    configuration = Configuration.of([LAST], 1e-2)
    found = cached.left_out(configuration)
    assert found == (3 if most else 0)
    assert not list((tmp_path / "cache").glob("*.part"))
    if found:
        monkeypatch.undo()
        assert wanted.left_out(configuration) == 3
        ours = (tmp_path / "cache" / "train-3.bin").read_bytes()
        theirs = (tmp_path / "other" / "train-3.bin").read_bytes()
        pair = [torch.frombuffer(bytearray(one), dtype=torch.float32) for one in (ours, theirs)]
        assert torch.allclose(*pair, atol=1e-5)


def test_a_full_disk_is_no_failure(
    tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frozen.os, "posix_fallocate", full)
    bench = prepare(tmp_path, str(minilm_folder), tmp_path / "cache")
    assert run(bench, Configuration.of([LAST], 1e-2))[-1].details["layers_left_out"] == 0
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"encoded"}  # what was there before


@dataclass(frozen=True, eq=False)
class Padded:
    """Examples as an architecture takes them, as a split."""

    features: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))

    @property
    def lengths(self) -> torch.Tensor:
        mask = self.features.get("attention_mask")
        return torch.ones(len(self), dtype=torch.int64) if mask is None else mask.sum(1)

    def batch(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: tensor[indices] for name, tensor in self.features.items()}


# They hand more from layer to layer than the hidden states, or come to a layer more than once.
WITH_ALL_LAYERS = {"ALBERT", "T5", "Flan-T5"}


@pytest.mark.parametrize(
    "architecture", [a for a in ARCHITECTURES if a.sites and a.model is None], ids=lambda a: a.name
)
def test_architectures(architecture: Architecture, tmp_path: Path) -> None:
    """Either a model says the same without its first layer, or it is found out that it cannot do without."""
    backbone = prepare_backbone(architecture, tmp_path)
    data = Padded(inputs(architecture))
    layers = FrozenLayers(backbone, tmp_path / "cache")
    states = layers.states("train", data, 1)  # type: ignore[arg-type]
    assert (states is None) == (architecture.name in WITH_ALL_LAYERS), architecture.name
    if states is not None:
        batch = data.batch(torch.arange(len(data)))
        whole = backbone.model(**batch).logits
        with layers.left_out(1, states.batch(torch.arange(len(data)), batch.get("attention_mask"))):
            without = backbone.model(**batch).logits
        assert torch.allclose(whole, without, atol=1e-5)
        assert FROZEN not in batch
        assert math.isfinite(float(whole.sum()))
