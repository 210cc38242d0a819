"""The adapter folder with its trained weights."""

import json
from pathlib import Path

from autopeft.adapters.folder import CONFIG
from autopeft.backbones import STARTER
from autopeft.backbones.heads import find_head
from autopeft.confirmation import Confirmed
from autopeft.dsl.describe import describe
from autopeft.dsl.own_types import OWN_TYPES
from autopeft.errors import InputError
from autopeft.nouns import OWN_HEAD, Study, Trial
from autopeft.store import files
from autopeft.tasks.direction import oriented

_CARD = """---
base_model: {model}
library_name: {library}
tags: [{tags}]
---

# {description}

Trial {number} of the study `{study}`, found by autopeft inside a budget of {budget} of the backbone.

| | |
| --- | --- |
| backbone | `{model}`, {parameters:,} parameters |
| trainable | {trainable:,} parameters ({percent:.3g} %){but_the_head} |
| {metric}, validation | {score:.4f} |
| {metric}, test | {test} |
{confirmed}| seed | {seed} |

```python
import autopeft
from transformers import {auto}
{imports}
model = {auto}.from_pretrained(
    {path}{options}
)
model = autopeft.load_adapter(model, "path/to/this/folder")
```
{peft}"""

_CONFIRMED = """| {metric}, trained anew | {score} over {seeds} further seeds{on} |
"""

_WITH_PEFT = """
The whole arrangement is one that peft has, so this is the same:

```python
from peft import PeftModel

model = PeftModel.from_pretrained(model, "path/to/this/folder")
```
"""

_PARTS = """
The arrangement is {count} adapters of peft, which acted together. `autopeft.load_adapter` puts all of them on.
`PeftModel.from_pretrained` reads one at a time, each with the head: {names}.
"""

_WITHOUT_PEFT = """
peft has no {kinds} of this form, so `PeftModel.from_pretrained` {reads}.
"""


def export_peft(
    study: Study, trial: Trial, folder: Path, anew: Confirmed | None = None, *, lossy: bool = False
) -> None:
    """Copy the trained adapter of a trial and write its model card.

    Args:
        study: The trial's.
        trial: Complete.
        folder: Created.
        anew: What the configuration scored when it was trained anew, for the card.
        lossy: Nothing is ever lost in this form.

    Raises:
        InputError: The trial's files are gone.
    """
    again = "Export it with --to script and run the script to train it again."
    gone = InputError(
        f"the trained adapter of trial {trial.number} is not at '{trial.artifact}' any more.", again
    )
    if not trial.artifact:
        raise gone
    try:
        files.copy(trial.artifact, folder)
    except FileNotFoundError:
        raise gone from None
    except (ImportError, OSError, ValueError) as error:
        raise InputError(
            f"cannot copy the trained adapter of trial {trial.number}: {error}.", again
        ) from None
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / "README.md").write_text(_card(study, trial, anew, content.get("peft", [])), encoding="utf-8")


def _card(study: Study, trial: Trial, anew: Confirmed | None, parts: list[str]) -> str:
    backbone, task = study.settings["backbone"], study.settings["task"]
    types = {m.type for m in trial.plan.modules}
    metric, new_head = task["metric"], task["problem"] not in OWN_HEAD
    test = oriented(metric, trial.measurements.get("test_score"))
    starter = backbone["path"] == STARTER
    overrides = "".join(f", {name}={value!r}" for name, value in backbone["overrides"].items())
    return _CARD.format(
        model=study.settings["model"],
        library="peft" if types and not types & OWN_TYPES.keys() else "autopeft",
        tags=", ".join(["autopeft", *sorted(types)]),
        description=describe(trial.plan, backbone["layers"]),
        number=trial.number,
        study=study.name,
        budget=study.settings["budget"],
        parameters=backbone["parameters"],
        trainable=trial.trainable,
        percent=100 * trial.trainable / backbone["parameters"],
        but_the_head=", the task head not counted" if new_head else "",
        metric=metric,
        score=oriented(metric, trial.score),
        test="not measured" if test is None else f"{test:.4f}",
        confirmed="" if anew is None else _anew(metric, anew),
        seed=trial.seed,
        auto=find_head(task["modality"], task["problem"]).auto,
        path='model_path("starter")' if starter else repr(backbone["path"]),
        imports="\nfrom autopeft.backbones import model_path\n" if starter else "",
        options=f", num_labels={len(task['labels']) or 1}, ignore_mismatched_sizes=True{overrides}"
        if new_head
        else overrides,
        peft=_what_peft_reads(trial, parts),
    )


def _anew(metric: str, anew: Confirmed) -> str:
    error = "" if anew.standard_error is None else f" ± {anew.standard_error:.4f}"
    on = ", on examples that the search never saw" if anew.held_back else ""
    return _CONFIRMED.format(
        metric=metric, score=f"{oriented(metric, anew.mean):.4f}{error}", seeds=anew.seeds, on=on
    )


def _what_peft_reads(trial: Trial, parts: list[str]) -> str:
    """The card's last words: which of the folder's files are for peft alone.

    Args:
        trial: The trial.
        parts: Folders of peft's adapters; one empty name where the only one is in the folder itself.
    """
    own = {
        f"{m.option('position')} bottleneck" if m.type == "bottleneck" else m.type
        for m in trial.plan.modules
        if m.type in OWN_TYPES
    }
    names = ", ".join(f"`{name}`" for name in parts)
    if not own and len(parts) > 1:
        return _PARTS.format(count=len(parts), names=names)
    if not own and parts:
        return _WITH_PEFT
    if not parts:
        reads = "cannot read this folder"
    elif len(parts) == 1:
        reads = "reads no more of this folder than the adapter that is peft's"
    else:
        reads = f"reads no more of this folder than the adapters that are peft's, one at a time: {names}"
    return _WITHOUT_PEFT.format(kinds=" and ".join(sorted(own)) or "head alone", reads=reads)
