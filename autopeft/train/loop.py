"""The training loop: plain functions on torch alone.

`autopeft export --to script` writes the source of these functions into the script, so that it trains as a trial does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Training:
    """How every trial of a study is trained. The learning rate is the configuration's.

    Attributes:
        epochs: Passes over the training split; each ends in a rung.
        batch_size: Examples a step.
        weight_decay: Of AdamW.
        warmup_fraction: Share of the steps in which the rate rises.
        max_grad_norm: Gradients are clipped to this norm.
    """

    epochs: int = 3
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    max_grad_norm: float = 1.0


def rate_factor(step: int, steps: int, warmup_fraction: float) -> float:
    """The share of the peak learning rate at a step: up in a line, then down in a line to 0.

    >>> [round(rate_factor(s, 10, 0.2), 2) for s in range(10)]
    [0.5, 1.0, 1.0, 0.88, 0.75, 0.62, 0.5, 0.38, 0.25, 0.12]
    """
    warmup = max(1, round(steps * warmup_fraction))
    if step < warmup:
        return (step + 1) / warmup
    return (steps - step) / max(1, steps - warmup)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[dict[str, torch.Tensor]],
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    max_grad_norm: float,
    penalty: Callable[[], torch.Tensor | None] = lambda: None,
    after_step: Callable[[int], None] = lambda step: None,
) -> float:
    """One pass; the mean loss over its batches. The model stays in evaluation mode: frozen parts have no dropout.

    Args:
        model: Takes a batch without its labels, answers with `.logits`.
        optimizer: Over the trainable parameters.
        schedule: Stepped after every batch.
        batches: Dictionaries of tensors with `labels` among them.
        loss_of: (logits, labels) to a scalar.
        max_grad_norm: Gradients are clipped to this norm.
        penalty: What is added to the loss, if anything; not part of the mean.
        after_step: Called with the number of the step, from 1 over all passes, while gradients are still there.
    """
    model.eval()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    losses = []
    for batch in batches:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        loss = loss_of(model(**inputs).logits, batch["labels"])
        losses.append(loss.detach())
        if loss.requires_grad:  # else nothing is trained, and the backbone is looked at as it is
            further = penalty()
            (loss if further is None else loss + further).backward()
        nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        optimizer.step()
        schedule.step()
        after_step(schedule.last_epoch)
        optimizer.zero_grad()
    return float(torch.stack(losses).mean())


def predict(model: nn.Module, batches: Iterable[dict[str, torch.Tensor]]) -> torch.Tensor:
    """Logits of all batches, (examples, width of the head), on the CPU."""
    model.eval()
    logits = []
    with torch.inference_mode():
        for batch in batches:
            inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
            logits.append(model(**inputs).logits.float().cpu())
    return torch.cat(logits)
