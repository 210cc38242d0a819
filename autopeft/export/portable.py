"""Our own recipe of a trial: see `autopeft.recipe`."""

from pathlib import Path

from autopeft.confirmation import Confirmed
from autopeft.dsl.describe import describe
from autopeft.nouns import Study, Trial
from autopeft.recipe import TOLERANCE, Recipe, write_recipe
from autopeft.tasks.direction import oriented

_ENVIRONMENT = ("autopeft", "torch", "transformers", "peft", "device", "threads")


def export_portable(
    study: Study, trial: Trial, folder: Path, anew: Confirmed | None = None, *, lossy: bool = False
) -> None:
    """Write the recipe of a trial.

    Args:
        study: The trial's.
        trial: Complete.
        folder: Where `recipe.json` goes; a name that ends in `.json` is that of the file itself.
        anew: What the configuration scored when it was trained anew.
        lossy: Changes nothing: this format keeps all of it.
    """
    write_recipe(recipe_of(study, trial, anew), folder)


def recipe_of(study: Study, trial: Trial, anew: Confirmed | None = None) -> Recipe:
    """The recipe of a complete trial; arguments as of `export_portable`."""
    settings, metric = study.settings, study.settings["task"]["metric"]
    backbone = settings["backbone"]
    score, test = oriented(metric, trial.score), oriented(metric, trial.measurements.get("test_score"))
    assert score is not None
    further = {} if test is None else {"test_score": test}
    confirmed = (
        {}
        if anew is None
        else {
            "confirmed": {
                "mean": oriented(metric, anew.mean),
                "standard_error": anew.standard_error,
                "seeds": anew.seeds,
                "held_back": anew.held_back,
            }
        }
    )
    return Recipe(
        description=describe(trial.plan, backbone["layers"]),
        found={
            "study": study.name,
            "trial": trial.number,
            "space": study.space,
            "budget": settings["budget"],
        },
        backbone={
            "model": settings["model"],
            **{name: backbone[name] for name in ("path", "overrides", "parameters")},
            **{name: backbone[name] for name in ("sites", "storage") if backbone.get(name)},
        },
        task=settings["task"],
        configuration=trial.configuration,
        plan=trial.plan if trial.configuration.allocation else None,
        training=settings["training"],
        seed=trial.seed,
        metric=metric,
        score=score,
        tolerance=TOLERANCE,
        trainable=trial.trainable,
        further={**further, **confirmed},
        environment={name: trial.details[name] for name in _ENVIRONMENT if name in trial.details},
    )
