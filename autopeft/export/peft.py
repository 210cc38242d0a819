"""The adapter folder with its trained weights."""

import shutil
from pathlib import Path

from autopeft.backbones import STARTER
from autopeft.dsl.describe import describe
from autopeft.errors import InputError
from autopeft.nouns import Study, Trial

_CARD = """---
base_model: {model}
library_name: {library}
tags: [autopeft, {tag}]
---

# {description}

Trial {number} of the study `{study}`, found by autopeft inside a budget of {budget} of the backbone.

| | |
| --- | --- |
| backbone | `{model}`, {parameters:,} parameters |
| trainable | {trainable:,} parameters ({percent:.3g} %), the task head not counted |
| {metric}, validation | {score:.4f} |
| {metric}, test | {test} |
| seed | {seed} |

```python
import autopeft
from transformers import {auto}
{imports}
model = {auto}.from_pretrained(
    {path}, num_labels={num_labels}, ignore_mismatched_sizes=True{overrides}
)
autopeft.load_adapter(model, "path/to/this/folder")
```
{peft}"""

_WITH_PEFT = """
The whole arrangement is one that peft has, so this is the same:

```python
from peft import PeftModel

model = PeftModel.from_pretrained(model, "path/to/this/folder")
```
"""

_WITHOUT_PEFT = """
peft has no {kinds} of this form, so `PeftModel.from_pretrained` cannot read {what}.
"""


def export_peft(study: Study, trial: Trial, folder: Path) -> None:
    """Copy the trained adapter of a trial and write its model card.

    Raises:
        InputError: The trial's files are gone.
    """
    source = Path(trial.artifact) if trial.artifact else None
    if source is None or not source.is_dir():
        raise InputError(
            f"the trained adapter of trial {trial.number} is not at '{trial.artifact}' any more.",
            "Export it with --to script and run the script to train it again.",
        )
    shutil.copytree(source, folder, dirs_exist_ok=True)
    (folder / "README.md").write_text(_card(study, trial), encoding="utf-8")


def _card(study: Study, trial: Trial) -> str:
    backbone, task = study.settings["backbone"], study.settings["task"]
    own = sorted(
        {dict(m.options).get("position", m.type) for m in trial.configuration.modules if m.type != "lora"}
    )
    lora = any(m.type == "lora" for m in trial.configuration.modules)
    if own or not lora:
        kinds = " and ".join(own) if own else "head alone"
        what = "more than the LoRA of this folder" if lora else "this folder"
        peft = _WITHOUT_PEFT.format(kinds=kinds, what=what)
    else:
        peft = _WITH_PEFT
    test = trial.measurements.get("test_score")
    starter = backbone["path"] == STARTER
    overrides = "".join(f", {name}={value!r}" for name, value in backbone["overrides"].items())
    return _CARD.format(
        model=study.settings["model"],
        library="peft" if lora and not own else "autopeft",
        tag="lora" if lora else "adapter",
        description=describe(trial.configuration, backbone["layers"]),
        number=trial.number,
        study=study.name,
        budget=study.settings["budget"],
        parameters=backbone["parameters"],
        trainable=trial.trainable,
        percent=100 * trial.trainable / backbone["parameters"],
        metric=task["metric"],
        score=trial.score,
        test="not measured" if test is None else f"{test:.4f}",
        seed=trial.seed,
        auto="AutoModelForSequenceClassification"
        if task["modality"] == "text"
        else "AutoModelForImageClassification",
        path='model_path("starter")' if starter else repr(backbone["path"]),
        imports="\nfrom autopeft.backbones import model_path\n" if starter else "",
        num_labels=len(task["labels"]) or 1,
        overrides=overrides,
        peft=peft,
    )
