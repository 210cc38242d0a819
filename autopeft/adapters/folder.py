"""One folder that holds a trained adapter, head included.

adapter_config.json, adapter_model.safetensors       peft's own files, where the configuration has a LoRA:
                                                     `PeftModel.from_pretrained` reads them
autopeft_config.json, autopeft_model.safetensors     ours: the configuration, our modules, the head
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

import autopeft
from autopeft.adapters.attach import Attached, _trained_copy, attach
from autopeft.backbones.layout import find_layout
from autopeft.errors import BackboneError, InputError
from autopeft.nouns import Configuration

CONFIG, WEIGHTS = "autopeft_config.json", "autopeft_model.safetensors"


def save_adapter(
    attached: Attached, configuration: Configuration, folder: Path, *, text: bool, record: Mapping[str, Any]
) -> None:
    """Write a trained adapter.

    Args:
        attached: The modules on their model.
        configuration: What was put on.
        folder: Created if it is not there.
        text: Whether the task is sequence classification.
        record: What a reader should know of the run: backbone, labels, scores; JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if attached.peft is not None:
        attached.peft.save_pretrained(str(folder))
    tensors = {f"modules.{name}": t for name, t in attached.own.state_dict().items()}
    tensors |= {f"head.{name}": t for name, t in attached.head_state().items()}
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, folder / WEIGHTS)
    heads = sorted({name.rpartition(".")[0] for name in attached.head_state()})
    content = {
        "autopeft_version": autopeft.__version__,
        "configuration": configuration.to_json(),
        "head": heads,
        "text": text,
        **record,
    }
    (folder / CONFIG).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_adapter(model: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """Put a saved adapter, head included, on a model, ready for inference.

    Args:
        model: The same backbone with a head of the same width, from
            `AutoModelForSequenceClassification.from_pretrained(..., num_labels=...)` or its image twin.
        folder: What `autopeft export --to peft` wrote.

    Returns:
        The same model, in evaluation mode.

    Raises:
        InputError: The folder holds no adapter of autopeft.
        BackboneError: The model's head has another width, or the backbone another shape.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise InputError(f"'{folder}' holds no adapter of autopeft: there is no {CONFIG}.")
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    configuration = Configuration.from_json(content["configuration"])
    tensors = load_file(folder / WEIGHTS)
    _check_head(model, tensors)
    layout = find_layout(model, sum(p.numel() for p in model.base_model.parameters()))
    model.requires_grad_(False)
    attached = None
    try:
        attached = attach(model, layout, content["head"], configuration, text=content["text"])
        attached.own.load_state_dict(_part(tensors, "modules."))
        if attached.peft is not None:
            set_peft_model_state_dict(attached.peft, load_file(folder / "adapter_model.safetensors"))
    except (RuntimeError, KeyError, IndexError) as error:
        if attached is not None:
            attached.detach()
        lines = str(error).strip().splitlines()  # torch's first line is a heading
        raise BackboneError(
            f"the adapter in '{folder}' was trained on another backbone ({content.get('backbone')}): "
            f"{lines[min(1, len(lines) - 1)].strip().rstrip('.')}."
        ) from None
    for path in content["head"]:
        _trained_copy(model.get_submodule(path)).load_state_dict(_part(tensors, f"head.{path}."))
    return model.eval()


def _part(tensors: Mapping[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def _check_head(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> None:
    sizes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for name, tensor in _part(tensors, "head.").items():
        if sizes.get(name) != tuple(tensor.shape):
            raise BackboneError(
                f"the adapter's head '{name}' has the shape {tuple(tensor.shape)}, the model's {sizes.get(name)}: "
                "load the model with the num_labels that the adapter was trained for."
            )
