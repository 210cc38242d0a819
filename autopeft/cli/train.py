"""`autopeft train`: a recipe, trained again."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson
from autopeft.cli.terminal import harmless, say
from autopeft.report.numbers import show_score

if TYPE_CHECKING:
    from autopeft.retrain import Epoch, Step


@in_a_sentence
def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A recipe of `autopeft export --to autopeft`, or a folder that holds one."
        ),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder for the adapter and its curves; it is made.")
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Where the backbone is, if not where the recipe says.", show_default=False
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Where the training data are, if not where the recipe says. Their content must be what it was.",
            show_default=False,
        ),
    ] = None,
    log_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="mlflow|wandb",
            help="Write the curves to MLflow or Weights & Biases too, if they are installed; may be given again. For TensorBoard "
            "they are always in DIR/logs.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if the score does not come back.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe again, from its own seed on the same data, and say whether the score comes back.

    No database is needed.
    """
    from autopeft.cli import render
    from autopeft.recipe import read_recipe

    found = read_recipe(recipe)
    with contextlib.redirect_stdout(sys.stderr), _progress(found.metric) as tell:
        from autopeft.retrain import check_loggers, retrain

        check_loggers(log_to or ())
        done = retrain(found, folder, model=model, data=data, log_to=log_to or (), tell=tell)
    if as_json:
        render.print_json(asdict(done))
    else:
        came = "came back" if done.came_back else "did not come back"
        render.print_line(
            f"The {done.metric} {came} within ±{done.within:.3g}: {show_score(done.score)}, and the recipe's was "
            f"{show_score(done.wanted)}."
        )
        render.print_line(f"Wrote {done.folder}")
    if check and not done.came_back:
        raise typer.Exit(1)


@contextlib.contextmanager
def _progress(metric: str) -> "Iterator[Callable[[Step | Epoch], None]]":
    """On a terminal a bar over all steps; elsewhere a line for each epoch. Both on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from autopeft.retrain import Step

    def line(event: "Epoch") -> str:
        on = "" if event.last else " of a sample"
        return f"epoch {event.number}: loss {event.loss:.4f}, {metric}{on} {show_score(event.score)}"

    console = Console(stderr=True, highlight=False)
    if not console.is_interactive:
        yield lambda event: None if isinstance(event, Step) else say(line(event))
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("loading", total=None, loss="–")

        def tell(event: "Step | Epoch") -> None:
            if isinstance(event, Step):
                bar.update(
                    task,
                    description=f"epoch {event.epoch}",
                    completed=event.number,
                    total=event.steps,
                    loss=f"{event.loss:.4f}",
                )
            else:
                bar.console.print(Text(harmless(line(event))))

        yield tell
