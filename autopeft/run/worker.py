"""The warm worker: a Ray actor that loads backbone and data once and trains trial after trial."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from autopeft.errors import AutopeftError, TrialError
from autopeft.nouns import Configuration
from autopeft.registry import find_objective
from autopeft.store import files
from autopeft.weights import Storage

if TYPE_CHECKING:
    from autopeft.train.packing import Packed
    from autopeft.train.running import Report, Request


class Worker(tune.Trainable):  # type: ignore[misc]  # Ray is not typed
    """Trains one trial at a time, or one pack of trials, a step a rung; `reuse_actors` hands it the next by `reset_config`.

    What goes wrong with a trial is an answer, not an exception: an exception would cost the warm actor.
    """

    def setup(self, config: dict[str, Any], plan: dict[str, Any]) -> None:
        """Load what all trials share.

        Args:
            config: `trials`: the first trial, or those of the first pack, each as `Driver.config` gives it.
            plan: `path`, `overrides`, `storage`, `sites`, `task`, `training`, `space` (`name`, `text`, `limit`), `objectives` (how each
                is found, those beside score and trainable) and `untouched` (data for `forgetting`, or None) of the study;
                `threads` for this worker; `cache`, a folder that workers of one machine share, or None; and `verdicts`, the
                actor of `Verdicts`, or None where no pack can be stopped.
        """
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        import torch

        from autopeft.tasks.task import TaskSettings
        from autopeft.train import Training, Workbench

        torch.set_num_threads(plan["threads"])
        self._failure = ""
        self._space = plan["space"]
        self._cache = Path(plan["cache"]) if plan["cache"] else None
        self._verdicts = plan["verdicts"]
        try:
            if self._cache is not None:  # what it keeps says what the data are: no business of other users
                with contextlib.suppress(OSError):
                    self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._bench = Workbench.prepare(
                plan["path"],
                plan["overrides"],
                TaskSettings.from_json(plan["task"]),
                Training(**plan["training"]),
                plan["sites"],
                untouched=plan["untouched"],
                cache=self._cache,
                storage=Storage.from_json(plan["storage"]),
            )
            self._objectives = [find_objective(reference) for reference in plan["objectives"]]
        except AutopeftError as error:
            self._failure = str(error)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial, or pack."""
        self._end()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One rung of the trial, or of all trials of a pack."""
        if self._failure:
            failed = _answer(reason=self._failure, broken=True)
            return self._result(dict.fromkeys(range(len(self._trials)), failed))
        try:
            if self._pack is not None:
                return self._result(self._step_together(self._pack))
            return self._result({0: _of_report(next(self._reports))})
        except TrialError as error:
            reason = str(error)
        except Exception as error:  # a bug or a broken model must not take the warm worker with it
            reason = reason_of(error)
        left = [0] if self._pack is None else self._pack.running
        self._end()
        return self._result({number: _answer(reason=reason) for number in left})

    def _step_together(self, pack: "Packed") -> dict[int, dict[str, Any]]:
        stopped = ray.get(self._verdicts.stopped.remote()) if self._verdicts is not None else ()
        for number in pack.running:
            if self._trials[number] in stopped:
                pack.stop(number)
        answers = pack.epoch()
        return {
            number: _answer(reason=str(one)) if isinstance(one, TrialError) else _of_report(one)
            for number, one in answers.items()
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing for Tune: trials keep checkpoints of their own, which outlive its state."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept by Tune."""

    def cleanup(self) -> None:
        """Take the modules off, and the cache away: who still needs it makes it anew."""
        self._end()
        if self._cache is not None:
            shutil.rmtree(self._cache, ignore_errors=True)

    def _begin(self, config: dict[str, Any]) -> None:
        self._trials: list[int] = [trial["trial"] for trial in config["trials"]]
        self._reports: Iterator[Any] = iter(())
        self._pack: Packed | None = None
        if self._failure:
            return
        first, *others = config["trials"]
        if first["probe"]:
            self._reports = self._probe(first["seed"])
        elif not others:
            one = self._request(first)
            self._reports = self._bench.trial(
                one.configuration,
                one.seed,
                one.folder,
                confirm=one.confirm,
                objectives=one.objectives,
                checkpoint=one.checkpoint,
            )
        else:
            from autopeft.train import packing

            self._pack = packing.Packed(self._bench, [self._request(trial) for trial in config["trials"]])

    def _request(self, trial: dict[str, Any]) -> "Request":
        from autopeft.train import checkpoint
        from autopeft.train.running import Request

        return Request(
            Configuration.from_json(trial["configuration"]),
            trial["seed"],
            trial["folder"],
            confirm=trial["confirm"],
            objectives=tuple(self._objectives),
            checkpoint=files.join(trial["folder"], checkpoint.NAME),  # which a pack does not use
        )

    def _probe(self, seed: int) -> Iterator[Any]:
        from autopeft.dsl import read_space
        from autopeft.train import probe

        space = read_space(self._space["text"], self._space["name"])
        yield from probe(
            self._bench, space.bind(self._bench.backbone.layout.shape, self._space["limit"]), seed
        )

    def _end(self) -> None:
        if self._pack is not None:
            self._pack.close()
        close = getattr(self._reports, "close", None)
        if close is not None:
            close()  # runs the trial's `finally`

    def _result(self, answers: dict[int, dict[str, Any]]) -> dict[str, Any]:
        """What Tune is told: the answers of the trials that ran, and whether none is left."""
        # In a list, because Tune shows a scheduler results with their dictionaries flattened, and empty ones lost.
        listed = [{**answer, "study_trial": self._trials[number]} for number, answer in answers.items()]
        ended = all(answer["last"] or answer["reason"] for answer in listed)
        return {"answer": listed, "done": ended and not (self._pack and self._pack.running)}


class Verdicts:
    """Which trials of packs are to be stopped: told by the driver, asked by workers; an actor of its own."""

    def __init__(self) -> None:
        self._stopped: set[int] = set()

    def stop(self, trial: int) -> None:
        """This one is not to go on."""
        self._stopped.add(trial)

    def stopped(self) -> set[int]:
        """All that are not to go on."""
        return self._stopped


def reason_of(error: Exception) -> str:
    """Why a trial has failed, where no one expected it.

    >>> reason_of(RuntimeError("[enforce fail at alloc_cpu.cpp:125] . DefaultCPUAllocator: can't allocate memory: no"))
    "out of memory on cpu: can't allocate memory: no"
    """
    _, allocator, said = str(error).partition("DefaultCPUAllocator: ")
    if allocator or isinstance(error, MemoryError):
        return f"out of memory on cpu: {said.strip() or 'Python could not allocate any more'}"
    return f"{type(error).__name__}: {error}"


def _answer(**found: Any) -> dict[str, Any]:
    """What the driver is told. `broken`: the reason is the study's, not the trial's."""
    return {"rung": 0, "values": {}, "last": False, "details": {}, "reason": "", "broken": False, **found}


def _of_report(report: "Report") -> dict[str, Any]:
    return _answer(
        rung=report.rung, values=dict(report.values), last=report.last, details=dict(report.details)
    )
