"""What a model card says besides the adapter itself: the trade-off it was chosen from, how it was found, how to train it again."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autopeft.export.compress import Compressed
from autopeft.nouns import OWN_HEAD, Study, Trial

CARD = "README.md"

LICENSE = "# license: yours to choose, such as apache-2.0; the backbone's license and the data's bind it"
"""In the card's first lines, where the hub looks for a license; a comment until a person writes one."""


def complete_card(
    folder: Path,
    study: Study,
    trial: Trial,
    front: Sequence[Mapping[str, Any]],
    *,
    compressed: Compressed | None = None,
    merged: bool = False,
) -> None:
    """Add to the card of an exported folder.

    Args:
        folder: Of `export_peft`, with a recipe in it.
        study: The trial's.
        trial: What was exported.
        front: Rows of the study's front: `number`, `trainable`, `share`, `score`, `confirmed` (a mean or None), `description`, and
            `objectives` (by title, with their units, as texts).
        compressed: What became of it, if it was made smaller.
        merged: Whether the folder holds the whole model.
    """
    path = folder / CARD
    card = path.read_text(encoding="utf-8").replace("---\n", f"---\n{LICENSE}\n", 1)
    if merged:
        card = _merged(card, study)
    parts = [card.rstrip("\n")]
    if compressed is not None:
        parts.append(_smaller(compressed))
    parts += [_front(front, trial), _found(study, trial), _AGAIN]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


_AGAIN = """## Train it again

`recipe.json` in this folder is all that it takes besides the backbone and the data. It is trained from the same seed on the
same split, and the score is held against the one above:

```bash
pip install autopeft
autopeft train path/to/this/folder a-new-folder --check
```

Where the data are elsewhere now, name them with `--data`, and the backbone with `--model`."""


def _merged(card: str, study: Study) -> str:
    """The card's piece of code for a folder with the whole model, which needs neither autopeft nor peft."""
    from autopeft.backbones.heads import find_head

    before, _, _ = card.partition("```python\n")
    auto = find_head(study.settings["task"]["modality"], study.settings["task"]["problem"]).auto
    before = before.replace("library_name: peft\n", "library_name: transformers\n")
    before = before.replace("library_name: autopeft\n", "library_name: transformers\n")
    code = f'from transformers import {auto}\n\nmodel = {auto}.from_pretrained("path/to/this/folder")'
    words = "The adapter is merged into the weights: this is the whole model, in float32."
    return f"{before}```python\n{code}\n```\n\n{words}\n"


def _smaller(found: Compressed) -> str:
    def value(of: float | None) -> str:
        return "–" if of is None else f"{of:.4f}"

    rows = [
        f"| {found.metric}, validation | {value(found.score_before)} | {value(found.score_after)} |",
        *(
            [f"| {found.metric}, test | {value(found.test_before)} | {value(found.test_after)} |"]
            if found.test_before is not None
            else []
        ),
        f"| bytes of the tensors' files | {found.bytes_before:,} | {found.bytes_after:,} |",
        f"| parameters of the modules | {found.trainable_before:,} | {found.trainable_after:,} |",
    ]
    lines = [f"## Made smaller: {found.how}", "", "| | before | after |", "| --- | --- | --- |", *rows]
    if found.how.startswith("ternary"):
        lines += [
            "",
            "Density and factor were chosen by the validation score, which flatters it; test did not take part.",
        ]
    if not found.how.startswith("energy"):
        lines += ["", "`autopeft.load_adapter` unpacks it; `PeftModel.from_pretrained` does not read it."]
    return "\n".join(lines)


def _front(front: Sequence[Mapping[str, Any]], trial: Trial) -> str:
    further = list(front[0]["objectives"]) if front else []
    confirmed = any(row["confirmed"] is not None for row in front)
    titles = [
        "Trial",
        "Trainable",
        "Share",
        "Score",
        *(["Confirmed"] if confirmed else []),
        *further,
        "Configuration",
    ]
    lines = ["## The trade-off it was chosen from", "", _row(titles), _row(["---"] * len(titles))]
    for row in front:
        mark = "**" if row["number"] == trial.number else ""
        lines.append(
            _row(
                [
                    f"{mark}{row['number']}{mark}",
                    f"{row['trainable']:,}",
                    f"{100 * row['share']:.3g} %",
                    f"{row['score']:.4f}",
                    *([_mean(row["confirmed"])] if confirmed else []),
                    *(row["objectives"].get(title, "–") for title in further),
                    row["description"].replace("|", "\\|"),
                ]
            )
        )
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _found(study: Study, trial: Trial) -> str:
    settings = study.settings
    task, training = settings["task"], settings["training"]
    data = task["data"] if task.get("source") == "hub" else os.path.basename(str(task["data"]).rstrip("/"))
    budget = f"{settings['budget']}, at most {study.limit:,} trainable parameters"
    if task["problem"] not in OWN_HEAD:
        budget += ", the task head not counted"
    versions = ", ".join(
        f"{name} {trial.details[name]}"
        for name in ("autopeft", "torch", "transformers", "peft")
        if name in trial.details
    )
    said = {
        "data": f"`{data}`",
        "problem": f"{task['problem']}, scored by {task['metric']}",
        "space": f"`{study.space}`",
        "budget": budget,
        "sampler": settings.get("sampler"),
        "training": ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in training.items()),
        "seed of the search": settings.get("seed"),
        "versions": versions,
        "device": trial.details.get("device"),
    }
    rows = [_row([name, str(value)]) for name, value in said.items() if value not in (None, "")]
    return "\n".join(["## How it was found", "", "| | |", "| --- | --- |", *rows])
