"""Every allocator that a space may name: what deals the modules' parameters out by the data.

A configuration with an allocator says what there is to deal out: its modules are the places, the kinds and, by what they cost
together, the budget. The allocator's plan is another arrangement of modules, which costs no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autopeft.dsl.module_type import Field
from autopeft.nouns import Configuration

UNIFORM = "uniform"
"""The allocator that leaves all as it is: a configuration that has it says nothing of it."""


@dataclass(frozen=True)
class AllocatorType:
    """One allocator.

    Attributes:
        name: As a space names it.
        about: What it does, in a few words.
        source: Paper.
        types: Types of module that it deals out; it leaves others alone.
        fields: Its fields, by name.
    """

    name: str
    about: str
    source: str = ""
    types: tuple[str, ...] = ()
    fields: Mapping[str, Field] = field(default_factory=dict)


_EXAMPLES = Field(
    "integer", 512, low=1, high=1e6, expressions=False, about="training examples that are looked at"
)


def _share(default: float, about: str, low: float = 0.0) -> Field:
    return Field("float", default, low=low, high=1.0, expressions=False, about=about)


_ALL = (
    AllocatorType(UNIFORM, "modules stay as the space has them"),
    AllocatorType(
        "random",
        "as many parameters at places drawn by chance: the control of all others",
        types=("lora",),
    ),
    AllocatorType(
        "spt",
        "weights that the loss is most sensitive to: modules where a matrix or block has many of them, single entries and "
        "whole biases elsewhere",
        "He et al. 2023 (2303.08566)",
        types=("lora", "bottleneck"),
        fields={
            "threshold": Field(
                "float",
                10.0,
                low=1e-3,
                high=1e6,
                expressions=False,
                about="a matrix gets its LoRA, a block its bottleneck, where its sensitive entries, times this, are as many as "
                "the module's parameters",
            ),
            "times": Field(
                "float",
                4.0,
                low=1.0,
                high=64.0,
                expressions=False,
                about="rank or width of its modules, in those of the space's",
            ),
            "vectors": Field(
                "float",
                5.0,
                low=0.0,
                high=1e6,
                expressions=False,
                about="a bias is trained where its sensitive numbers, times this, are as many as it has; 0: never",
            ),
            "examples": _EXAMPLES,
        },
    ),
    AllocatorType(
        "knapsack",
        "the ranks whose gradients promise most, of all that fit: solved exactly",
        "Bercovich et al. 2025 (2411.19146, section 3), on gradients of the frozen weights",
        types=("lora",),
        fields={"examples": _EXAMPLES},
    ),
    AllocatorType(
        "eva",
        "ranks by how much of its inputs' variance each direction of a linear map explains",
        "Paischer et al. 2024 (2410.07170)",
        types=("lora",),
        fields={
            "rho": Field(
                "float",
                2.0,
                low=1.0,
                high=16.0,
                expressions=False,
                about="a map has at most this many times its rank",
            )
        },
    ),
    AllocatorType(
        "adalora",
        "a share of the ranks is taken away while training, the least important first",
        "Zhang et al. 2023 (2303.10512)",
        types=("lora",),
        fields={"keep": _share(0.67, "share of the ranks that are there in the end", 0.01)},
    ),
    AllocatorType(
        "ist",
        "every step trains the modules of some layers, the important ones more often",
        "Yao et al. 2024 (2410.11772)",
        types=("lora", "bottleneck"),
        fields={
            "active": _share(0.25, "share of the layers that a step trains", 0.01),
            "damped": _share(0.5, "share of the layers that a look at importance damps", 0.01),
            "damping": _share(0.25, "what a damped module's output is multiplied with"),
            "every": Field(
                "integer", 10, low=1, high=1e6, expressions=False, about="steps between two looks"
            ),
        },
    ),
    AllocatorType(
        "rst",
        "every step trains the modules of some layers, drawn by chance: the control of ist",
        "Yao et al. 2024 (2410.11772)",
        types=("lora", "bottleneck"),
        fields={"active": _share(0.25, "share of the layers that a step trains", 0.01)},
    ),
    AllocatorType(
        "diffora",
        "a gate at every module is trained beside it on other examples; the modules of the widest are trained anew",
        "Jiang et al. 2025 (2502.08905), as far as it can be known",
        types=("lora",),
        fields={
            "keep": _share(0.5, "share of the places that keep their module", 0.01),
            "epochs": Field(
                "float", 1.0, low=0.05, high=1e3, expressions=False, about="passes over the data with gates"
            ),
            "held": _share(0.3, "share of the training examples that the gates are trained on", 0.05),
            "share": Field(
                "boolean",
                False,
                about="places that lose their module have one of rank 1, the same for all layers of a site",
            ),
        },
    ),
    AllocatorType(
        "light-peft",
        "modules of several times the rank are trained for a while; the ranks that mattered most by then are trained anew",
        "Gu et al. 2024 (Light-PEFT, 2406.03792)",
        types=("lora",),
        fields={
            "keep": _share(0.5, "share of the places that keep a module", 0.01),
            "times": Field(
                "float",
                4.0,
                low=1.0,
                high=64.0,
                expressions=False,
                about="ranks that are looked at, in ranks of the space's",
            ),
            "epochs": Field(
                "float", 1.0, low=0.05, high=1e3, expressions=False, about="passes over the data to look at"
            ),
        },
    ),
    AllocatorType(
        "increlora",
        "ranks grow while training, where a rank more would lower the loss most",
        "Zhang et al. 2023 (2308.12043), with the reserve ranks' own gradients",
        types=("lora",),
    ),
    AllocatorType(
        "triadaptlora",
        "ranks grow while training, where the update has grown most",
        "Liang et al. 2025 (2501.08008)",
        types=("lora",),
    ),
    AllocatorType(
        "dylora",
        "one training whose first ranks are a module of their own: every smaller rank is scored and kept as well",
        "Valipour et al. 2023 (2210.07558)",
        types=("lora",),
        fields={"keep": _share(1.0, "share of the ranks that is handed out", 0.01)},
    ),
    AllocatorType(
        "id3",
        "single entries join while training, at every step those of the largest gradients anywhere",
        "Agarwal et al. 2024 (2408.14470)",
        types=("sparse",),
        fields={
            "power": Field(
                "float",
                0.0,
                low=0.0,
                high=4.0,
                expressions=False,
                about="gradients are divided by the weight's size to this power",
            )
        },
    ),
    AllocatorType(
        "spiel",
        "single entries of a weight that change little make room for others with larger gradients",
        "Ansell et al. 2024 (2401.16405)",
        types=("sparse",),
        fields={
            "every": Field(
                "integer", 20, low=1, high=1e6, expressions=False, about="steps between two times"
            ),
            "drop": _share(0.2, "share of the entries that make room, at first; it falls to 0"),
        },
    ),
)

ALLOCATORS: Mapping[str, AllocatorType] = {one.name: one for one in _ALL}
"""Allocators by name."""


def deals_out(kind: str, module_type: str) -> bool:
    """Whether an allocator has a say about modules of a type."""
    types = ALLOCATORS[kind].types
    return kind != UNIFORM and (not types or module_type in types)


def fields_of(configuration: Configuration) -> tuple[str, dict[str, Any]]:
    """The name of a configuration's allocator and all of its fields, those at their defaults too."""
    given = dict(configuration.allocation)
    known = ALLOCATORS[given.pop("type", UNIFORM)]
    return known.name, {**{name: field.default for name, field in known.fields.items()}, **given}
