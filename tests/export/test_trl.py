"""`trl sft` really run on what was exported."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from autopeft.adapters.peft_methods import peft_configs
from autopeft.export.trainers import export_recipe
from autopeft.nouns import Configuration, Module
from autopeft.tasks.batches import evaluation_order
from autopeft.tasks.direction import oriented
from autopeft.tasks.metrics import METRICS

from . import built
from .conftest import Lab

pytest.importorskip("trl", reason="trl is not installed: install autopeft[test]")

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
DORA = Module("lora", 3, (0, 1), (("alpha", 12), ("dora", True), ("sites", ("q", "v", "down"))))
ONE = Module("lora", 2, (1,), (("alpha", 8), ("rslora", True), ("sites", ("qkv",))))


def trained(folder: Path, *further: str) -> str:
    """What `trl sft` says."""
    done = subprocess.run(
        [sys.executable, "-m", "trl.cli.main", "sft", "--config", "sft.yml", "--use_cpu", "true", *further],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def loaded(lab: Lab, folder: Path) -> PeftModel:
    """The backbone with what trl has written."""
    model = AutoModelForCausalLM.from_pretrained(lab.study.settings["backbone"]["path"], dtype=torch.float32)
    return PeftModel.from_pretrained(model, str(folder / "adapter")).eval()


def scored(lab: Lab, tuned: PeftModel) -> float:
    """The study's metric of a model on the validation split, by our own measure."""
    measure = METRICS[lab.bench.task.metric].measure
    assert measure is not None
    order = evaluation_order(lab.bench.data["validation"])
    return float(measure(tuned, lab.bench.batches("validation", order, 8), lab.bench.known))


SCORE, GAIN = 0.01, 0.7
"""How near the stored score comes back, as a share of it, and how much of what training gained over the frozen model comes back with
it. trl takes examples in another order, and its warm-up begins at a rate of 0."""


@pytest.mark.slow
@pytest.mark.parametrize(("fixture", "module"), [("lines", DORA), ("chats", ONE)])
def test_what_trl_trains_is_what_was_chosen(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, module: Module
) -> None:
    lab: Lab = request.getfixturevalue(fixture)
    trial = lab.train(Configuration.of([module], 2e-2))
    folder = tmp_path / "out"
    export_recipe("trl", lab.study, trial, folder)
    said = trained(folder)
    steps = 2 * -(-len(lab.bench.data["train"]) // 8)
    assert f"{steps}/{steps} [" in said  # its bar
    backbone = lab.bench.backbone
    (meant,) = peft_configs(backbone.model, backbone.layout, [module], (), "CAUSAL_LM")
    written = PeftConfig.from_pretrained(str(folder / "adapter"))
    path = next(iter(meant.paths))
    assert written.target_modules == (set(meant.paths) if len(meant.paths) > 1 else path)
    for name in ("r", "lora_alpha", "use_dora", "use_rslora", "lora_dropout", "rank_pattern", "task_type"):
        assert getattr(written, name) == getattr(meant.config, name), name
    reference = get_peft_model(copy.deepcopy(backbone.model), meant.config)
    tuned = loaded(lab, folder)
    found, wanted = built.described(tuned), built.described(reference)
    assert {n: one[:2] for n, one in found.items()} == {n: one[:2] for n, one in wanted.items()}
    score, stored = scored(lab, tuned), oriented(lab.bench.task.metric, trial.score)
    frozen = oriented(lab.bench.task.metric, lab.train(Configuration.of([], 2e-2)).score)
    assert stored is not None
    assert frozen is not None
    assert abs(score - stored) <= SCORE * stored
    assert frozen - score >= GAIN * (frozen - stored) > 0
