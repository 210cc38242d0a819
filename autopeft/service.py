"""A whole search, put together: what the command line and the Python API call."""

import hashlib
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.budget import Budget
from autopeft.confirmation import confirmed, confirmed_score, missing
from autopeft.dsl import BoundSpace, Space, read_space, write_space
from autopeft.dsl.describe import describe
from autopeft.dsl.finding import find_space
from autopeft.errors import BackboneError, InputError, StudyError, unknown_name
from autopeft.nouns import OWN_HEAD, BackboneShape, Configuration, Study, Trial, TrialKind, TrialStatus
from autopeft.optimize import SAMPLERS, earlier, halving
from autopeft.optimize.observation import Observation
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
from autopeft.store import Repository, artifact_folder, default_url, parse_url
from autopeft.tasks.direction import oriented
from autopeft.trade_off import further, is_default
from autopeft.weights import Storage, check_storage, check_types

if TYPE_CHECKING:
    from autopeft.run import Driver
    from autopeft.tasks.task import Task

Watcher = Callable[[Event], None]

DEFAULT_EPOCHS = 3
FIDELITIES = ("epochs", "none")
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

    def export(self, pick: str = "knee", folder: str | Path = "adapter", to: str = "peft") -> Path:
        """Write the chosen trial's adapter or training script; see `export`."""
        return export(self.name, pick, to, folder, db=self.url)


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
    study: str | None = None,
    warm_start: Sequence[str] = (),
    db: str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    batch_size: int = 32,
    patience: int | None = None,
    gradient_checkpointing: bool = False,
    fidelity: str | None = None,
    probe: bool | None = None,
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

    The same call again continues the study where its database stands.

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
        study: The study's name; by default made from its settings.
        warm_start: Earlier studies of this database, in the same space, whose trials teach the suggester: of another
            task, backbone or budget. Those that are complete when the study is made are used, and no later ones.
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
        probe: Whether, before the first trial, the gradients of all configurations' modules are looked at in one pass
            (`autopeft.train.elastic.gradient_scores`), so that the first suggestions are no blind ones. It takes about as long
            as one trial, and is left out for spaces and samplers that cannot use it. By default True, or what an
            existing study began with.
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
    _check_effort(
        trials, seconds, confirm_seeds, workers, gpus_per_trial, pack, epochs, batch_size, patience, seed
    )
    if isinstance(warm_start, str):
        warm_start = (warm_start,)
    if sampler not in SAMPLERS:
        raise unknown_name("sampler", sampler, SAMPLERS)
    if fidelity is not None and fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES)
    references, wanted = find_objectives(objectives)
    if not is_default(wanted):
        _check_objectives(wanted, fidelity, warm_start)
        fidelity, probe = "none", False
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
    tell(Phase("reading the data"))
    from autopeft.optimize import find_suggester
    from autopeft.optimize.several import find_suggester_of
    from autopeft.optimize.suggest import believe
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
    check_types(storage, (part.type.name for part in bound.parts))
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
        settings["probe"] = _probe_so_far(repository, study) if probe is None else probe
        record, resumed, observed = _find_study(repository, study or _default_name(settings), settings, bound)
        owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        repository.acquire(record.id, owner=owner, host=socket.gethostname(), pid=os.getpid())
        try:
            _queue_probe(repository, record, bound)
            _queue_baselines(repository, record, bound)
            if _is_complete(repository, record, bound, trials, confirm_seeds):
                return SearchResult(record.name, url)
            tell(Phase("starting Ray"))
            from autopeft.run import Driver, run_trials, start_ray

            cluster = start_ray(workers, gpus_per_trial, ray_address)
            try:
                driver = Driver(
                    repository=repository,
                    study=record,
                    space=bound,
                    suggester=find_suggester(sampler, [believe(bound, one) for one in observed])
                    if is_default(wanted)
                    else find_suggester_of(sampler, wanted),
                    wanted=trials,
                    at_once=cluster.workers + 1,
                    pack=pack if pack is not None or cluster.gpus_per_trial else 1,
                    artifacts=artifact_folder(url),
                    deadline=began + seconds if seconds is not None else None,
                    owner=owner,
                    rungs=halving.rungs(training["epochs"]) if settings["fidelity"] == "epochs" else (),
                    confirm_seeds=confirm_seeds,
                    objectives=wanted,
                )
                watch = _Watch(driver, tell, trials, cluster.workers, began)
                watch.start(resumed)
                driver.on_done = watch.done
                try:
                    run_trials(
                        driver,
                        cluster,
                        {
                            "path": path,
                            "overrides": overrides,
                            "storage": storage.to_json(),
                            "sites": by_hand,
                            "task": task.settings.to_json(),
                            "training": training,
                            "space": {
                                "name": found_space.name,
                                "text": found_space.text,
                                "limit": bound.limit,
                            },
                            "objectives": [
                                reference
                                for reference, objective in zip(references, wanted, strict=True)
                                if objective in further(wanted)
                            ],
                            "untouched": untouched,
                        },
                    )
                finally:
                    driver.close()
            finally:
                import ray

                ray.shutdown()
            left = driver.to_confirm(repository.trials(record.id))
            return SearchResult(record.name, url, interrupted=not driver.finished, to_confirm=len(left))
        finally:
            repository.release(record.id, owner)


def export(study: str, pick: str, to: str, folder: str | Path, *, db: str | None = None) -> Path:
    """Write one trial of a study as an adapter folder or a training script.

    Args:
        study: Its name.
        pick: `knee`, `best`, or a trial's number.
        to: `peft` or `script`.
        folder: Created; refused if it holds anything already.
        db: Database URL or SQLite file.

    Returns:
        The folder.

    Raises:
        InputError: No such study, trial or format, or the folder is in use.
    """
    from autopeft.export import find_exporter

    write = find_exporter(to)
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"'{folder}' is there already and not empty: choose another folder.")
    with Repository.open(parse_url(db) if db else default_url()) as repository:
        record = repository.get_study(study)
        trial = pick_trial(repository, record, pick)
        anew = confirmed(repository.trials(record.id), trial, objectives_of(record.settings))
    write(record, trial, target, anew)
    return target


# -- pieces ----------------------------------------------------------------------------------------------------------


def _check_effort(
    trials: int,
    seconds: float | None,
    confirm_seeds: int,
    workers: int | None,
    gpus_per_trial: float | None,
    pack: int | None,
    epochs: int | None,
    batch_size: int,
    patience: int | None,
    seed: int,
) -> None:
    for name, value, least in (
        ("trials", trials, 1),
        ("confirming seeds", confirm_seeds, 0),
        ("workers", workers, 1),
        ("size of a pack", pack, 1),
        ("epochs", epochs, 1),
        ("batch size", batch_size, 1),
        ("patience", patience, 1),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise InputError(f"the {name} of {value} is below {least}.")
    if seconds is not None and seconds <= 0:
        raise InputError(f"a time of {seconds:g} seconds leaves no room for a trial.")
    if gpus_per_trial is not None and gpus_per_trial < 0:
        raise InputError(f"{gpus_per_trial:g} of a GPU per trial is below 0.")


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
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]
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
            repository.get_study(name)
            if name == study:
                raise StudyError(f"the study '{name}' cannot start from itself.")


def _check_objectives(
    objectives: Sequence[Objective], fidelity: str | None, warm_start: Sequence[str]
) -> None:
    """Refuse what speaks of score and trainable parameters alone."""
    named = ",".join(objective.typed for objective in objectives)
    if fidelity == "epochs":
        raise InputError(
            f"a search for {named} stops no trial early: one that is weak in score and size may be the best in another "
            "objective. Leave --fidelity out, or search for score,trainable."
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


def _probe_so_far(repository: Repository, study: str | None) -> bool:
    """What the study of this name began with: those made before there was a probe have none."""
    record = repository.find_study(study) if study else None
    return record is None or bool(record.settings.get("probe", False))


def _find_study(
    repository: Repository, name: str, settings: dict[str, Any], space: BoundSpace
) -> tuple[Study, bool, list[list[Observation]]]:
    """The study to search, made if there is none; whether there was; what its earlier studies say of the space."""
    record = repository.find_study(name)
    if record is None:
        chosen = earlier.choose(repository, settings.get("warm_start", ()))
        observed = earlier.observed(repository, chosen, space, settings["backbone"])
        backbone = {**settings["backbone"], "shape": space.shape.to_json()}
        kept = {**settings, "backbone": backbone, **({"warm_start": chosen} if chosen else {})}
        if "objectives" in settings:
            kept["objectives"] = [recorded(one, find_objective(one)) for one in settings["objectives"]]
        return repository.create_study(name, kept, space.limit, space.name), False, observed
    changed = _differences(_as_asked(record.settings), settings)
    if changed:
        listed = "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")
        raise StudyError(
            f"the study '{name}' has other settings: {listed}.",
            "Give the new search another name with --study, or leave --study out.",
        )
    chosen = record.settings.get("warm_start", [])
    return record, True, earlier.observed(repository, chosen, space, settings["backbone"])


def _as_asked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A study's settings without what only its making added: the backbone's shape, the trials of a warm start, what
    objectives mean."""
    backbone = {name: value for name, value in settings["backbone"].items() if name != "shape"}
    asked = {"fidelity": "none", "probe": False, **settings, "backbone": backbone}
    if "warm_start" in settings:
        asked["warm_start"] = [one["study"] for one in settings["warm_start"]]
    if "objectives" in settings:
        asked["objectives"] = [one["reference"] for one in settings["objectives"]]
    return asked


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    """Sentences such as `budget was 0.5%, now 1%`."""
    found: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        before, now, where = old.get(key), new.get(key), f"{path}{key}"
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += _differences(before, now, f"{where}.")
        elif before != now:
            found.append(f"{where} was {_short(before)}, now {_short(now)}")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _queue_probe(repository: Repository, study: Study, space: BoundSpace) -> None:
    from autopeft.train.elastic import supports

    there = any(t.kind is TrialKind.PROBE for t in repository.trials(study.id))
    useful = study.settings["sampler"] == "botorch" and not supports(space)
    if study.settings.get("probe") and useful and not there:
        nothing = Configuration.of([], space.decisions[-1].at(0.5))
        repository.add_trial(study.id, TrialKind.PROBE, nothing, 0, int(study.settings["seed"]))


def _queue_baselines(repository: Repository, study: Study, space: BoundSpace) -> None:
    from autopeft.dsl import trainable_parameters
    from autopeft.optimize.baselines import baselines

    there = {(t.kind, t.configuration.key) for t in repository.trials(study.id)}
    new_head = study.settings["task"]["problem"] not in OWN_HEAD
    for kind, configuration in baselines(space, new_head=new_head):
        if (kind, configuration.key) not in there:
            cost = trainable_parameters(configuration, space.shape)
            repository.add_trial(study.id, kind, configuration, cost, int(study.settings["seed"]))


def _is_complete(
    repository: Repository, study: Study, space: BoundSpace, wanted: int, confirm_seeds: int
) -> bool:
    counts = repository.count(study.id, TrialKind.SEARCH)
    if sum(counts.values()) < wanted or repository.waiting(study.id):
        return False
    from autopeft.optimize.judged import expected_front  # BoTorch takes seconds to import

    trials = repository.trials(study.id)
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
        self._done += 1
        trials = driver.repository.trials(driver.study.id)
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
