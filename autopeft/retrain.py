"""A recipe trained again, without a database: the adapter, its curves, and whether the score comes back."""

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.errors import InputError, unknown_name
from autopeft.naming import at_home
from autopeft.recipe import NAME, Recipe, write_recipe

if TYPE_CHECKING:
    from autopeft.tasks.task import TaskSettings

LOGS = "logs"
"""The folder, in that of the adapter, where TensorBoard looks."""

_LOGGERS = {"mlflow": "mlflow", "wandb": "wandb"}
_INSTALL = {"mlflow": "pip install mlflow", "wandb": "pip install wandb"}


@dataclass(frozen=True)
class Step:
    """An optimiser step that was taken.

    Attributes:
        number: From 1, over all epochs.
        steps: Of all epochs.
        epoch: From 1.
        loss: Of its batch.
    """

    number: int
    steps: int
    epoch: int
    loss: float


@dataclass(frozen=True)
class Epoch:
    """An epoch that is through.

    Attributes:
        number: From 1.
        loss: Mean training loss.
        score: The metric on validation; on a sample of it until the last epoch.
        last: Whether it was the last.
    """

    number: int
    loss: float
    score: float
    last: bool


@dataclass(frozen=True)
class Retrained:
    """What became of a recipe.

    Attributes:
        metric: What the scores are.
        score: Of this training, the metric's own value.
        wanted: The recipe's.
        within: How far the two may be apart.
        came_back: Whether they are no further.
        test_score: On the test split; None without one.
        folder: Of the adapter.
    """

    metric: str
    score: float
    wanted: float
    within: float
    came_back: bool
    test_score: float | None
    folder: str


def retrain(
    recipe: Recipe,
    folder: str | Path,
    *,
    model: str | None = None,
    data: str | None = None,
    log_to: Sequence[str] = (),
    tell: Callable[[Step | Epoch], None] = lambda event: None,
) -> Retrained:
    """Train what a recipe says, and write the adapter, its recipe and TensorBoard's curves.

    Args:
        recipe: What to train.
        folder: Created; refused if it holds anything already.
        model: Where the backbone is, if not where the recipe says.
        data: Where the training data are, if not where the recipe says; other splits that lay beside them are looked for beside them.
        log_to: Further places for the curves: `mlflow`, `wandb`; these must be installed.
        tell: Called with each step and each epoch.

    Raises:
        InputError: The folder is in use, a place for curves is not there, the backbone or the data cannot be loaded, or the data are
            not those that the recipe was made with.
        TrialError: The modules cannot be put on, or the training failed.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"'{folder}' is there already and not empty: choose another folder.")
    check_loggers(log_to)

    import torch

    from autopeft.tasks.direction import oriented
    from autopeft.train import Training, Workbench
    from autopeft.weights import Storage

    task = _task(recipe.task, data)
    known = {one.name for one in dataclasses.fields(Training)}
    if unknown := sorted(set(recipe.training) - known):
        raise unknown_name("field of training", unknown[0], known)
    threads = recipe.environment.get("threads")
    if (
        isinstance(threads, int) and threads > 0
    ):  # sums of another number of threads are added in another order
        torch.set_num_threads(min(threads, os.cpu_count() or threads))
    bench = Workbench.prepare(
        recipe.backbone["path"] if model is None else model,
        recipe.backbone["overrides"],
        task,
        Training(**recipe.training),
        recipe.backbone.get("sites"),
        storage=Storage.from_json(recipe.backbone.get("storage", {})),
    )
    epochs = bench.training.epochs
    trackers = _trackers(target, recipe, log_to)
    taken = 0

    def on_step(number: int, steps: int, loss: torch.Tensor) -> None:
        nonlocal taken
        taken, value = number, float(loss)
        for tracker in trackers:
            tracker.log({"train/loss": value}, step=number)
        tell(Step(number, steps, (number - 1) * epochs // steps + 1, value))

    try:
        for report in bench.trial(recipe.configuration, recipe.seed, target, on_step=on_step):
            score = oriented(recipe.metric, report.values["score"])
            values = {f"validation/{recipe.metric}": score, "train/epoch_loss": report.values["train_loss"]}
            for tracker in trackers:
                tracker.log(values, step=taken)  # Weights & Biases takes no smaller one than before
            tell(Epoch(report.rung, report.values["train_loss"], score, report.last))
    finally:
        for tracker in trackers:
            tracker.finish()
    write_recipe(recipe, target / NAME)
    return Retrained(
        metric=recipe.metric,
        score=score,
        wanted=recipe.score,
        within=recipe.within,
        came_back=recipe.came_back(score),
        test_score=oriented(recipe.metric, report.values.get("test_score")),
        folder=str(target),
    )


def check_loggers(names: Sequence[str]) -> None:
    """Refuse places for curves that are not there. Raises: InputError."""
    for name in names:
        if name not in _LOGGERS:
            raise unknown_name("place for curves", name, _LOGGERS)
        if importlib.util.find_spec(_LOGGERS[name]) is None:
            raise InputError(f"{name} is not installed.", f"Install it with: {_INSTALL[name]}")


def _trackers(folder: Path, recipe: Recipe, names: Sequence[str]) -> list[Any]:
    """accelerate's, which write to TensorBoard, MLflow and Weights & Biases alike."""
    from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker

    folder.mkdir(parents=True, exist_ok=True)
    made: list[Any] = [TensorBoardTracker(".", folder / LOGS)]
    made += [MLflowTracker("autopeft")] if "mlflow" in names else []
    made += [WandBTracker("autopeft")] if "wandb" in names else []
    for tracker in made:
        tracker.start()
    about = {"configuration": recipe.description, "seed": recipe.seed, "trainable": recipe.trainable}
    for tracker in made[1:]:  # TensorBoard's page of settings would be a run of its own
        tracker.store_init_configuration(about)
    return made


def _task(written: Mapping[str, Any], data: str | None) -> "TaskSettings":
    """The recipe's task, with its data at another place if one is named."""
    from autopeft.tasks.task import TaskSettings

    known = {one.name for one in dataclasses.fields(TaskSettings)}
    if unknown := sorted(set(written) - known):
        raise unknown_name("field of the task", unknown[0], known)
    try:
        task = TaskSettings.from_json(written)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"the recipe's task cannot be read: {error}.") from None
    if data is None:
        return task
    there = at_home(data)
    if not there.exists():
        return dataclasses.replace(task, data=data, files={})  # a data set of the hub
    before, now = Path(task.data).parent, there.resolve()

    def moved(split: str | None) -> str | None:
        beside = split is not None and Path(split).is_absolute() and Path(split).parent == before
        return str(now.parent / Path(split or "").name) if beside else split

    return dataclasses.replace(
        task, data=str(now), validation=moved(task.validation), test=moved(task.test), files={}
    )
