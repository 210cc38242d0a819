"""A short training that is thrown away: what allocators look at while modules learn."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from autopeft.errors import TrialError
from autopeft.tasks.batches import epoch_order
from autopeft.train.loop import rate_factor, step
from autopeft.train.running import Running, gradients

if TYPE_CHECKING:
    from autopeft.train.workbench import Workbench


def steps_of(running: Running, epochs: float, examples: int) -> int:
    """Steps of so many passes over so many examples; never fewer than two."""
    return max(2, round(epochs * examples / running.training.batch_size))


def short_training(
    bench: "Workbench",
    running: Running,
    examples: torch.Tensor,
    steps: int,
    *,
    looked: Callable[[int], None] = lambda number: None,
    after: Callable[[int], None] = lambda number: None,
) -> None:
    """Take steps by the loss and the optimiser of a trial, as the trial itself begins.

    Args:
        bench: Backbone and data.
        running: The trial, with its modules on.
        examples: Of the training split, (examples,).
        steps: How many. Where they are more than the trial's own, the learning rate falls as much more slowly.
        looked: Called with the number of a step, from 0, when its gradients are there and nothing has moved yet.
        after: Likewise, when all have moved.

    Raises:
        TrialError: The loss is not finite.
    """
    training = running.training
    factor = functools.partial(
        rate_factor, steps=max(steps, running.steps), warmup_fraction=training.warmup_fraction
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(running.optimizer, factor)
    runner = running.attached.runner.eval()
    batches = forever(bench, examples, training.batch_size)
    for number in range(steps):
        loss = gradients(bench, runner, [running], next(batches))
        if not loss.isfinite().all():
            raise TrialError(f"the loss is {float(loss.sum()):g} while an allocator looks at the modules.")
        looked(number)
        step(running.optimizer, schedule, training.max_grad_norm)
        after(number)


def forever(bench: "Workbench", examples: torch.Tensor, size: int) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of some training examples, in a new order every pass."""
    for epoch in itertools.count():
        order = examples[epoch_order(len(examples), 0, epoch)]
        yield from bench.batches("train", order, size)
