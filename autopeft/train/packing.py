"""Several trials at once on one frozen backbone: their batches go through it as one.

What they share is the forward and backward pass; modules, optimisers and losses are each one's own. A trial is scored, and
saved, alone: the others are lifted off the model meanwhile.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from autopeft.adapters.attach import Attached
from autopeft.adapters.pack import NotPackedError, Pack, Rows
from autopeft.errors import TrialError
from autopeft.train.loop import step
from autopeft.train.running import Report, Request, Running, gradients, out_of_memory

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench

Answer = Report | TrialError
"""What a trial says after an epoch: its report, or why it has failed."""


class Packed:
    """Trials that are trained together.

    >>> packed = Packed(bench, requests)                                    # doctest: +SKIP
    >>> while packed.running:                                               # doctest: +SKIP
    ...     for number, answer in packed.epoch().items(): ...
    """

    def __init__(self, bench: "Workbench", requests: Sequence[Request]) -> None:
        """Put all of them on.

        Args:
            bench: Backbone and data.
            requests: Trials that can share a model, by `autopeft.adapters.pack.can_share`; their numbers are their places in here.
        """
        self._bench = bench
        self._pack = Pack(bench.backbone.model)
        self._running: dict[int, Running] = {}
        self._failed: dict[int, TrialError] = {}
        self._one_by_one = False  # the model takes no pack
        for number, request in enumerate(requests):
            try:
                self._pack.add(self._put(number, request))
            except TrialError as error:
                self._failed[number] = error

    @property
    def running(self) -> list[int]:
        """The trials that have not come to their end; those that have failed count until they have said so."""
        return sorted([*self._running, *self._failed])

    def epoch(self) -> dict[int, Answer]:
        """Train those that run for an epoch, and score them; who has failed or is complete runs no more."""
        answers: dict[int, Answer] = dict(self._failed)
        self._failed.clear()
        began = time.monotonic()
        try:
            losses = self._train() if self._running else {}
        except torch.OutOfMemoryError as error:
            reason = out_of_memory(error, self._bench.device)
            answers |= dict.fromkeys(self._running, reason)
            self.close()
            return answers
        seconds = time.monotonic() - began
        for number, loss in losses.items():
            running = self._running[number]
            with self._pack.alone(running.attached):
                try:
                    answers[number] = running.report(loss, 0.0 if self._one_by_one else seconds / len(losses))
                except TrialError as error:
                    answers[number] = error
        for number, answer in answers.items():
            if isinstance(answer, TrialError) or answer.last:
                self.stop(number)
        return answers

    def stop(self, number: int) -> None:
        """Take a trial off; the others go on."""
        running = self._running.pop(number, None)
        if running is not None:
            self._pack.take_off(running.attached)

    def close(self) -> None:
        """Take all of them off."""
        for number in reversed(list(self._running)):
            self.stop(number)

    def _put(self, number: int, request: Request) -> Callable[[], Attached]:
        def put() -> Attached:
            self._running[number] = Running(self._bench, request)
            return self._running[number].attached

        return put

    def _train(self) -> dict[int, float]:
        """An epoch of all; the mean loss of each."""
        if not self._one_by_one:
            try:
                return self._train_together()
            except NotPackedError:  # at the first batch, before anything was learnt from it
                self._one_by_one = True
        losses = {}
        for number, running in self._running.items():
            running.packed = 1
            running.optimizer.zero_grad()
            with self._pack.alone(running.attached):
                losses[number] = running.train_epoch()
        return losses

    def _train_together(self) -> dict[int, float]:
        bench, several = self._bench, list(self._running.values())
        depth = min(running.depth for running in several)
        rows = self._pack.show([running.attached for running in several])
        runner = bench.without_frozen(_Dealt(self._pack.runner, rows), depth)
        training = several[0].training
        losses = []
        with bench.checkpointed(training, depth):
            orders = [running.order().split(training.batch_size) for running in several]
            for indices in zip(*orders, strict=True):
                (batch,) = bench.shortened("train", torch.cat(indices), len(indices) * len(indices[0]), depth)
                losses.append(gradients(bench, runner, several, batch))
                for running in several:
                    step(running.optimizer, running.schedule, training.max_grad_norm)
        for running in several:
            running.packed = len(several)
        means = torch.stack(losses).mean(dim=0).tolist()
        return dict(zip(self._running, means, strict=True))


class _Dealt(nn.Module):
    """A model with several trials' modules, which says how many rows a batch has before it goes through."""

    def __init__(self, runner: nn.Module, rows: Rows) -> None:
        super().__init__()
        self.runner = runner
        self._rows = rows

    def forward(self, **inputs: torch.Tensor) -> object:
        """As the model's own."""
        self._rows.rows = len(next(iter(inputs.values())))
        return self.runner(**inputs)
