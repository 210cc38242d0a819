"""The warm worker: a Ray actor that loads backbone and data once and trains trial after trial."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import tune

from autopeft.errors import AutopeftError, TrialError
from autopeft.nouns import Configuration
from autopeft.registry import find_objective


class Worker(tune.Trainable):  # type: ignore[misc]  # Ray is not typed
    """Trains one trial at a time, a step a rung; `reuse_actors` hands it the next by `reset_config`.

    What goes wrong with a trial is an answer, not an exception: an exception would cost the warm actor.
    """

    def setup(self, config: dict[str, Any], plan: dict[str, Any]) -> None:
        """Load what all trials share.

        Args:
            config: The first trial, as `Driver.config` gives it.
            plan: `path`, `overrides`, `sites`, `task`, `training`, `space` (`name`, `text`, `limit`), `objectives` (how each
                is found, those beside score and trainable) and `untouched` (data for `forgetting`, or None) of the study;
                `threads` for this worker, and `cache`, a folder that workers of one machine share, or None.
        """
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        import torch

        from autopeft.tasks.task import TaskSettings
        from autopeft.train import Training, Workbench

        torch.set_num_threads(plan["threads"])
        self._failure = ""
        self._space = plan["space"]
        self._cache = Path(plan["cache"]) if plan["cache"] else None
        try:
            self._bench = Workbench.prepare(
                plan["path"],
                plan["overrides"],
                TaskSettings.from_json(plan["task"]),
                Training(**plan["training"]),
                plan["sites"],
                untouched=plan["untouched"],
                cache=self._cache,
            )
            self._objectives = [find_objective(reference) for reference in plan["objectives"]]
        except AutopeftError as error:
            self._failure = str(error)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self._end()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One rung of the trial."""
        if self._failure:
            return self._answer(reason=self._failure)
        try:
            report = next(self._reports)
        except TrialError as error:
            return self._answer(reason=str(error))
        except Exception as error:  # a bug or a broken model must not take the warm worker with it
            return self._answer(reason=f"{type(error).__name__}: {error}")
        return self._answer(
            rung=report.rung, values=dict(report.values), last=report.last, details=dict(report.details)
        )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep: a trial that was interrupted starts anew, from the same seed."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept."""

    def cleanup(self) -> None:
        """Take the modules off, and the cache away: who still needs it makes it anew."""
        self._end()
        if self._cache is not None:
            shutil.rmtree(self._cache, ignore_errors=True)

    def _begin(self, config: dict[str, Any]) -> None:
        self._trial: int = config["trial"]
        self._reports: Iterator[Any] = iter(())
        if not self._failure and config["probe"]:
            self._reports = self._probe(config["seed"])
        elif not self._failure:
            configuration = Configuration.from_json(config["configuration"])
            self._reports = self._bench.trial(
                configuration,
                config["seed"],
                Path(config["folder"]),
                confirm=config["confirm"],
                objectives=self._objectives,
            )

    def _probe(self, seed: int) -> Iterator[Any]:
        from autopeft.dsl import read_space
        from autopeft.train import probe

        space = read_space(self._space["text"], self._space["name"])
        yield from probe(
            self._bench, space.bind(self._bench.backbone.layout.shape, self._space["limit"]), seed
        )

    def _end(self) -> None:
        close = getattr(self._reports, "close", None)
        if close is not None:
            close()  # runs the trial's `finally`

    def _answer(self, **found: Any) -> dict[str, Any]:
        empty = {"rung": 0, "values": {}, "last": False, "details": {}, "reason": ""}
        answer = {**empty, **found, "study_trial": self._trial}
        # In a list, because Tune shows a scheduler results with their dictionaries flattened, and empty ones lost.
        return {"answer": [answer], "done": bool(answer["last"] or answer["reason"])}
