"""`autopeft search`."""

import contextlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from autopeft.budget import Budget
from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import (
    MACHINE,
    AsJson,
    Database,
    GpusPerTrial,
    Pack,
    RayAddress,
    Retries,
    Sites,
    TrialTimeout,
    Workers,
    effort,
    parse_fields,
    parse_sites,
)
from autopeft.cli.outcome import tell_outcome
from autopeft.errors import InputError
from autopeft.recipe import read_recipe
from autopeft.registry import find_objectives

_DATA = "The data"
_SEARCH = "The search"
_TRAINING = "The training"

_FROM_COLUMNS = "By default found by its usual names."


@in_a_sentence
def search(
    ctx: typer.Context,
    *,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="The backbone to fine-tune: `starter` (bundled, trains in seconds), a folder, or a hub id "
            "such as roberta-base. It stays frozen.",
        ),
    ] = "starter",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="What to train on: a CSV, TSV, JSON or Parquet file, a plain text (.txt), words with tags (.conll), a folder "
            "of images with a sub-folder per class, or a hub data set such as nyu-mll/glue:rte. By default the bundled "
            "digits, if the model is the bundled starter.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Most trainable parameters: a share of the backbone's parameters (0.5%) or a number (300k, "
            "120000). The new task head is not counted. Nothing over it is trained.",
        ),
    ] = "0.5%",
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="What the search chooses by: a file, a folder, or a split of a hub data set. By default what "
            "lies beside the training data, else a share of them.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    validation_fraction: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of the training data to hold out, if there is no validation split.",
            rich_help_panel=_DATA,
        ),
    ] = 0.2,
    confirm_fraction: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of the validation examples that the search does not see: what it found is confirmed on them.",
            rich_help_panel=_DATA,
        ),
    ] = 0.5,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="What results are reported on and nothing is chosen by: a file, a folder, or a split. By "
            "default what lies beside the training data, if it has labels.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text-column",
            metavar="NAME",
            help=f"Column of what is read: a text, a prompt, a list of words, a source. {_FROM_COLUMNS}",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    text_pair: Annotated[
        str | None,
        typer.Option(
            "--text-pair-column",
            metavar="NAME",
            help="Column of the second text, where examples are pairs.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image-column",
            metavar="NAME",
            help=f"Column of the image. {_FROM_COLUMNS}",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label-column",
            metavar="NAME",
            help="Column of what is to be predicted: a class, a value, a completion, a list of tags, a target. "
            f"{_FROM_COLUMNS}",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    problem: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="classification, regression, causal-lm, token-classification or seq2seq; by default the columns and "
            "the labels decide.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is searched on: accuracy, f1 or matthews for classes; pearson or spearman for values; loss or perplexity "
            "for language models, and for seq2seq also bleu or chrf; entity_f1 or token_accuracy for tags. By default "
            "accuracy, pearson, loss, and entity_f1 where the tags name entities.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    max_length: Annotated[
        int,
        typer.Option(
            metavar="TOKENS",
            help="Most tokens of a text; what is longer is cut. A plain text is cut into blocks of so many.",
            rich_help_panel=_DATA,
        ),
    ] = 128,
    forgetting_data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="What the objective forgetting is measured on: texts or images that nothing is trained on, without labels. "
            "By default the inputs of the validation examples.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    objectives: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="What is searched for: two to four of score, trainable, bytes, memory, time, latency, flops, density, "
            "forgetting, with commas; `autopeft objectives` tells them. What is measured is measured on every trial.",
            rich_help_panel=_SEARCH,
        ),
    ] = "score,trainable",
    space: Annotated[
        str,
        typer.Option(
            metavar="SPACE",
            help="What may be chosen: the name of a search space (autopeft: serial and parallel adapters and "
            "prefixes in any layers; lora: ranks and sites), or a YAML file of your own.",
            rich_help_panel=_SEARCH,
        ),
    ] = "autopeft",
    sampler: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Who proposes: botorch (a model of score over cost), random, optuna:tpe, optuna:nsgaii or optuna:gp.",
            rich_help_panel=_SEARCH,
        ),
    ] = "botorch",
    trials: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Configurations to try, in all: a study that has 32 and is asked for 50 goes on with 18. "
            "The baselines come on top.",
            rich_help_panel=_SEARCH,
        ),
    ] = 32,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Propose nothing new after so long: 90s, 10m, 2h. What is being trained is finished.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    confirm_seeds: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Seeds with which the front's members and the baselines are trained anew at the end, and scored on "
            "examples that the search has not seen: the front, its knee and its best are then those of the means. "
            "0: nothing is confirmed.",
            rich_help_panel=_SEARCH,
        ),
    ] = 3,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Of proposals, heads, modules and the order of batches.",
            rich_help_panel=_SEARCH,
        ),
    ] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Passes over the training data, in each trial. By default 3.",
            rich_help_panel=_TRAINING,
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Examples in a step.", rich_help_panel=_TRAINING)
    ] = 32,
    patience: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="End a trial after so many epochs without a better score. By default it goes through all of them.",
            rich_help_panel=_TRAINING,
            show_default=False,
        ),
    ] = None,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing",
            help="Keep no activations inside of layers, and compute them again for the gradients: a third more time, much "
            "less memory.",
            rich_help_panel=_TRAINING,
        ),
    ] = False,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="sensitivity: look at the gradients of all configurations in one pass before the first trial, which takes about "
            "as long as one trial; the first suggestions are then no blind ones. none: nothing is known before. By "
            "default sensitivity, or what an existing study began with.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    fidelity: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="epochs: a trial that does worse than others of about its size is stopped after a third of its "
            "epochs or earlier, and the time goes to others. none: all are trained to their end. By default "
            "epochs, or what an existing study began with.",
            rich_help_panel=_TRAINING,
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="Type of the frozen weights: float32 or bfloat16. What is trained is float32.",
            rich_help_panel=MACHINE,
        ),
    ] = "float32",
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="8bit|4bit",
            help="Quantise the frozen weights, for models that are too large otherwise: pip install 'autopeft[large]'.",
            rich_help_panel=MACHINE,
            show_default=False,
        ),
    ] = None,
    spread: Annotated[
        bool,
        typer.Option(
            "--spread",
            help="Spread the model over all GPUs of a worker (--gpus-per-trial 2), if it does not fit one.",
            rich_help_panel=MACHINE,
        ),
    ] = False,
    model_config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Change a field of the model's configuration, such as num_hidden_layers=2; may be given again.",
            rich_help_panel=_TRAINING,
            show_default=False,
        ),
    ] = None,
    sites: Sites = None,
    workers: Workers = None,
    gpus_per_trial: GpusPerTrial = None,
    pack: Pack = "auto",
    ray_address: RayAddress = None,
    retries: Retries = None,
    trial_timeout: TrialTimeout = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the study; one that is there already goes on where it stands. By default made "
            "from the settings, so that the same command goes on with the same study.",
            show_default=False,
        ),
    ] = None,
    new_study: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NEW_NAME",
            help="If the study of --study has other settings than this command, search under this name instead.",
            show_default=False,
        ),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STUDY",
            help="Learn from the complete trials of an earlier study of this database in the same space, on other data, "
            "another backbone or another budget; may be given again.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RECIPE",
            help="Try this recipe's configuration first: what `autopeft export --to autopeft` wrote; may be given again. It has to be "
            "in the space and inside the budget.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Search for the configurations with the best score at every size inside a budget.

    Trains configurations on your data, each within the budget, and shows the front: the best score for every number
    of trainable parameters. Everything is kept in a database at once; Ctrl-C stops, and the same study goes on later.
    """
    check(ctx.params)
    overrides = parse_fields(model_config or ())
    by_hand = parse_sites(sites or ())

    from autopeft.cli.live import progress
    from autopeft.report.events import Phase

    # Whatever a library prints belongs to the progress: stdout is for results alone.
    with contextlib.redirect_stdout(sys.stderr), progress() as on_event:
        on_event(Phase("loading libraries"))
        from autopeft.service import search as run

        result = run(
            model=model,
            data=data or "starter",
            budget=budget,
            objectives=objectives,
            space=space,
            sampler=sampler,
            **effort(ctx.params),
            study=study,
            new_study=new_study,
            warm_start=warm_start or (),
            start=start or (),
            seed=seed,
            epochs=epochs,
            batch_size=batch_size,
            patience=patience,
            gradient_checkpointing=gradient_checkpointing,
            fidelity=fidelity,
            prior=prior,
            validation=validation,
            test=test,
            text=text,
            text_pair=text_pair,
            image=image,
            label=label,
            problem=problem,
            metric=metric,
            validation_fraction=validation_fraction,
            confirm_fraction=confirm_fraction,
            max_length=max_length,
            forgetting_data=forgetting_data,
            model_config=overrides or None,
            weights=weights,
            quantize=quantize,
            spread=spread,
            sites=by_hand or None,
            on_event=on_event,
        )
        on_event(Phase("reading the results"))
        summary = result.summary()

    from autopeft.cli.again import again

    unfinished = result.interrupted or result.to_confirm
    more = again(ctx, study=summary.name, new_study=None, trials=trials if unfinished else 2 * trials)
    tell_outcome(result, summary, more=more, db=db, as_json=as_json)


def check(given: Mapping[str, Any]) -> None:
    """Refuse options of a search that cannot be, before the seconds that its imports take.

    Args:
        given: Its options by parameter.

    Raises:
        InputError: With what is wrong.
    """
    effort(given)
    parse_fields(given["model_config"] or ())
    parse_sites(given["sites"] or ())
    Budget.parse(given["budget"])
    find_objectives(given["objectives"])
    for path in given["start"] or ():
        read_recipe(path)
    if given["data"] is None and given["model"] != "starter":
        raise InputError(
            f"there are no data to fine-tune '{given['model']}' on.",
            "Name them with --data: a file, a folder or a hub id.",
        )
