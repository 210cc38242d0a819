"""One folder that holds a trained adapter, head included.

adapter_config.json, adapter_model.safetensors       peft's own files, where peft has all of it in one adapter:
                                                     `PeftModel.from_pretrained` reads them
peft-0-lora/, peft-1-oft/, ...                       the same, a folder each, where it is several of peft's adapters:
                                                     each can be read alone, all together by `load_adapter`
autopeft_config.json, autopeft_model.safetensors     ours: the configuration, our modules, the head
autopeft_packed.safetensors                          of a compressed adapter, in place of all other tensors: see `packed`
"""

import contextlib
import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

import autopeft
from autopeft.adapters.attach import Attached, put_on, quietly
from autopeft.adapters.own import own_name
from autopeft.adapters.packed import unpacked
from autopeft.adapters.peft_methods import Planned
from autopeft.adapters.stack import Adapter
from autopeft.backbones.layout import Layout, find_layout
from autopeft.dsl.own_types import OWN_TYPES
from autopeft.errors import BackboneError, InputError
from autopeft.nouns import Configuration

CONFIG, WEIGHTS = "autopeft_config.json", "autopeft_model.safetensors"
_PEFT_WEIGHTS = "adapter_model.safetensors"


def save_adapter(
    attached: Attached,
    configuration: Configuration,
    folder: Path,
    *,
    task_type: str | None,
    record: Mapping[str, Any],
) -> None:
    """Write a trained adapter.

    Args:
        attached: The modules on their model.
        configuration: What was put on.
        folder: Created if it is not there.
        task_type: What peft calls the problem, or None.
        record: What a reader should know of the run: backbone, labels, scores; JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = _names(attached.planned)
    for name, adapter in zip(names, attached.stack.adapters, strict=True):
        with attached.stack.alone(adapter), quietly():
            _save_peft(adapter, folder / name)
    tensors = {f"modules.{name}": t for name, t in attached.own.state_dict().items()}
    tensors |= {f"head.{name}": t for name, t in attached.head_state().items()}
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, folder / WEIGHTS)
    heads = sorted({name.rpartition(".")[0] for name in attached.head_state()})
    content = {
        "autopeft_version": autopeft.__version__,
        "configuration": configuration.to_json(),
        "head": heads,
        "peft": names,
        "task_type": task_type,
        **record,
    }
    (folder / CONFIG).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_adapter(model: PreTrainedModel, folder: str | Path) -> torch.nn.Module:
    """Put a saved adapter, head included, on a model, ready for inference.

    Args:
        model: The same backbone with a head of the same width, from
            `AutoModelForSequenceClassification.from_pretrained(..., num_labels=...)` or another such class; the folder's
            README.md names it.
        folder: What `autopeft export --to peft` wrote.

    Returns:
        The model to call, in evaluation mode: the same one, or peft's wrapper around it where the adapter puts tokens
        before the input.

    Raises:
        InputError: The folder holds no adapter of autopeft.
        BackboneError: The model's head has another width, or the backbone another shape.
    """
    return load_attached(model, folder)[0].runner.eval()


def load_attached(model: PreTrainedModel, folder: str | Path) -> tuple[Attached, Layout, Configuration]:
    """As `load_adapter`, with the modules in hand, to be merged or taken off; with where they are and what they are."""
    with unpacked(Path(folder)) as there:
        return _load(model, there, Path(folder))


def _load(model: PreTrainedModel, folder: Path, named: Path) -> tuple[Attached, Layout, Configuration]:
    """The adapter in a folder, which a person knows by another name."""
    if not (folder / CONFIG).is_file():
        raise InputError(f"'{named}' holds no adapter of autopeft: there is no {CONFIG}.")
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    configuration = Configuration.from_json(content["configuration"])
    tensors = load_file(folder / WEIGHTS)
    _check_head(model, tensors)
    layout = find_layout(model, sum(p.numel() for p in model.base_model.parameters()), content.get("sites"))
    names = content.get("peft", [""])
    for name in content.get("peft", []):
        _check_part(folder, name)

    def make(number: int, planned: Planned) -> PeftModel:
        saved = folder / names[number]
        _check_part(folder, names[number])
        wrapper = PeftModel.from_pretrained(model, str(saved))
        there = get_peft_model_state_dict(wrapper, save_embedding_layers=False)
        missing = sorted(set(load_file(saved / _PEFT_WEIGHTS)) ^ set(there))
        if missing:  # peft would leave it at a warning, or say nothing
            raise KeyError(f"it has no place for '{missing[0]}'")
        return wrapper

    model.requires_grad_(False)
    attached = None
    try:
        attached = put_on(
            model, layout, content["head"], configuration, make, task_type=_task_type(content), saved=True
        )
        own = _part(tensors, "modules.")
        attached.own.load_state_dict(own if "peft" in content else _with_names_of_today(own, configuration))
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
        if attached is not None:
            attached.detach()
        lines = str(error.args[0] if isinstance(error, KeyError) else error).strip().splitlines()
        raise BackboneError(  # torch's first line is a heading
            f"the adapter in '{named}' was trained on another backbone ({content.get('backbone')}): "
            f"{lines[min(1, len(lines) - 1)].strip().rstrip('.')}."
        ) from None
    attached.load_head(_part(tensors, "head."))
    return attached, layout, configuration


def _task_type(content: Mapping[str, Any]) -> str | None:
    """What peft calls the problem; the first version knew sequence classification and images alone."""
    found: str | None = (
        content["task_type"] if "task_type" in content else "SEQ_CLS" if content["text"] else None
    )
    return found


def _names(planned: list[Planned]) -> list[str]:
    if len(planned) == 1:
        return [""]
    return [f"peft-{number}-{one.type}" for number, one in enumerate(planned)]


def _save_peft(adapter: Adapter, folder: Path) -> None:
    if not adapter.residuals or adapter.wrapper.peft_config["default"].init_lora_weights == "loftq":
        # LoftQ's quantised weights differ from the backbone's by no matrix of low rank: peft makes them anew.
        adapter.wrapper.save_pretrained(str(folder))
        return
    with _from_the_start(adapter) as state:
        adapter.wrapper.save_pretrained(str(folder), state_dict=state)


@contextlib.contextmanager
def _from_the_start(adapter: Adapter) -> Iterator[dict[str, torch.Tensor]]:
    """Inside, peft's configuration is of a LoRA for the weights as they were; yields its tensors.

    The weight is W - s B0 A0 while it is trained, so what is learnt is s (B A - B0 A0): a LoRA of twice the rank. As
    peft does it with `path_initial_model_for_weight_conversion`, which cannot where ranks differ under rsLoRA.
    """
    configs = adapter.wrapper.peft_config
    trained = configs["default"]
    config = copy.deepcopy(trained)
    scale = 2**0.5 if config.use_rslora else 2  # alpha / sqrt(rank), or alpha / rank, stays
    config.init_lora_weights, config.corda_config = True, None
    config.r, config.lora_alpha = 2 * config.r, scale * config.lora_alpha
    config.rank_pattern = {path: 2 * rank for path, rank in config.rank_pattern.items()}
    config.alpha_pattern = {path: scale * alpha for path, alpha in config.alpha_pattern.items()}
    state = adapter.wrapper.state_dict()
    for name, start in adapter.start.items():
        if ".lora_A." in name:
            state[name] = torch.cat([state[name], start])
        else:
            state[name] = torch.cat([state[name], -start], dim=1)
    configs["default"] = config
    try:
        yield state
    finally:
        configs["default"] = trained


def _part(tensors: Mapping[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def _with_names_of_today(
    tensors: Mapping[str, torch.Tensor], configuration: Configuration
) -> dict[str, torch.Tensor]:
    # The first version had one bottleneck of a position, and one prefix, in a layer, and named them so.
    names: dict[str, str] = {}
    for module in configuration.modules:
        kind = dict(module.options).get("position", module.type)
        if module.type in OWN_TYPES:
            names |= {f"layer{i}_{kind}": own_name(module, i, module.sites[0]) for i in module.layers}
    split = {name: name.split(".", 1) for name in tensors}
    return {f"{names[first]}.{rest}": tensors[name] for name, (first, rest) in split.items()}


def _check_part(folder: Path, name: object) -> None:
    """Refuse an adapter of peft that is not one of the names that `_names` gives, or would have peft run code.

    Without its weights as safetensors peft would look for pickled ones, there and on the hub.
    """
    known = isinstance(name, str) and re.fullmatch(r"(peft-[0-9]+-[a-z0-9_-]+)?", name)
    if not known or not (folder / str(name) / _PEFT_WEIGHTS).is_file():
        raise InputError(f"the adapter in '{folder}' is not whole: '{name}' of it has no {_PEFT_WEIGHTS}.")
    config = json.loads((folder / str(name) / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("megatron_config"):
        raise InputError(
            f"the adapter in '{folder}' names a Python module for peft to import: it is not loaded."
        )


def _check_head(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> None:
    sizes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for name, tensor in _part(tensors, "head.").items():
        if sizes.get(name) != tuple(tensor.shape):
            raise BackboneError(
                f"the adapter's head '{name}' has the shape {tuple(tensor.shape)}, the model's {sizes.get(name)}: "
                "load the model with the num_labels that the adapter was trained for."
            )
