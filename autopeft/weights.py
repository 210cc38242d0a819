"""How a backbone's frozen weights are kept: of which type, quantised or not, on one device or several.

Quantised weights need bitsandbytes: `pip install autopeft[large]`. Standard library only, so that what cannot be is refused at once.
"""

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

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
