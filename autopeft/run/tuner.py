"""Ray Tune around a `Driver`: a searcher and a scheduler that ask it, a callback that tells it."""

import contextlib
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune import Callback, FailureConfig, ResultGrid, RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from autopeft.errors import InputError
from autopeft.naming import folder_name
from autopeft.run.driver import Driver
from autopeft.run.private import keep_token_private, session_folder
from autopeft.run.worker import Verdicts, Worker

# Tune pickles searcher, scheduler and callback when a Tuner is made; a driver holds a database and threads. So they
# carry a name only, and find their driver here.
_drivers: dict[str, Driver] = {}
_verdicts: dict[str, Any] = {}  # the actors of `Verdicts`, of searches that pack


@dataclass(frozen=True)
class Cluster:
    """The Ray cluster of a search.

    Attributes:
        workers: Trials that train at the same time.
        threads: Threads of each on a CPU.
        gpus_per_trial: Share of a GPU that each takes; 0 without GPUs.
        local: Whether this process started the cluster.
    """

    workers: int
    threads: int
    gpus_per_trial: float
    local: bool


def start_ray(workers: int | None, gpus_per_trial: float | None, address: str | None) -> Cluster:
    """Join a Ray cluster, or start one on this machine; takes 5 to 15 seconds.

    Args:
        workers: Trials at the same time; None: as many as fit, one a core without GPUs.
        gpus_per_trial: Share of a GPU for each; None: a whole one where there are GPUs.
        address: Of a running cluster; None to start one here.

    Raises:
        InputError: There is no cluster at the address, or it has no GPU where one is asked for.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # silences a warning of Ray's on CPU machines
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Threads of OpenMP wait for each other by spinning. Where something else runs on one of their cores that is wasted: two
    # threads took 25 times as long as one; with this bound 2.5 times, and no longer than without it on a quiet machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address is None:
            # A trial takes one of Ray's, so that there are never more at a time than workers; threads share the real ones.
            # "local": without it Ray joins whatever cluster RAY_ADDRESS or a file in its public folder names.
            keep_token_private()
            ray.init(
                "local",
                num_cpus=workers or cores,
                include_dashboard=False,
                _temp_dir=session_folder(),
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster at '{address}'" if address else "Ray did not start on this machine"
        raise InputError(f"{where}: {str(error).strip().splitlines()[0]}") from None
    resources = ray.cluster_resources()
    gpus = float(resources.get("GPU", 0.0))
    share = (1.0 if gpus else 0.0) if gpus_per_trial is None else gpus_per_trial
    if share > gpus:
        raise InputError(f"{share:g} of a GPU is asked for each trial; this Ray cluster has {gpus:g}.")
    cpus = int(resources.get("CPU", 1))
    fit = int(gpus / share + 1e-9) if share else cpus
    count = workers or max(1, min(fit, cpus))
    real = cores if address is None else cpus
    return Cluster(count, threads_each(real, count), share, address is None)


def threads_each(cores: int, workers: int) -> int:
    """Threads of each worker; a worker by itself leaves a core to the suggestions that are fitted beside it.

    >>> threads_each(8, 1), threads_each(8, 3), threads_each(1, 1)
    (7, 2, 1)
    """
    return max(1, cores // workers - (workers == 1))


def run_trials(driver: Driver, cluster: Cluster, plan: dict[str, Any]) -> None:
    """Run the driver's trials to their end, or until Ctrl-C.

    Args:
        driver: Says what is next, and is told what became of it.
        cluster: From `start_ray`.
        plan: What all trials share; see `Worker.setup`. A folder for its `cache` is chosen here where it names none.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # with it, `verbose=0` is silent
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    # A lost worker is told in a line, not by a traceback.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    name = f"{folder_name(driver.study.name)}-{driver.owner}"
    scratch = tempfile.mkdtemp(prefix="autopeft-ray-")  # Tune's snapshots: a cache, not kept
    cache = Path(tempfile.gettempdir()) / f"autopeft-cache-{name}"  # on every machine its own
    _drivers[name] = driver
    if driver.pack != 1 and driver.rungs:
        _verdicts[name] = ray.remote(num_cpus=0)(Verdicts).remote()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the surrogate's small matrices beside busy workers: more threads are slower
    try:
        whole_plan = {
            "cache": str(cache),
            **plan,
            "threads": cluster.threads,
            "verdicts": _verdicts.get(name),
        }
        trainable = tune.with_resources(
            tune.with_parameters(Worker, plan=whole_plan),
            {"cpu": 1, "gpu": cluster.gpus_per_trial},
        )
        tuner = Tuner(
            trainable,
            tune_config=TuneConfig(
                search_alg=StudySearcher(name),
                scheduler=StudyScheduler(name),
                num_samples=-1,
                reuse_actors=True,
                max_concurrent_trials=driver.at_once,  # without it Tune lets one trial be pending at a time
            ),
            run_config=RunConfig(
                name="search",
                storage_path=scratch,
                callbacks=[StudyCallback(name)],
                failure_config=FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        _results: ResultGrid = tuner.fit()
    finally:
        del _drivers[name]
        _verdicts.pop(name, None)
        torch.set_num_threads(threads)
        for folder in (scratch, cache):
            shutil.rmtree(folder, ignore_errors=True)


class StudySearcher(Searcher):  # type: ignore[misc]  # Ray is not typed
    """Asks the driver. It owns concurrency: `suggest` answers None while enough trials are live."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """The driver bounds the live trials; no limiter is put around this searcher."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trials of one pack, already in the database; None: later; FINISHED: no more."""
        driver = _drivers[self._name]
        trials = driver.next_pack()
        if trials is None:
            return None
        if isinstance(trials, list):
            return {"trials": [driver.config(trial) for trial in trials]}
        return str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Results go by `StudyCallback`, which also sees trials that were restarted."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a new Tuner on the same study continues."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was saved."""


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray is not typed
    """Tells the driver of a rung, and stops the trial if it says so. Nothing waits: there are no brackets to fill."""

    _supports_buffered_results = False  # a trial must not train on before it is judged

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._controller: Any = None

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tune's own controller is at hand for the first time."""
        if tune_controller is not self._controller:
            self._controller = tune_controller
            survive_want_of_memory(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A rung that is not the last of all: go on, or stop. Tune keeps the warm actor of what is stopped.

        Of a pack, single trials are stopped by word to their worker; the rest goes on.
        """
        driver, goes_on = _drivers[self._name], False
        for answer in result["answer"]:
            if driver.reported(answer["study_trial"], answer):
                goes_on = True
            elif self._name in _verdicts and not (answer["last"] or answer["reason"]):
                ray.get(_verdicts[self._name].stop.remote(answer["study_trial"]))  # before the worker asks
        return str(FIFOScheduler.CONTINUE if goes_on else FIFOScheduler.STOP)


class StudyCallback(Callback):  # type: ignore[misc]  # Ray is not typed
    """Tells the driver."""

    def __init__(self, name: str) -> None:
        self._name = name

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End what takes too long: the worker cannot be asked, so its process is ended and another one takes its place."""
        driver = _drivers[self._name]
        overdue = driver.overdue()
        if not overdue:
            return
        for trial in trials:
            of = [one["trial"] for one in trial.config["trials"]]
            actor = trial.temporary_state.ray_actor
            if actor is not None and overdue.intersection(of):
                for one in of:
                    driver.ran_out_of_time(one)
                ray.kill(actor)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has the trial."""
        for one in trial.config["trials"]:
            _drivers[self._name].started(one["trial"], len(trial.config["trials"]))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """The end, or a failure with its reason: those do not reach the scheduler."""
        for answer in result["answer"]:
            if answer["last"] or answer["reason"]:
                _drivers[self._name].reported(answer["study_trial"], answer)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker itself was lost."""
        said = ""
        with contextlib.suppress(OSError, TypeError):  # Tune keeps it in a file, where it has a folder
            said = Path(trial.error_file).read_text(encoding="utf-8")
        reason = reason_of_loss(said)
        for one in trial.config["trials"]:
            _drivers[self._name].lost(one["trial"], reason)


def survive_want_of_memory(controller: Any) -> None:
    """Have Tune take it for the loss of one worker when Ray ends one because its machine has no memory left.

    Ray raises OutOfMemoryError for that, which Tune (2.60) does not know as an error of an actor: the whole search would end.
    """
    manager = controller._actor_manager
    failed = manager._actor_task_failed

    def tell(**told: Any) -> None:
        if isinstance(told["exception"], OutOfMemoryError):
            told["exception"] = RayActorError(error_msg=str(told["exception"]))
        failed(**told)

    manager._actor_task_failed = tell


def reason_of_loss(said: str) -> str:
    """Why a worker was lost, out of what Ray says.

    >>> reason_of_loss("The actor died.\\n Worker exit detail: Worker unexpectedly exits. Some common causes include: ...")
    'the worker was lost: Worker unexpectedly exits.'
    >>> reason_of_loss("1 worker(s) were killed due to the node running low on memory. Memory on the node was 10GB / 11GB")
    'the worker was lost: its machine ran low on memory, and Ray ended it.'
    """
    if "running low on memory" in said:
        return "the worker was lost: its machine ran low on memory, and Ray ended it."
    _, _, detail = said.rpartition("Worker exit detail: ")
    lines = detail.partition(" Some common causes")[0].strip().splitlines()
    return f"the worker was lost: {lines[-1].strip()}" if lines else "the worker was lost."
