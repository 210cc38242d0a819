"""Loading a backbone's frozen weights as they are to be kept; see `autopeft.weights`."""

import math
import warnings
from collections.abc import Iterable
from typing import Any

import torch
import transformers
from torch import nn

from autopeft.weights import Storage


def arguments(storage: Storage, auto: Any, config: Any) -> dict[str, Any]:
    """Arguments of `from_pretrained`.

    Args:
        storage: How to keep the weights.
        auto: The class of transformers that loads the model.
        config: The model's configuration.
    """
    found: dict[str, Any] = {"dtype": getattr(torch, storage.weights)}
    if storage.quantize is not None:
        # bitsandbytes says of every product that it casts what goes in.
        warnings.filterwarnings("ignore", "MatMul8bitLt", UserWarning)
        found["quantization_config"] = transformers.BitsAndBytesConfig(**quantization(storage, auto, config))
        found["device_map"] = {"": 0 if torch.cuda.is_available() else "cpu"}
    if storage.spread:
        found["device_map"] = "auto"
    return found


def quantization(storage: Storage, auto: Any, config: Any) -> dict[str, Any]:
    """Arguments of `BitsAndBytesConfig`, plain; see `arguments`."""
    return {
        "load_in_8bit": storage.quantize == "8bit",
        "load_in_4bit": storage.quantize == "4bit",
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16" if torch.cuda.is_available() else "float32",
        "llm_int8_skip_modules": _new(auto, config),
    }


def _new(auto: Any, config: Any) -> list[str]:
    """Modules that are trained, or may be, and so are not quantised: all outside of the body, and poolers."""
    with torch.device("meta"):
        model = auto.from_config(config, trust_remote_code=False)
    outside = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    poolers = [name for name, _ in model.named_modules() if name.rpartition(".")[2].endswith("pooler")]
    return [*outside, *poolers, "lm_head"]


def count(parameters: Iterable[nn.Parameter]) -> int:
    """How many parameters there are; of those in 4 bits, which are packed two to a byte, how many there were."""
    return sum(math.prod(_shape(parameter)) for parameter in parameters)


def _shape(parameter: nn.Parameter) -> tuple[int, ...]:
    state = getattr(parameter, "quant_state", None)
    return tuple(parameter.shape if state is None else state.shape)
