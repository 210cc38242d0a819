"""Recipes for trainers that people already use, each checked before it is handed over.

Every one goes the same way: what the trial says, the nearest that the format can say, its files; then the files are read
again and must say the same, with no key that the trainer does not know.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from autopeft.backbones import Backbone, load_backbone, model_path
from autopeft.confirmation import Confirmed
from autopeft.dsl.describe import describe
from autopeft.export import adapterhub, axolotl, comparison, llamafactory, trl
from autopeft.export.capabilities import Loss, fit
from autopeft.export.known import check_known, known
from autopeft.export.recipe import Content, Recipe, recipe_of
from autopeft.export.tokens import write_folder, write_lines, write_nothing
from autopeft.nouns import Study, Trial
from autopeft.tasks.direction import oriented
from autopeft.tasks.load import load_task
from autopeft.tasks.task import Task, TaskSettings
from autopeft.weights import Storage


@dataclass(frozen=True)
class Format:
    """A form of recipe.

    Attributes:
        name: As `--to` takes it.
        title: The trainer's name.
        write: The files of a recipe.
        read: What files say; the last argument is the optimiser steps in all.
        known: The list of known keys for each file; a file without one is ours.
        data: Writes the data.
        run: How to run it, a line each.
        said: What of a recipe the files can say: what `read` must give again.
        further: Files of fixed text.
        checked: A further check of the folder.
    """

    name: str
    title: str
    write: Callable[[Recipe, Backbone], Content]
    read: Callable[[Content, Backbone, int], Recipe]
    known: Mapping[str, str]
    data: Callable[[Task, Recipe, Path], None]
    run: str
    said: Callable[[Recipe], Recipe] = lambda recipe: recipe
    further: Mapping[str, str] = dataclasses.field(default_factory=dict)
    checked: Callable[[Path], None] = lambda folder: None


def _by_architecture(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, architecture="")


def _by_steps(recipe: Recipe) -> Recipe:
    schedule = dataclasses.replace(recipe.schedule, epochs=0, warmup_steps=0)
    return dataclasses.replace(recipe, architecture="", schedule=schedule)


FORMATS = {
    one.name: one
    for one in (
        Format(
            "trl",
            "TRL",
            trl.write,
            trl.read,
            {trl.FILE: "trl"},
            write_lines,
            f"trl sft --config {trl.FILE}",
            _by_architecture,
        ),
        Format(
            "axolotl",
            "Axolotl",
            axolotl.write,
            axolotl.read,
            {axolotl.FILE: "axolotl"},
            write_lines,
            f"axolotl train {axolotl.FILE}",
            _by_architecture,
        ),
        Format(
            "llamafactory",
            "LLaMA-Factory",
            llamafactory.write,
            llamafactory.read,
            {llamafactory.FILE: "llamafactory"},
            write_folder,
            f"llamafactory-cli train {llamafactory.FILE}",
            _by_architecture,
        ),
        Format(
            "adapters",
            "AdapterHub's adapters",
            adapterhub.write,
            adapterhub.read,
            {adapterhub.ARGUMENTS: "training-arguments"},
            write_lines,
            "python train.py",
            further={"train.py": adapterhub.TRAIN},
            checked=adapterhub.check_adapter,
        ),
        Format(
            "peft-comparison",
            "peft's method comparison",
            comparison.write,
            comparison.read,
            {comparison.PARAMETERS: "peft-comparison"},
            write_nothing,
            "cp -r . PEFT/method_comparison/MetaMathQA/experiments/METHOD/NAME\n"
            "cd PEFT/method_comparison/MetaMathQA && python run.py -v experiments/METHOD/NAME",
            _by_steps,
            checked=comparison.check_adapter,
        ),
    )
}
"""By name."""


def export_recipe(
    name: str,
    study: Study,
    trial: Trial,
    folder: Path,
    anew: Confirmed | None = None,
    *,
    lossy: bool = False,
) -> None:
    """Write a trial as a recipe.

    Args:
        name: Of the format.
        study: The trial's.
        trial: Complete.
        folder: Created.
        anew: What the configuration scored when it was trained anew, for the first words.
        lossy: Whether what the format cannot say may be lost: the nearest is written, and the recipe says what was lost.

    Raises:
        DataError, BackboneError: The study's data or backbone are not there any more, or have changed.
        InputError: The format would lose something, and it may not be lost.
    """
    wanted = FORMATS[name]
    task = load_task(TaskSettings.from_json(study.settings["task"]))
    backbone = _backbone(study, task)
    recipe, losses = fit(name, recipe_of(study, trial, task, backbone), backbone.layout, lossy=lossy)
    content = wanted.write(recipe, backbone)
    about = _about(wanted, study, trial, anew, losses)
    folder.mkdir(parents=True, exist_ok=True)
    write_files(wanted, content, about, folder)
    check_files(wanted, recipe, backbone, folder)
    wanted.data(task, recipe, folder)


def _backbone(study: Study, task: Task) -> Backbone:
    settings = study.settings["backbone"]
    return load_backbone(
        model_path(settings["path"]),
        modality=task.settings.modality,
        problem=task.settings.problem,
        num_labels=task.num_labels,
        config_overrides=settings["overrides"],
        sites=settings.get("sites"),
        storage=Storage.from_json(settings.get("storage", {})),
    )


def write_files(wanted: Format, content: Content, about: str, folder: Path) -> None:
    """Write a recipe's files, with what there is to say about it in their first lines or, of JSON, in a README.md."""
    in_comments = False
    for file, keys in content.items():
        if file.endswith(".yml"):
            in_comments = True
            comment = "".join(f"# {line}".rstrip() + "\n" for line in about.splitlines())
            text = comment + "\n" + yaml.safe_dump(dict(keys), sort_keys=False, allow_unicode=True, width=110)
        else:
            text = json.dumps(keys, indent=2, ensure_ascii=False) + "\n"
        (folder / file).write_text(text, encoding="utf-8")
    for file, text in wanted.further.items():
        (folder / file).write_text(text, encoding="utf-8")
    if not in_comments:
        (folder / "README.md").write_text(about, encoding="utf-8")


def read_files(wanted: Format, folder: Path, files: Content) -> Content:
    """The files of a folder, as they are there."""
    texts = {file: (folder / file).read_text(encoding="utf-8") for file in files}
    return {
        file: yaml.safe_load(text) if file.endswith(".yml") else json.loads(text)
        for file, text in texts.items()
    }


def check_files(wanted: Format, recipe: Recipe, backbone: Backbone, folder: Path) -> None:
    """That what was written says what was meant, and nothing that the trainer would drop.

    Raises:
        AssertionError: It does not: the format's module is wrong. Nothing is left in the folder.
    """
    try:
        content = read_files(wanted, folder, wanted.write(recipe, backbone))
        for file, trainer in wanted.known.items():
            check_known(trainer, content[file])
        wanted.checked(folder)
        found, meant = wanted.read(content, backbone, recipe.schedule.steps), wanted.said(recipe)
        if found != meant:
            raise AssertionError(f"the recipe for {wanted.name} says {found} where {meant} was meant")
    except BaseException:
        shutil.rmtree(folder)
        raise


def _about(wanted: Format, study: Study, trial: Trial, anew: Confirmed | None, losses: list[Loss]) -> str:
    metric = study.settings["task"]["metric"]
    version = known("adapters" if wanted.name == "adapters" else wanted.name)["version"]
    lines = [
        f"{describe(trial.plan, study.settings['backbone']['layers'])}",
        "",
        f"Trial {trial.number} of the study '{study.name}', {trial.trainable:,} trainable parameters, for "
        f"{wanted.title} {version}. Written by autopeft.",
        f"Its {metric} on the validation split was {oriented(metric, trial.score):.4f}."
        + (
            ""
            if anew is None
            else f" Trained anew with {anew.seeds} further seeds: {oriented(metric, anew.mean):.4f}."
        ),
        "",
        "In this folder:",
        "",
        *(f"    {line}" for line in wanted.run.splitlines()),
    ]
    if wanted.data is not write_nothing:
        lines += ["", "data holds the study's examples as token ids, joined and cut as the search had them."]
    if losses:
        lines += ["", "Lost, because this format cannot say it:", "", *(f"- {loss}" for loss in losses)]
    return "\n".join(_printable(line) for line in lines) + "\n"


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
