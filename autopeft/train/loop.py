"""The training loop: plain functions on torch alone. The model is in evaluation mode: frozen parts have no dropout.

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
        patience: A trial ends after so many epochs without a better score; None: after all of them.
        gradient_checkpointing: Whether activations inside of layers are computed again for the gradients, not kept.
    """

    epochs: int = 3
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    max_grad_norm: float = 1.0
    patience: int | None = None
    gradient_checkpointing: bool = False


def rate_factor(step: int, steps: int, warmup_fraction: float) -> float:
    """The share of the peak learning rate at a step: up in a line, then down in a line to 0.

    >>> [round(rate_factor(s, 10, 0.2), 2) for s in range(10)]
    [0.5, 1.0, 1.0, 0.88, 0.75, 0.62, 0.5, 0.38, 0.25, 0.12]
    """
    warmup = max(1, round(steps * warmup_fraction))
    if step < warmup:
        return (step + 1) / warmup
    return (steps - step) / max(1, steps - warmup)


def autocast(model: nn.Module, device: torch.device) -> torch.autocast:
    """Products in bfloat16 where the device has them, or the frozen weights are so; parameters and sums stay as they are."""
    has = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    kept_so = (
        next(model.parameters()).dtype == torch.bfloat16
    )  # the first are the embeddings, which are frozen
    return torch.autocast(device.type, torch.bfloat16, enabled=has or kept_so)


def counted(labels: torch.Tensor) -> int:
    """How many targets there are: all values; of whole numbers all but -100, which means that there is none."""
    return labels.numel() if labels.is_floating_point() else int((labels != -100).sum())


def accumulate(
    model: nn.Module,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batch: dict[str, torch.Tensor],
    rows: int | None = None,
    owners: int = 1,
) -> torch.Tensor:
    """Add the gradients of a batch's mean loss to those that are there; the loss, without its graph, (owners,).

    Args:
        model: Takes a batch without its labels, answers with `.logits`.
        loss_of: (logits, labels) to a scalar, the mean over the targets.
        batch: Tensors of so many rows, `labels` among them.
        rows: Examples of an owner that go through the model at once; None: all. The gradients are the same, the memory is not.
        owners: Trials that the rows belong to, as many to each: the first to the first. Each has its own mean loss.
    """
    each = len(batch["labels"]) // owners
    size = min(rows or each, each)
    wholes = [max(counted(labels), 1) for labels in batch["labels"].chunk(owners)]
    total = torch.zeros(owners, device=batch["labels"].device)
    for start in range(0, each, size):
        end = min(start + size, each)
        part = {
            name: tensor.unflatten(0, (owners, each))[:, start:end].flatten(0, 1)
            for name, tensor in batch.items()
        }
        targets = part.pop("labels").chunk(owners)
        shares = [counted(y) / whole for y, whole in zip(targets, wholes, strict=True)]
        with autocast(model, total.device):
            logits = model(**part).logits.chunk(owners)
            pairs = zip(logits, targets, shares, strict=True)
            losses = torch.stack([loss_of(x, y) * share for x, y, share in pairs])
        if losses.requires_grad:  # else nothing is trained, and the backbone is looked at as it is
            losses.sum().backward()
        total += losses.detach()
    return total


def step(
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    max_grad_norm: float,
    after_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Take a step by the gradients that are there, and clear them.

    Args:
        optimizer: Over the trainable parameters.
        schedule: Of its learning rate.
        max_grad_norm: Gradients are clipped to this norm.
        after_step: Called with the number of the step, from 1 over all passes, while gradients are still there.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    optimizer.step()
    schedule.step()
    after_step(schedule.last_epoch)
    optimizer.zero_grad()


def train_epoch(
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[dict[str, torch.Tensor]],
    gradients: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    max_grad_norm: float,
    penalty: Callable[[], torch.Tensor | None] = lambda: None,
    after_step: Callable[[int], None] = lambda step: None,
) -> float:
    """One pass; the mean loss over its batches.

    Args:
        optimizer, schedule, max_grad_norm, after_step: As of `step`.
        batches: Dictionaries of tensors with `labels` among them.
        gradients: Adds a batch's gradients to the parameters' and says its loss: `accumulate`.
        penalty: What is added to the loss, if anything; not part of the mean.
    """
    losses = []
    for batch in batches:
        losses.append(gradients(batch).mean())
        further = penalty()
        if further is not None:
            further.backward()
        step(optimizer, schedule, max_grad_norm, after_step)
    return float(torch.stack(losses).mean())


def predict(model: nn.Module, batches: Iterable[dict[str, torch.Tensor]]) -> torch.Tensor:
    """Logits of all batches, (examples, width of the head), on the CPU."""
    model.eval()
    logits = []
    with torch.inference_mode():
        for batch in batches:
            inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
            with autocast(model, batch["labels"].device):
                logits.append(model(**inputs).logits.float().cpu())
    return torch.cat(logits)
