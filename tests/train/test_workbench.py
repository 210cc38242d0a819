"""A warm worker's trials: the same as on a fresh one, deterministic, and leaving nothing behind."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autopeft.errors import TrialError
from autopeft.nouns import Configuration, Module
from autopeft.tasks.load import resolve_task
from autopeft.train import Report, Training, Workbench

SERIAL = Module("bottleneck", 4, (0, 1), (("position", "serial"), ("sites", ("ffn",))))
PARALLEL = Module("bottleneck", 2, (1,), (("position", "parallel"), ("sites", ("ffn",))))
PREFIX = Module("prefix", 3, (0, 1), (("sites", ("attention",)),))
LORA = Module("lora", 2, (0, 1), (("alpha", 4.0), ("sites", ("q", "v"))))
MIXTURE = Configuration.of([SERIAL, PARALLEL, PREFIX], 1e-2)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Workbench:
    return prepare(tmp_path_factory.mktemp("data"), minilm_folder)


def prepare(folder: Path, minilm: Path, *, regression: bool = False, **task_options: float) -> Workbench:
    torch.set_num_threads(1)
    words = ("good", "bad")
    labels = ("7.5", "-2.25") if regression else words
    rows = [f"this film is {words[i % 2]}, says critic {i}\t{labels[i % 2]}" for i in range(48)]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    problem = "regression" if regression else None
    task = resolve_task(str(folder / "train.tsv"), problem=problem, max_length=32, **task_options)  # type: ignore[arg-type]
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


def test_only_a_confirming_trial_is_scored_on_what_was_held_back(tmp_path: Path, minilm_folder: Path) -> None:
    bench = prepare(tmp_path, minilm_folder, confirmation_fraction=0.5)
    assert len(bench.data["validation"]) == len(bench.data["confirmation"]) == 5
    assert "confirmation_score" not in run(bench, MIXTURE)[-1].values
    first, last = bench.trial(MIXTURE, 0, tmp_path / "adapter", confirm=True)
    assert "confirmation_score" not in first.values
    assert 0 <= last.values["confirmation_score"] <= 1
    assert last.details["confirmation_examples"] == 5
    whole = prepare(tmp_path, minilm_folder)
    (*_, last) = whole.trial(MIXTURE, 0, None, confirm=True)  # nothing is held back: nothing to score on
    assert "confirmation_score" not in last.values


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


def test_memory_that_runs_out_makes_parts_of_a_batch(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that takes three examples at once and no more: the same training, and it is noted."""
    wanted = run(bench, MIXTURE)
    layer = bench.backbone.model.get_submodule(bench.backbone.layout.layers[0].path)
    most = 3

    def full(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if len(args[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = layer.register_forward_pre_hook(full)
    try:
        parts = run(bench, MIXTURE)
        assert parts[-1].details["rows_at_once"] == 2
        assert "rows_at_once" not in wanted[-1].details
        assert scores(parts) == [pytest.approx(one, abs=1e-5) for one in scores(wanted)]
        most = 0
        with pytest.raises(TrialError, match="out of memory"):
            run(bench, MIXTURE)
    finally:
        handle.remove()
    monkeypatch.setattr(bench, "_evaluation_batch", 256)
    assert scores(run(bench, MIXTURE)) == scores(wanted)


def test_checkpointing_keeps_less_and_trains_the_same(bench: Workbench) -> None:
    checkpointed = Workbench(
        bench.backbone, bench.task, bench.data, replace(bench.training, gradient_checkpointing=True)
    )
    found = []
    for one in (bench, checkpointed):
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            found.append((scores(run(one, MIXTURE)), kept))
    assert found[0][0] == [pytest.approx(one, abs=1e-5) for one in found[1][0]]
    assert found[1][1] < found[0][1] / 3
    assert "forward" not in vars(bench.backbone.model.get_submodule(bench.backbone.layout.layers[0].path))


def test_patience(bench: Workbench) -> None:
    """With a rate of nearly 0 nothing gets better after the first epoch."""
    patient = Workbench(bench.backbone, bench.task, bench.data, replace(bench.training, epochs=6, patience=2))
    reports = run(patient, Configuration.of([SERIAL], 1e-12))
    assert [(r.rung, r.last) for r in reports] == [(1, False), (2, False), (3, True)]
    assert reports[-1].details


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


def at(kind: str, size: float, sites: tuple[str, ...] = ("q", "v"), **options: object) -> Module:
    layers = (0,) if sites == ("input",) else (0, 1)
    return Module(kind, size, layers, tuple(sorted([*options.items(), ("sites", sites)])))


@pytest.mark.parametrize(
    "modules",
    [
        [at("lora", 2, init="eva")],
        [at("lora", 2, init="corda"), at("lokr", 2)],
        [at("prompt_tuning", 3, ("input",)), at("ia3", 1)],
        [at("adalora", 3, target_rank=1), SERIAL],
    ],
    ids=["eva", "corda and lokr", "prompt and ia3", "adalora and serial"],
)
def test_trials_of_every_kind(bench: Workbench, modules: list[Module], tmp_path: Path) -> None:
    """What looks at data, puts tokens before the text, or has a schedule; twice the same, and nothing is left."""
    before = weights(bench)
    configuration = Configuration.of(modules, 3e-2)
    first = run(bench, configuration, seed=1, folder=tmp_path / "a")
    assert weights(bench) == before
    assert not bench.backbone.model.training
    second = run(bench, configuration, seed=1, folder=tmp_path / "b")
    assert scores(first) == scores(second)
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.safetensors"))
    assert names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_tokens_before_the_input_are_trained(bench: Workbench, tmp_path: Path) -> None:
    prompts = []
    for rate in (1e-9, 3e-2):
        run(bench, Configuration.of([at("prompt_tuning", 3, ("input",))], rate), folder=tmp_path / str(rate))
        file = tmp_path / str(rate) / "adapter_model.safetensors"
        prompts.append(load_file(file)["prompt_embeddings"])
    assert prompts[0].shape == (3, 384)
    assert (prompts[0] - prompts[1]).abs().max() > 1e-2


def test_a_trial_of_adalora_ends_at_its_budget(bench: Workbench, tmp_path: Path) -> None:
    """Twelve steps: the last six with the ranks that are left, four of the twelve."""
    run(bench, Configuration.of([at("adalora", 3, target_rank=1)], 3e-2), folder=tmp_path)
    pattern = json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"]
    assert sum(map(sum, pattern.values())) == 4
    assert {len(ranks) for ranks in pattern.values()} == {3}


def test_a_configuration_sets_its_own_training(bench: Workbench, tmp_path: Path) -> None:
    plain = scores(run(bench, Configuration.of([LORA], 1e-2)))
    for name, value in (
        ("batch_size", 16),
        ("max_grad_norm", 0.01),
        ("warmup_fraction", 0.9),
        ("weight_decay", 0.9),
    ):
        configuration = Configuration.of([LORA], 1e-2, {name: value})
        assert scores(run(bench, configuration, folder=tmp_path / name)) != plain
        record = json.loads((tmp_path / name / "autopeft_config.json").read_text())
        assert record["training"][name] == value
        assert Configuration.from_json(record["configuration"]) == configuration
    same = Configuration.of([LORA], 1e-2, {"batch_size": 8})
    assert scores(run(bench, same)) == plain


def test_reasons_that_modules_give(bench: Workbench) -> None:
    """A trial that cannot be is a sentence, not an exception of another kind."""
    before = weights(bench)
    both = [at("hra", 2), at("shira", 2)]
    with pytest.raises(TrialError, match="hra and shira both multiply with the weight itself"):
        run(bench, Configuration.of(both, 1e-2))
    with pytest.raises(TrialError) as raised:
        run(bench, Configuration.of([at("prompt_tuning", 505, ("input",))], 1e-2))
    longest = max(int(data.lengths.max()) for data in bench.data.values())
    assert str(raised.value) == (
        f"505 tokens before texts of up to {longest} tokens are more than the backbone's 512 positions: "
        "cut the texts with --max-length 7."
    )
    assert weights(bench) == before


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
