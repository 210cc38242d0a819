"""How a backbone's frozen weights are kept: of which type, quantised or not, on one device or several.

Quantised weights need bitsandbytes: `pip install autopeft[large]`.
"""

import importlib.util
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

import torch
import transformers
from torch import nn

from autopeft.errors import InputError

Weights: TypeAlias = Literal["float32", "bfloat16"]
Quantize: TypeAlias = Literal["8bit", "4bit"]

ON_QUANTISED = (
    "lora",
    "adalora",
    "ia3",
    "vera",
    "vblora",
    "randlora",
    "ln_tuning",
    "bottleneck",
    "prefix",
    "frozen",
)
"""Types of modules that add to what a linear map says, or scale it, whatever its weights are kept as."""


@dataclass(frozen=True)
class Storage:
    """How frozen weights are kept; what is trained is always float32.

    Attributes:
        weights: Their type, where they are not quantised.
        quantize: Linear maps in 8 bits (LLM.int8, Dettmers et al. 2022, 2208.07339) or 4 (NF4 with double quantisation: QLoRA,
            Dettmers et al. 2023, 2305.14314, section 3); None: not quantised.
        spread: Whether a model may be spread over all GPUs that a worker has, for one that does not fit one of them.
    """

    weights: Weights = "float32"
    quantize: Quantize | None = None
    spread: bool = False

    def to_json(self) -> dict[str, Any]:
        """What is not as it is by default."""
        return {name: value for name, value in vars(self).items() if value != getattr(Storage, name)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Storage":
        """Read what `to_json` wrote."""
        return cls(**data)

    @property
    def moves(self) -> bool:
        """Whether a loaded model can be moved to another device."""
        return self.quantize is None and not self.spread


PLAIN = Storage()
"""Float32, on one device."""


def check_storage(weights: str, quantize: str | None, spread: bool) -> Storage:
    """What a person asked for.

    Raises:
        InputError: It is not known, does not go together, or needs a package that is not there.
    """
    if weights not in get_args(Weights):
        raise InputError(f"weights of the type '{weights}' are not known: allowed are float32, bfloat16.")
    if quantize is not None and quantize not in get_args(Quantize):
        raise InputError(f"the quantisation '{quantize}' is not known: allowed are 8bit, 4bit.")
    if quantize is not None and importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"{quantize} weights need the package bitsandbytes: pip install 'autopeft[large]'.")
    return Storage(cast(Weights, weights), cast(Quantize | None, quantize), spread)


def check_types(storage: Storage, types: Iterable[str]) -> None:
    """Refuse modules that look at weights as numbers where these are codes.

    Raises:
        InputError: A type of module cannot be on quantised weights.
    """
    refused = sorted(set(types) - set(ON_QUANTISED))
    if storage.quantize is not None and refused:
        raise InputError(
            f"modules of type {refused[0]} work on the weights themselves, which {storage.quantize} keeps as codes: "
            f"allowed on them are {', '.join(ON_QUANTISED)}."
        )


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
