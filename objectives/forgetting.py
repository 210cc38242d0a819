"""How far the adapted backbone is from the one that was pre-trained, on up to 64 examples that it is not trained on.

It is |h' - h| / |h|, the mean over tokens, of the last hidden states with the adapter, h', and without, h: 0 where nothing is
forgotten, and about 1.4 where the two have nothing in common. The examples are those of `--forgetting-data`, texts or
images; without it the inputs of the validation examples. The backbone that a search loads has a new head and not the one
of its pre-training, so a drop of the pre-training score itself cannot be said for all of them; this can, and what the old
head reads is the hidden states. Tokens that a prompt puts before the input are left out.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autopeft.registry import Objective

if TYPE_CHECKING:
    from torch import Tensor, nn

    from autopeft.train import Workbench
    from autopeft.train.trained import Trained

_EXAMPLES = 64


def prepare(bench: "Workbench") -> "list[Tensor]":
    """The bare backbone's last hidden states, a tensor a batch."""
    return list(_states(bench, bench.backbone.model))


def measure(trained: "Trained") -> float:
    """Mean relative change, at least 0."""
    import torch

    changes = []
    adapted = _states(trained.bench, trained.attached.runner)
    for before, after in zip(trained.prepared, adapted, strict=True):
        changes.append((after - before).norm(dim=-1) / before.norm(dim=-1).clamp_min(1e-12))
    return float(torch.cat(changes).mean())


def _states(bench: "Workbench", runner: "nn.Module") -> "Iterator[Tensor]":
    """(tokens that are not padding, width) of each batch, or (examples, ..., width) where nothing is padded."""
    import torch

    from autopeft.errors import TrialError

    split = "untouched" if "untouched" in bench.data else "validation"
    for inputs in bench.inputs(split, _EXAMPLES):
        with torch.inference_mode():
            output = bench.run(runner, {**inputs, "output_hidden_states": True})
        layers = output.get("hidden_states") or output.get("decoder_hidden_states")
        if not layers:
            raise TrialError(
                "forgetting cannot be measured: the backbone does not hand out its hidden states."
            )
        last = layers[-1]
        mask = inputs.get("attention_mask")
        if mask is not None and last.ndim == 3:
            last = last[:, -mask.shape[1] :]
            last = last[mask.bool()] if last.shape[:2] == mask.shape else last.flatten(0, 1)
        yield last.reshape(-1, last.shape[-1]).float().cpu()


OBJECTIVE = Objective(
    name="forgetting",
    direction="minimize",
    title="Forgetting",
    prepare=prepare,
    measure=measure,
)
