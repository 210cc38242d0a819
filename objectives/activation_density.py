"""Share of the feed-forward activations that are not 0, on up to 64 validation examples: what is 0 need not be computed.

What counts is what the `down` map of each layer reads, after the activation function (of a gated block after the gate),
at every token that is not padding. Where the activation function is a ReLU the zeros are exact. The others (GELU, SiLU) have
hardly any, so there an activation counts as 0 if its magnitude is at most 0.01.

Source: the density of DEFT (Runwal et al. 2025, arXiv 2402.01911), which its evaluation counts as exact non-zeros.
"""

from typing import TYPE_CHECKING, Any

from autopeft.registry import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from autopeft.backbones import Backbone
    from autopeft.train.trained import Trained

_EXAMPLES = 64
_THRESHOLD = 0.01
_FIELDS = (
    "hidden_act",
    "activation_function",
    "hidden_activation",
    "activation",
    "dense_act_fn",
    "mlp_hidden_act",
)


def objection(backbone: "Backbone", task: Any) -> str:
    """Why there is nothing to count; empty if there is something."""
    if any("down" in layer.sites for layer in backbone.layout.layers):
        return ""
    return "no layer of the backbone has a feed-forward block with the site `down`"


def measure(trained: "Trained") -> float:
    """A share, from 0 to 1."""
    import torch

    model = trained.bench.backbone.model
    config = model.config.get_text_config()
    name = next((str(getattr(config, field)) for field in _FIELDS if getattr(config, field, None)), "")
    threshold = 0.0 if "relu" in name.lower() else _THRESHOLD
    active = total = 0
    mask: Tensor | None = None

    def count(module: Any, inputs: "tuple[Tensor, ...]") -> None:
        nonlocal active, total
        x = inputs[0]
        if mask is not None and x.shape[:2] == mask.shape:
            x = x[mask.bool()]
        active += int((x.abs() > threshold).sum())
        total += x.numel()

    paths = [layer.sites["down"] for layer in trained.bench.backbone.layout.layers if "down" in layer.sites]
    hooks = [model.get_submodule(path).register_forward_pre_hook(count) for path in paths]
    try:
        with torch.inference_mode():
            for inputs in trained.bench.inputs("validation", _EXAMPLES):
                mask = inputs.get("attention_mask")
                trained.bench.run(trained.attached.runner, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return active / total


OBJECTIVE = Objective(
    name="activation_density",
    direction="minimize",
    unit="",
    title="Activation density",
    short="density",
    measure=measure,
    objection=objection,
)
