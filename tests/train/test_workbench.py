"""A warm worker's trials: the same as on a fresh one, deterministic, and leaving nothing behind."""

import hashlib
import math
from pathlib import Path

import pytest
import torch

from autopeft.errors import TrialError
from autopeft.nouns import Configuration, Module
from autopeft.tasks.load import resolve_task
from autopeft.train import Report, Training, Workbench

SERIAL = Module("bottleneck", 4, (0, 1), (("position", "serial"),))
PARALLEL = Module("bottleneck", 2, (1,), (("position", "parallel"),))
PREFIX = Module("prefix", 3, (0, 1))
LORA = Module("lora", 2, (0, 1), (("alpha", 4.0), ("sites", ("q", "v"))))
MIXTURE = Configuration.of([SERIAL, PARALLEL, PREFIX], 1e-2)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Workbench:
    return prepare(tmp_path_factory.mktemp("data"), minilm_folder)


def prepare(folder: Path, minilm: Path, *, regression: bool = False) -> Workbench:
    torch.set_num_threads(1)
    words = ("good", "bad")
    labels = ("7.5", "-2.25") if regression else words
    rows = [f"this film is {words[i % 2]}, says critic {i}\t{labels[i % 2]}" for i in range(48)]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    problem = "regression" if regression else None
    task = resolve_task(str(folder / "train.tsv"), problem=problem, max_length=32)
    return Workbench.prepare(
        str(minilm), {"num_hidden_layers": 2}, task.settings, Training(epochs=2, batch_size=8)
    )


def run(
    bench: Workbench, configuration: Configuration, seed: int = 0, folder: Path | None = None
) -> list[Report]:
    return list(bench.trial(configuration, seed, folder))


def scores(reports: list[Report]) -> list[tuple[float, float]]:
    return [(r.values["score"], r.values["train_loss"]) for r in reports]


def weights(bench: Workbench) -> str:
    digest = hashlib.sha256()
    for name, parameter in sorted(bench.backbone.model.named_parameters()):
        if not name.startswith(bench.backbone.head):
            digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def test_reports_every_epoch_and_the_whole_at_the_end(bench: Workbench) -> None:
    reports = run(bench, MIXTURE)
    assert [(r.rung, r.last) for r in reports] == [(1, False), (2, True)]
    assert set(reports[0].values) == {"score", "train_loss"}
    assert set(reports[1].values) == {"score", "train_loss", "seconds", "peak_memory_bytes"}
    assert reports[1].values["peak_memory_bytes"] > 1e6
    assert reports[1].details["threads"] == 1


def test_learns(bench: Workbench) -> None:
    longer = Workbench(bench.backbone, bench.task, bench.data, Training(epochs=8, batch_size=8))
    assert run(longer, MIXTURE)[-1].values["score"] > 0.9  # the two words are easy to tell apart


def test_a_warm_worker_is_as_good_as_a_fresh_one(
    bench: Workbench, tmp_path: Path, minilm_folder: Path
) -> None:
    before = weights(bench)
    names = [name for name, _ in bench.backbone.model.named_modules()]
    for configuration in (Configuration.of([LORA, PREFIX], 3e-2), Configuration.of([], 1e-2), MIXTURE):
        run(bench, configuration, seed=5)
    warm = run(bench, MIXTURE, seed=1)
    assert weights(bench) == before
    assert [name for name, _ in bench.backbone.model.named_modules()] == names
    fresh = run(prepare(tmp_path, minilm_folder), MIXTURE, seed=1)
    assert scores(warm) == scores(fresh)


def test_seeds_matter(bench: Workbench) -> None:
    assert scores(run(bench, MIXTURE, seed=1)) != scores(run(bench, MIXTURE, seed=2))


def test_a_trial_that_is_given_up_leaves_nothing(bench: Workbench) -> None:
    before = weights(bench)
    reports = bench.trial(MIXTURE, 0, None)
    next(reports)
    reports.close()
    assert weights(bench) == before
    assert not any(p.requires_grad for p in bench.backbone.model.parameters())


def test_divergence_is_a_reason(bench: Workbench) -> None:
    before = weights(bench)
    broken = Configuration.of([SERIAL], math.inf)
    with pytest.raises(TrialError, match=r"training loss is nan|not finite"):
        run(bench, broken)
    assert weights(bench) == before
    assert len(run(bench, MIXTURE)) == 2


def test_saves_the_adapter(bench: Workbench, tmp_path: Path) -> None:
    run(bench, Configuration.of([LORA], 1e-2), folder=tmp_path / "a")
    assert {p.name for p in (tmp_path / "a").iterdir()} >= {"adapter_config.json", "autopeft_config.json"}


def test_regression_learns_any_scale(tmp_path: Path, minilm_folder: Path) -> None:
    reports = run(
        prepare(tmp_path, minilm_folder, regression=True), Configuration.of([SERIAL, PARALLEL], 1e-2)
    )
    assert reports[-1].values["score"] > 0.5


def test_tokenizer_and_model_agree(bench: Workbench, minilm_folder: Path) -> None:
    from autopeft.tasks.preprocessor import load_preprocessor
    from autopeft.train.workbench import _agree

    tokenizer = load_preprocessor(str(minilm_folder), "text")
    tokenizer.model_max_length = 10**30  # what a tokenizer says that names no limit
    tokenizer.pad_token = "[SEP]"
    _agree(tokenizer, bench.backbone)
    assert tokenizer.model_max_length == 512
    assert bench.backbone.model.config.pad_token_id == tokenizer.sep_token_id
