"""What a model with LoRA on it is made of: told in the same words by every environment. No import of ours."""

from typing import Any


def described(model: Any) -> dict[str, Any]:
    """By path: rank, scaling, and every trainable tensor with its shape."""
    found = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            tensors = {n: list(p.shape) for n, p in module.named_parameters() if p.requires_grad}
            found[name.removeprefix("base_model.model.")] = [
                module.r["default"],
                round(float(module.scaling["default"]), 9),
                dict(sorted(tensors.items())),
            ]
    return found


def trainable(model: Any) -> int:
    """Trainable parameters, wherever they are."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
