"""`trl sft` really run on what was exported."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from autopeft.export.trainers import export_recipe
from autopeft.nouns import Configuration, Module
from autopeft.tasks.batches import evaluation_order
from autopeft.tasks.metrics import METRICS

from .conftest import Lab

pytest.importorskip("trl", reason="trl is not installed: install autopeft[test]")

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
LORA = Module("lora", 3, (1,), (("alpha", 12), ("dora", True), ("sites", ("q", "down"))))
ONE = Module("lora", 2, (0,), (("alpha", 8), ("rslora", True), ("sites", ("v",))))


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


def scored(lab: Lab, folder: Path) -> float:
    """The stored metric of what trl has written, by our own measure."""
    model = AutoModelForCausalLM.from_pretrained(lab.study.settings["backbone"]["path"], dtype=torch.float32)
    tuned = PeftModel.from_pretrained(model, str(folder / "adapter")).eval()
    measure = METRICS[lab.bench.task.metric].measure
    assert measure is not None
    order = evaluation_order(lab.bench.data["validation"])
    return float(measure(tuned, lab.bench.batches("validation", order, 8), lab.bench.known))


def test_x(lines: Lab, chats: Lab, tmp_path: Path) -> None:
    for lab, module in (
        (lines, LORA),
        (lines, ONE),
    ):
        for lr in (1e-3, 2e-2):
            trial = lab.train(Configuration.of([module], lr))
            out = tmp_path / f"{module.size}{lr}"
            export_recipe("trl", lab.study, trial, out)
            import time

            t = time.time()
            said = trained(out)
            print(time.time() - t)
            print(json.loads((out / "adapter/adapter_config.json").read_text()))
            frozen = lab.train(Configuration.of([], lr)).score
            print("SCORE", lr, -trial.score, scored(lab, out), "frozen", -frozen)
