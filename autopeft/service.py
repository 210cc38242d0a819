"""A whole search, put together: what the command line and the Python API call."""

import hashlib
import json
import os
import re
import secrets
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.budget import Budget
from autopeft.confirmation import confirmed, confirmed_score, missing
from autopeft.dsl import BoundSpace, Space, read_space, trainable_parameters, write_space
from autopeft.dsl.describe import describe
from autopeft.dsl.finding import find_space
from autopeft.dsl.misfit import misfit
from autopeft.errors import BackboneError, InputError, StudyError, unknown_name
from autopeft.naming import login_name
from autopeft.nouns import OWN_HEAD, BackboneShape, Configuration, Study, Trial, TrialKind, TrialStatus
from autopeft.optimize import SAMPLERS, earlier, halving
from autopeft.optimize.observation import Observation
from autopeft.recipe import read_recipe
from autopeft.registry import (
    TRADE_OFF,
    Objective,
    find_objective,
    find_objectives,
    objectives_of,
    recorded,
)
from autopeft.report import Row, Summary, summarise
from autopeft.report import pick as pick_trial
from autopeft.report.events import Event, Phase, Started, TrialDone
from autopeft.settings import ASKED, IMPORTED, as_asked, check_own, differences, prior_of
from autopeft.store import Repository, artifact_place, default_url, files, parse_url, queue
from autopeft.tasks.direction import oriented
from autopeft.trade_off import further, is_default
from autopeft.weights import Storage, check_storage, check_types

if TYPE_CHECKING:
    from autopeft.run.driver import Driver
    from autopeft.tasks.task import Task

Watcher = Callable[[Event], None]

DEFAULT_EPOCHS = 3
RETRIES = 2
FIDELITIES = ("epochs", "none")
PRIORS = ("sensitivity", "none")
_LOOKED_AT = 1_000  # training examples that are encoded before a search begins, to see whether it can be done


@dataclass(frozen=True)
class SearchResult:
    """A study that has been searched; reads the database at every call.

    Attributes:
        name: The study.
        url: Its database.
        interrupted: Whether the search was stopped before its end; the same call goes on.
        to_confirm: Confirming trials that are still to come, because the time was over; the same call goes on.
    """

    name: str
    url: str
    interrupted: bool = False
    to_confirm: int = 0

    def summary(self) -> Summary:
        """Front, baselines and counts."""
        with Repository.open(self.url) as repository:
            return summarise(repository, repository.get_study(self.name))

    def front(self) -> list[Row]:
        """The non-dominated trials, by ascending trainable parameters; see `Summary.front`."""
        return list(self.summary().front)

    def trials(self) -> list[Trial]:
        """Every trial, baselines included, by number."""
        with Repository.open(self.url) as repository:
            return repository.trials(repository.get_study(self.name).id)

    def export(
        self, pick: str = "knee", folder: str | Path = "adapter", to: str = "peft", *, lossy: bool = False
    ) -> Path:
        """Write the chosen trial's adapter, training script or recipe; see `export`."""
        return export(self.name, pick, to, folder, lossy=lossy, db=self.url)


def open_study(name: str, db: str | None = None) -> SearchResult:
    """A study of an earlier search.

    Raises:
        StudyError: There is none of this name.
    """
    url = parse_url(db) if db else default_url()
    with Repository.open(url) as repository:
        return SearchResult(repository.get_study(name).name, url)


def search(
    model: str = "starter",
    data: str | None = None,
    budget: str = "0.5%",
    *,
    objectives: str | Sequence[str] = TRADE_OFF,
    space: str | Space = "autopeft",
    sampler: str = "botorch",
    trials: int = 32,
    seconds: float | None = None,
    confirm_seeds: int = 3,
    workers: int | None = None,
    gpus_per_trial: float | None = None,
    pack: int | None = None,
    ray_address: str | None = None,
    retries: int | None = None,
    trial_seconds: float | None = None,
    study: str | None = None,
    new_study: str | None = None,
    warm_start: Sequence[str] = (),
    start: Sequence[str | Path] = (),
    db: str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    batch_size: int = 32,
    patience: int | None = None,
    gradient_checkpointing: bool = False,
    fidelity: str | None = None,
    prior: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    label: str | None = None,
    problem: str | None = None,
    metric: str | None = None,
    validation_fraction: float = 0.2,
    confirm_fraction: float = 0.5,
    max_length: int = 128,
    forgetting_data: str | None = None,
    model_config: Mapping[str, Any] | None = None,
    weights: str = "float32",
    quantize: str | None = None,
    spread: bool = False,
    sites: Mapping[str, str] | None = None,
    on_event: Watcher | None = None,
) -> SearchResult:
    """Search the parameter-efficient configurations of a model on data, inside a budget.

    The same call again continues the study where its database stands; while another one is at it, it joins in.

    Args:
        model: `starter`, a folder, or a hub id.
        data: A file, a folder or a hub id; the starter's data by default for the starter.
        budget: `0.5%` of the backbone's parameters, `300k` or `120000`; the new task head is not counted.
        objectives: What is searched for: two to four of `autopeft objectives`, or paths of one's own in Python
            (`my_package.energy:JOULES`). The budget bounds the trainable parameters whatever they are. Those that are measured
            are measured on every trial, after its last epoch.
        space: A shipped space's name, a YAML file, or a space built in Python (`autopeft.dsl.build_space`).
        sampler: `botorch`, `random`, `optuna:tpe`, `optuna:nsgaii` or `optuna:gp`.
        trials: Search trials the study shall have in all.
        seconds: After so long nothing new is started.
        confirm_seeds: Seeds with which the front's members, and the best of each baseline, are trained anew when the
            search is through; the front, its knee and its best are then those of the means. 0: nothing is confirmed.
            Not a setting of the study: another call may ask for more, or none.
        workers: Trials at the same time; by default as many as fit.
        gpus_per_trial: Share of a GPU for each.
        pack: Trials that a worker trains together on one backbone, where they can be; by default as many as a GPU has memory
            for, and one on a CPU, whose products are no faster for several.
        ray_address: A running Ray cluster; by default one is started here.
        retries: How many times a trial is taken up again, from its last epoch, whose worker was lost; by default 2.
        trial_seconds: A trial that takes longer has failed, and its worker is replaced.
        study: The study's name; by default made from its settings.
        new_study: Where the study of that name has other settings, search under this name instead.
        warm_start: Earlier studies of this database, in the same space, whose trials teach the suggester: of another
            task, backbone or budget. Those that are complete when the study is made are used, and no later ones.
        start: Recipes of autopeft (files, or folders that hold one) whose configurations are the first trials of the search; they
            have to be points of the space inside the budget.
        db: Database URL or SQLite file.
        seed: Of suggestions, heads, modules, batch order and the split.
        epochs: Passes over the training split a trial.
        batch_size: Examples a step. Where they do not fit into memory, a trial takes them in parts; its gradients are the same.
        patience: A trial ends after so many epochs without a better score; by default after all of them.
        gradient_checkpointing: Whether activations inside of layers are computed again for the gradients, not kept.
        fidelity: `epochs`: a trial that does worse than others of about its size is stopped after the first part of its
            epochs (`autopeft.optimize.halving`). `none`: every trial is trained to its end. By default `epochs`, or
            what an existing study began with. With other objectives than score and trainable it is `none`: what is weak in
            these may be the best in another.
        prior: `sensitivity`: before the first trial, the gradients of all configurations' modules are looked at in one pass
            (`autopeft.train.elastic.gradient_scores`), so that the first suggestions are no blind ones. It takes about as long
            as one trial, which is a trial of the study with its seconds. `none`: nothing is known before. By default
            `sensitivity` where the space and the sampler can use it, or what an existing study began with.
        validation, test, text, text_pair, image, label, problem, metric, validation_fraction, max_length:
            As in `autopeft.tasks.load.resolve_task`.
        forgetting_data: Texts or images that nothing is trained on, for the objective `forgetting`: a file, a folder or a
            hub id, without labels. By default it is measured on the inputs of the validation examples.
        confirm_fraction: Share of the validation examples that the search does not see, for the confirmation to score on.
        model_config: Fields of the model's configuration to change, such as `{"num_hidden_layers": 2}`.
        weights: Type of the frozen weights: `float32` or `bfloat16`. What is trained is float32.
        quantize: `8bit` or `4bit`: the frozen weights are quantised, by bitsandbytes.
        spread: Whether the model is spread over all GPUs of a worker, if it does not fit one.
        sites: Sites of the model named by hand, site to the end of its path in a layer: `{"q": "attn.q_proj"}`.
        on_event: Called with what happens.

    Raises:
        InputError: Something cannot be used; nothing was started.

    >>> study = autopeft.search(budget="0.5%")                      # doctest: +SKIP
    >>> [(row.trainable, row.score) for row in study.front()]       # doctest: +SKIP
    """
    tell = on_event or (lambda event: None)
    began = time.monotonic()
    parsed_budget = Budget.parse(budget)
    if isinstance(space, Space):
        found_space = space if space.text else read_space(write_space(space), f"<{space.name}>")
    else:
        found_space = find_space(space)
    found_space.check_modules()
    effort = Effort(
        trials,
        seconds,
        confirm_seeds,
        workers,
        gpus_per_trial,
        pack,
        ray_address,
        RETRIES if retries is None else retries,
        trial_seconds,
    )
    effort.check()
    _check_training(epochs, batch_size, patience, seed)
    if new_study is not None and study is None:
        raise InputError(
            f"'{new_study}' would be a study in place of which one? Name the one that has other settings with --study."
        )
    if isinstance(warm_start, str):
        warm_start = (warm_start,)
    starts = {
        str(path): read_recipe(path).configuration for path in ([start] if isinstance(start, str) else start)
    }
    if len(starts) > trials:
        raise InputError(
            f"{len(starts)} recipes to start from are more than {trials} trials: raise --trials."
        )
    if sampler not in SAMPLERS:
        raise unknown_name("sampler", sampler, SAMPLERS)
    if fidelity is not None and fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES)
    if prior is not None and prior not in PRIORS:
        raise unknown_name("prior", prior, PRIORS)
    references, wanted = find_objectives(objectives)
    if not is_default(wanted):
        _check_objectives(wanted, fidelity, prior, warm_start)
        fidelity, prior = "none", "none"
    if forgetting_data is not None and not any(objective.prepare for objective in wanted):
        raise InputError(
            "data to measure forgetting on are given, and the search is not for it: add it, as in "
            "--objectives score,trainable,forgetting."
        )
    storage = check_storage(weights, quantize, spread)
    data = _default_data(model, data)
    url = parse_url(db) if db else default_url()
    if warm_start:
        _check_warm_start(url, warm_start, sampler, study)
    if study is not None and new_study is None:
        _check_own(url, study)
    tell(Phase("reading the data"))
    from autopeft.tasks.load import resolve_task
    from autopeft.tasks.untouched import find_untouched

    task = resolve_task(
        data,
        validation=validation,
        test=test,
        text=text,
        text_pair=text_pair,
        image=image,
        label=label,
        problem=problem,
        metric=metric,
        validation_fraction=validation_fraction,
        split_seed=seed,
        max_length=max_length,
        confirmation_fraction=confirm_fraction,
    )
    untouched = None if forgetting_data is None else find_untouched(forgetting_data, task.settings)
    tell(Phase("loading the backbone"))
    overrides = dict(model_config or {})
    by_hand = dict(sites or {})
    path, shape = _inspect(model, task, overrides, by_hand, storage, wanted)
    bound = found_space.bind(shape, parsed_budget.limit(shape.parameters))
    if prior == "sensitivity":
        _check_prior(sampler, bound)
    check_types(storage, (part.type.name for part in bound.parts))
    for path_of, configuration in starts.items():
        if wrong := misfit(bound, configuration):
            raise InputError(
                f"cannot start from '{path_of}': {wrong}.",
                f"The space is '{found_space.name}': `autopeft space describe {found_space.name}` tells it.",
            )
    training = {
        "epochs": epochs or DEFAULT_EPOCHS,
        "batch_size": batch_size,
        **({"patience": patience} if patience is not None else {}),
        **({"gradient_checkpointing": True} if gradient_checkpointing else {}),
    }
    settings = {
        "model": model,
        "budget": str(parsed_budget),
        "backbone": {
            "path": path,
            "overrides": overrides,
            **({"sites": by_hand} if by_hand else {}),
            **({"storage": storage.to_json()} if storage.to_json() else {}),
            "parameters": shape.parameters,
            "layers": len(shape.layers),
            "smallest": bound.smallest,
        },
        "task": task.settings.to_json(),
        "space": {"name": found_space.name, "text": found_space.text},
        "sampler": sampler,
        "seed": seed,
        "training": training,
        **({"warm_start": sorted(set(warm_start))} if warm_start else {}),
        **({} if is_default(wanted) else {"objectives": list(references)}),
        **({} if untouched is None else {"forgetting_data": untouched}),
    }
    with Repository.open(url) as repository:
        settings["fidelity"] = fidelity or _fidelity_so_far(repository, study)
        settings["prior"] = prior or _prior_so_far(repository, study)
        found = _find_study(repository, study or _default_name(settings), settings, bound, new_study)
        for configuration in starts.values():
            cost = trainable_parameters(configuration, bound.shape)
            repository.propose(found[0].id, TrialKind.SEARCH, configuration, cost, seed, at_most=trials)
        return _run(repository, *found, bound, effort, tell, began)


def resume(
    study: str,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    confirm_seeds: int | None = None,
    workers: int | None = None,
    gpus_per_trial: float | None = None,
    pack: int | None = None,
    ray_address: str | None = None,
    retries: int | None = None,
    trial_seconds: float | None = None,
    retry_failed: bool = False,
    retry: Collection[int] = (),
    db: str | None = None,
    on_event: Watcher | None = None,
) -> SearchResult:
    """Go on with a study by its name: continue what was interrupted, try again what failed, or extend what is finished.

    Model, data, space and all that results depend on are the study's own.

    Args:
        study: Its name.
        trials, confirm_seeds, retries, trial_seconds: As of `search`; by default what was last asked for.
        seconds, workers, gpus_per_trial, pack, ray_address, db, on_event: As of `search`.
        retry_failed: Whether to try all trials again that have failed.
        retry: Numbers of failed trials to try again.

    Raises:
        InputError: There is no such study, its data have changed, or a trial has not failed.

    >>> autopeft.resume("my-study", trials=64)                      # doctest: +SKIP
    """
    tell = on_event or (lambda event: None)
    began = time.monotonic()
    with Repository.open(parse_url(db) if db else default_url()) as repository:
        record = repository.get_study(study)
        check_own(record)
        settings = record.settings
        asked = dict(settings.get(ASKED, {}))
        # Studies from before this was noted: as many as there are.
        asked.setdefault("trials", max(1, sum(repository.counts(record.id)[TrialKind.SEARCH].values())))
        given = {
            "trials": trials,
            "confirm_seeds": confirm_seeds,
            "retries": retries,
            "trial_seconds": trial_seconds,
        }
        asked |= {name: value for name, value in given.items() if value is not None}
        effort = Effort(
            **asked,
            seconds=seconds,
            workers=workers,
            gpus_per_trial=gpus_per_trial,
            pack=pack,
            ray_address=ray_address,
        )
        effort.check()
        tell(Phase("reading the data"))
        from autopeft.tasks.load import load_task
        from autopeft.tasks.task import TaskSettings

        task = load_task(TaskSettings.from_json(settings["task"]))
        bound = _space_of(record, task)
        observed = earlier.observed(repository, settings.get("warm_start", []), bound, settings["backbone"])
        again = None if retry_failed else tuple(retry)
        return _run(repository, record, True, observed, bound, effort, tell, began, again)


@dataclass(frozen=True)
class Effort:
    """How much is searched, and with what: no setting of a study, because no result depends on it.

    Attributes are the arguments of `search`.
    """

    trials: int
    seconds: float | None = None
    confirm_seeds: int = 3
    workers: int | None = None
    gpus_per_trial: float | None = None
    pack: int | None = None
    ray_address: str | None = None
    retries: int = RETRIES
    trial_seconds: float | None = None

    def check(self) -> None:
        """Refuse what makes no sense. Raises: InputError."""
        for name, value, least in (
            ("trials", self.trials, 1),
            ("confirming seeds", self.confirm_seeds, 0),
            ("workers", self.workers, 1),
            ("size of a pack", self.pack, 1),
            ("retries", self.retries, 0),
        ):
            if value is not None and value < least:
                raise InputError(f"the {name} of {value} is below {least}.")
        if self.seconds is not None and self.seconds <= 0:
            raise InputError(f"a time of {self.seconds:g} seconds leaves no room for a trial.")
        if self.trial_seconds is not None and self.trial_seconds <= 0:
            raise InputError(f"a trial cannot be through after {self.trial_seconds:g} seconds.")
        if self.gpus_per_trial is not None and self.gpus_per_trial < 0:
            raise InputError(f"{self.gpus_per_trial:g} of a GPU per trial is below 0.")

    def to_json(self) -> dict[str, Any]:
        """What `resume` goes on with, where it is not told otherwise; machines are named anew each time."""
        kept = ("trials", "confirm_seeds", "retries", "trial_seconds")
        return {name: getattr(self, name) for name in kept}


def _run(
    repository: Repository,
    record: Study,
    resumed: bool,
    observed: list[list[Observation]],
    bound: BoundSpace,
    effort: Effort,
    tell: Watcher,
    began: float,
    retry: Collection[int] | None = (),
) -> SearchResult:
    """Search a study, from where its database stands; `retry` as `Repository.retry` takes it."""
    from autopeft.optimize import find_suggester
    from autopeft.optimize.several import find_suggester_of
    from autopeft.optimize.suggest import believe

    settings, url = record.settings, repository.url
    wanted, epochs = objectives_of(settings), settings["training"]["epochs"]
    repository.note_asked(record.id, effort.to_json())
    repository.retry(record.id, retry)
    _queue_probe(repository, record, bound)
    _queue_baselines(repository, record, bound)
    if _is_complete(repository, record, bound, effort.trials, effort.confirm_seeds):
        return SearchResult(record.name, url)
    artifacts = artifact_place(url)
    files.check(artifacts)
    tell(Phase("starting Ray"))
    from autopeft.run.driver import Driver
    from autopeft.run.tuner import run_trials, start_ray

    cluster = start_ray(effort.workers, effort.gpus_per_trial, effort.ray_address)
    try:
        driver = Driver(
            repository=repository,
            study=record,
            space=bound,
            suggester=find_suggester(settings["sampler"], [believe(bound, one) for one in observed])
            if is_default(wanted)
            else find_suggester_of(settings["sampler"], wanted),
            wanted=effort.trials,
            at_once=cluster.workers + 1,
            pack=effort.pack if effort.pack is not None or cluster.gpus_per_trial else 1,
            artifacts=artifacts,
            deadline=began + effort.seconds if effort.seconds is not None else None,
            owner=f"{os.getpid()}-{secrets.token_hex(8)}",
            rungs=halving.rungs(epochs) if as_asked(settings)["fidelity"] == "epochs" else (),
            confirm_seeds=effort.confirm_seeds,
            objectives=wanted,
            retries=effort.retries,
            trial_seconds=effort.trial_seconds,
        )
        watch = _Watch(driver, tell, effort.trials, cluster.workers, began)
        watch.start(resumed)
        driver.on_done = watch.done
        try:
            run_trials(driver, cluster, _plan(settings, bound))
        finally:
            driver.close()
    finally:
        import ray

        ray.shutdown()
    if driver.broken:
        raise StudyError(driver.broken, "What was reported is kept, and nothing was trained since.")
    left = driver.to_confirm(repository.trials(record.id))
    return SearchResult(record.name, url, interrupted=not driver.finished, to_confirm=len(left))


def _plan(settings: Mapping[str, Any], bound: BoundSpace) -> dict[str, Any]:
    """What workers need to know of a study; see `Worker.setup`."""
    backbone = settings["backbone"]
    references = as_asked(settings).get("objectives", TRADE_OFF)
    measured = {objective.name for objective in further(objectives_of(settings))}
    return {
        "path": backbone["path"],
        "overrides": backbone["overrides"],
        "storage": backbone.get("storage", {}),
        "sites": backbone.get("sites", {}),
        "task": settings["task"],
        "training": settings["training"],
        "space": {**settings["space"], "limit": bound.limit},
        "objectives": [one for one in references if find_objective(one).name in measured],
        "untouched": settings.get("forgetting_data"),
    }


def _space_of(record: Study, task: "Task") -> BoundSpace:
    """A study's space on its backbone, as when it was made."""
    settings = record.settings
    space, backbone = read_space(settings["space"]["text"], settings["space"]["name"]), settings["backbone"]
    space.check_modules()
    if "shape" in backbone:
        return space.bind(BackboneShape.from_json(backbone["shape"]), record.limit)
    storage = Storage.from_json(backbone.get("storage", {}))
    _, shape = _inspect(backbone["path"], task, backbone["overrides"], backbone.get("sites", {}), storage, ())
    return space.bind(shape, record.limit)


def export(
    study: str,
    pick: str,
    to: str,
    folder: str | Path,
    *,
    lossy: bool = False,
    merge: bool = False,
    compress: str | None = None,
    push_to_hub: str | None = None,
    db: str | None = None,
) -> Path:
    """Write one trial of a study as an adapter folder, a training script or a recipe.

    Args:
        study: Its name.
        pick: `knee`, `best`, a trial's number, or bounds: see `autopeft.report.pick`.
        to: `peft`, `script`, `autopeft` or a trainer's name: `autopeft.export.EXPORTERS`.
        folder: Created; refused if it holds anything already. Of a recipe also a name that ends in `.json`.
        lossy: Whether the nearest is written where a trainer's format cannot say all of the trial.
        merge: Of `peft`: merge the adapter into the backbone's weights, so that the folder holds the whole model.
        compress: Of `peft`: make the adapter smaller, by `8bit`, `ternary` or `energy=0.95`; the score before and after are measured
            and stand in the folder's README.md and autopeft_config.json.
        push_to_hub: Of `peft`: a repository of the Hugging Face hub to send the folder to.
        db: Database URL or SQLite file.

    Returns:
        The folder.

    Raises:
        InputError: No such study, trial or format, the folder is in use, or something would be lost.
    """
    from autopeft.export import find_exporter

    write = find_exporter(to)
    wished = {"--merge": merge, "--compress": compress, "--push-to-hub": push_to_hub}
    if to != "peft" and (named := [name for name, value in wished.items() if value]):
        raise InputError(f"{named[0]} is for an adapter: it goes with --to peft, and not with --to {to}.")
    from autopeft.export.compress import parse_compression

    how = None if compress is None else parse_compression(compress)
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"'{folder}' is there already and not empty: choose another folder.")
    with Repository.open(parse_url(db) if db else default_url()) as repository:
        record = repository.get_study(study)
        if IMPORTED in record.settings:
            raise InputError(
                f"the study '{study}' holds published results that were imported: no adapter was published with them.",
                f"peft's configuration of a trial is in `autopeft show {shlex.quote(study)} TRIAL --json`.",
            )
        trial = pick_trial(repository, record, pick)
        same = repository.trials_of(record.id, trial.configuration)
        anew = confirmed(same, trial, objectives_of(record.settings))
        front = summarise(repository, record).front
    write(record, trial, target, anew, lossy=lossy)
    if to == "peft":
        from autopeft.export.finishing import Wishes, finish
        from autopeft.export.finishing import push_to_hub as push

        finish(record, trial, target, Wishes(merge, how), [_for_card(record, row) for row in front], anew)
        if push_to_hub is not None:
            push(target, push_to_hub)
    return target


def _for_card(study: Study, row: Row) -> dict[str, Any]:
    """A row of the front as a model card tells it."""
    titles = {one.name: one.described() for one in further(objectives_of(study.settings))}
    return {
        **{name: getattr(row, name) for name in ("number", "trainable", "share", "score", "description")},
        "confirmed": None if row.confirmed is None else row.confirmed.mean,
        "objectives": {
            f"{one['title']} ({one['unit']})" if one["unit"] else one["title"]: f"{value:,.6g}"
            for name, one in titles.items()
            if (value := row.reported_objective(name)) is not None
        },
    }


# -- pieces ----------------------------------------------------------------------------------------------------------


def _check_training(epochs: int | None, batch_size: int, patience: int | None, seed: int) -> None:
    for name, value, least in (
        ("epochs", epochs, 1),
        ("batch size", batch_size, 1),
        ("patience", patience, 1),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise InputError(f"the {name} of {value} is below {least}.")


def _default_data(model: str, data: str | None) -> str:
    if data is not None:
        return data
    if model != "starter":
        raise InputError(
            f"no data for the model '{model}': give a file, a folder or a hub id with --data. "
            "Only the bundled starter brings its own."
        )
    return "starter"


def _inspect(
    model: str,
    task: "Task",
    overrides: Mapping[str, Any],
    sites: Mapping[str, str],
    storage: Storage,
    objectives: Sequence[Objective],
) -> tuple[str, BackboneShape]:
    """The path that workers load, and the shape; the model itself is let go.

    Raises:
        BackboneError: It cannot be loaded, or an objective cannot be measured on it.
    """
    from autopeft.backbones import STARTER, load_backbone, model_path
    from autopeft.tasks.batches import encode
    from autopeft.tasks.preprocessor import load_preprocessor
    from autopeft.tasks.sequences import EncodedSequences

    resolved = model_path(model)
    backbone = load_backbone(
        resolved,
        modality=task.settings.modality,
        problem=task.settings.problem,
        num_labels=task.num_labels,
        config_overrides=overrides,
        sites=sites,
        storage=storage,
    )
    # What cannot be encoded is refused here rather than on every worker.
    preprocessor = load_preprocessor(resolved, task.settings.modality)
    if task.settings.problem not in ("classification", "regression"):
        start = getattr(backbone.model.config, "decoder_start_token_id", None)
        some = task.train.take(range(min(len(task.train), _LOOKED_AT)))
        encoded = encode(some, task.settings, preprocessor, start)
        assert isinstance(encoded, EncodedSequences)
        known = backbone.model.get_input_embeddings().num_embeddings
        largest = max(max(ids) for ids in (*encoded.inputs, *encoded.targets) if ids)
        if largest >= known:
            raise BackboneError(
                f"the tokenizer of '{model}' has tokens that the model does not know: one has the number {largest}, and the "
                f"model has {known}."
            )
    for objective in objectives:
        if reason := objective.objection(backbone, task.settings):
            raise BackboneError(
                f"the objective '{objective.typed}' cannot be measured on '{model}': {reason}."
            )
    return (STARTER if model == STARTER else resolved), backbone.layout.shape


def _default_name(settings: Mapping[str, Any]) -> str:
    """A name that says what is searched, and differs where anything differs that results depend on."""
    digest = hashlib.sha256(json.dumps(as_asked(settings), sort_keys=True).encode()).hexdigest()[:6]
    model = re.sub(r"[^a-z0-9]+", "-", Path(settings["model"]).name.lower()).strip("-")
    data = re.sub(r"[^a-z0-9]+", "-", Path(settings["task"]["data"]).stem.lower()).strip("-")
    what = model if data == model else f"{model}-{data}"
    return f"{what}-{settings['space']['name']}-{digest}"


def _check_warm_start(url: str, names: Sequence[str], sampler: str, study: str | None) -> None:
    """Refuse earlier studies that cannot be used, before the data and the backbone are loaded."""
    if sampler != "botorch":
        raise InputError(
            f"the sampler '{sampler}' learns nothing from earlier studies: only botorch takes a warm start."
        )
    with Repository.open(url) as repository:
        for name in names:
            check_own(repository.get_study(name))
            if name == study:
                raise StudyError(f"the study '{name}' cannot start from itself.")


def _check_own(url: str, study: str) -> None:
    """Refuse to search what was imported, before the data and the backbone are loaded."""
    with Repository.open(url) as repository:
        found = repository.find_study(study)
        if found is not None:
            check_own(found)


def _check_objectives(
    objectives: Sequence[Objective], fidelity: str | None, prior: str | None, warm_start: Sequence[str]
) -> None:
    """Refuse what speaks of score and trainable parameters alone."""
    named = ",".join(objective.typed for objective in objectives)
    if fidelity == "epochs":
        raise InputError(
            f"a search for {named} stops no trial early: one that is weak in score and size may be the best in another "
            "objective. Leave --fidelity out, or search for score,trainable."
        )
    if prior == "sensitivity":
        raise InputError(
            f"a search for {named} has no prior: what gradients say is of the score against the size alone. Leave --prior out, "
            "or search for score,trainable."
        )
    if warm_start:
        raise InputError(
            f"a search for {named} learns nothing from earlier studies: leave --warm-start out, or search for "
            "score,trainable."
        )


def _fidelity_so_far(repository: Repository, study: str | None) -> str:
    """What the study of this name began with: those made before there was a choice trained all to the end."""
    record = repository.find_study(study) if study else None
    return "epochs" if record is None else str(record.settings.get("fidelity", "none"))


def _check_prior(sampler: str, space: BoundSpace) -> None:
    """Refuse a prior that the search could do nothing with."""
    from autopeft.train.elastic import supports

    if sampler != "botorch":
        raise InputError(f"the sampler '{sampler}' uses no prior: leave --prior out, or --sampler.")
    if found := supports(space):
        raise InputError(f"the space has no prior: {found[:-1]}.", "Leave --prior out.")


def _prior_so_far(repository: Repository, study: str | None) -> str:
    """What the study of this name began with."""
    record = repository.find_study(study) if study else None
    return "sensitivity" if record is None else prior_of(record.settings)


def _find_study(
    repository: Repository, name: str, settings: dict[str, Any], space: BoundSpace, instead: str | None = None
) -> tuple[Study, bool, list[list[Observation]]]:
    """The study to search, made if there is none; whether there was; what its earlier studies say of the space.

    Where the study has other settings, it is the one called `instead`, if that is given.
    """
    record = repository.find_study(name)
    if record is None:
        chosen = earlier.choose(repository, settings.get("warm_start", ()))
        observed = earlier.observed(repository, chosen, space, settings["backbone"])
        backbone = {**settings["backbone"], "shape": space.shape.to_json()}
        kept = {**settings, "backbone": backbone, **({"warm_start": chosen} if chosen else {})}
        if "objectives" in settings:
            kept["objectives"] = [recorded(one, find_objective(one)) for one in settings["objectives"]]
        try:
            owner = _owner(repository, name)
            return repository.create_study(name, kept, space.limit, space.name, owner=owner), False, observed
        except StudyError:
            record = repository.get_study(name)  # somebody has made it since
    changed = differences(as_asked(record.settings), as_asked(settings))
    if changed and instead is not None:
        return _find_study(repository, instead, settings, space)
    if changed:
        listed = "; ".join(changed)
        raise StudyError(
            f"the study '{name}' has other settings: {listed}" + ("\n" if "\n" in listed else "."),
            "Search with these as a new study with --as NEW_NAME, or go on with the old ones: autopeft resume "
            f"{shlex.quote(name)}.",
        )
    chosen = record.settings.get("warm_start", [])
    return record, True, earlier.observed(repository, chosen, space, settings["backbone"])


def _owner(repository: Repository, name: str) -> str:
    """Who asks for a study: who has put it into the queue, whoever runs the server; else who runs this."""
    job = queue.find_job(repository, name)
    return login_name() if job is None else job.owner


def _queue_probe(repository: Repository, study: Study, space: BoundSpace) -> None:
    from autopeft.train.elastic import supports

    there = any(t.kind is TrialKind.PROBE for t in repository.trials(study.id))
    useful = study.settings["sampler"] == "botorch" and not supports(space)
    if prior_of(study.settings) == "sensitivity" and useful and not there:
        nothing = Configuration.of([], space.decisions[-1].at(0.5))
        # Another driver may have been quicker, here and below.
        repository.propose(study.id, TrialKind.PROBE, nothing, 0, int(study.settings["seed"]))


def _queue_baselines(repository: Repository, study: Study, space: BoundSpace) -> None:
    from autopeft.optimize.baselines import baselines

    there = {(t.kind, t.configuration.key) for t in repository.trials(study.id)}
    new_head = study.settings["task"]["problem"] not in OWN_HEAD
    for kind, configuration in baselines(space, new_head=new_head):
        if (kind, configuration.key) not in there:
            cost = trainable_parameters(configuration, space.shape)
            repository.propose(study.id, kind, configuration, cost, int(study.settings["seed"]))


def _is_complete(
    repository: Repository, study: Study, space: BoundSpace, wanted: int, confirm_seeds: int
) -> bool:
    trials = repository.trials(study.id)
    if sum(t.kind is TrialKind.SEARCH for t in trials) < wanted or not all(t.status.final for t in trials):
        return False
    from autopeft.optimize.judged import expected_front  # BoTorch takes seconds to import

    objectives = objectives_of(study.settings)
    judged = confirm_seeds and is_default(objectives)
    expected = expected_front(space, trials) if judged else ()
    return not missing(trials, confirm_seeds, expected=expected, objectives=objectives)


class _Watch:
    """Turns a driver's trials into events."""

    def __init__(self, driver: "Driver", tell: Watcher, wanted: int, workers: int, began: float) -> None:
        self._driver = driver
        self._tell = tell
        self._search_wanted = wanted
        self._workers = workers
        self._began = began
        self._first = time.monotonic()
        trials = driver.repository.trials(driver.study.id)
        self._done = self._before = sum(t.status.final for t in trials)

    def _wanted(self, trials: list[Trial]) -> int:
        """Trials in the end, if the front keeps its size: the confirmation trains each of its members anew."""
        ended = [t.status.final for t in trials if t.kind is TrialKind.SEARCH]
        through = len(ended) >= self._search_wanted and all(ended)
        # While it is under way the front changes with every trial: the few that the surrogate would add may come later.
        left = (
            self._driver.to_confirm(trials)
            if through
            else missing(trials, self._driver.confirm_seeds, objectives=self._driver.objectives)
        )
        return len(trials) + max(self._search_wanted - len(ended), 0) + len(left)

    def start(self, resumed: bool) -> None:
        driver = self._driver
        self._tell(
            Started(
                name=driver.study.name,
                url=driver.repository.url,
                resumed=resumed,
                limit=driver.space.limit,
                backbone_parameters=driver.space.shape.parameters,
                smallest=driver.space.smallest,
                trials_wanted=self._wanted(driver.repository.trials(driver.study.id)),
                trials_done=self._done,
                workers=self._workers,
            )
        )
        self._tell(Phase("warming up the workers"))

    def done(self, trial: Trial) -> None:
        driver = self._driver
        trials = driver.repository.trials(driver.study.id)
        self._done = sum(t.status.final for t in trials)  # those of other drivers too
        scores = [t.score for t in trials if t.kind is TrialKind.SEARCH and t.score is not None]
        fronts = driver.repository.fronts(driver.study.id)
        now = time.monotonic()
        ended = self._done - self._before
        wanted = self._wanted(trials)
        left = wanted - self._done
        metric = driver.study.settings["task"]["metric"]
        remaining = (now - self._first) / ended * left if ended > self._workers else None
        if remaining is not None and driver.deadline is not None:
            remaining = min(remaining, max(0.0, driver.deadline - now))
        self._tell(
            TrialDone(
                number=trial.number,
                kind=trial.kind,
                description=describe(trial.configuration, len(driver.space.shape.layers)),
                trainable=trial.trainable,
                share=trial.trainable / driver.space.shape.parameters,
                score=oriented(
                    metric, confirmed_score(trial) if trial.kind is TrialKind.CONFIRM else trial.score
                ),
                reason=trial.reason,
                stopped_after=max(trial.scores) if trial.status is TrialStatus.STOPPED else None,
                done=self._done,
                wanted=wanted,
                best_score=oriented(metric, max(scores, default=None)),
                hypervolume=fronts[-1].hypervolume if fronts else None,
                elapsed_seconds=now - self._began,
                remaining_seconds=remaining,
            )
        )
