"""Every allocator that a space may name: what deals the modules' parameters out by the data.

A configuration with an allocator says what there is to deal out: its modules are the places, the kinds and, by what they cost
together, the budget. The allocator's plan is another arrangement of modules, which costs no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autopeft.dsl.module_type import Field

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
        "weights that the loss is most sensitive to: modules where a matrix has many of them, single entries elsewhere",
        "He et al. 2023 (2303.08566)",
        types=("lora",),
        fields={
            "threshold": Field(
                "float",
                10.0,
                low=1e-3,
                high=1e6,
                expressions=False,
                about="a matrix gets a module where its sensitive entries, times this, are as many as the module's parameters",
            ),
            "times": Field(
                "float",
                4.0,
                low=1.0,
                high=64.0,
                expressions=False,
                about="rank of its modules, in ranks of the space's",
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
        },
    ),
)

ALLOCATORS: Mapping[str, AllocatorType] = {one.name: one for one in _ALL}
"""Allocators by name."""


def deals_out(kind: str, module_type: str) -> bool:
    """Whether an allocator has a say about modules of a type."""
    types = ALLOCATORS[kind].types
    return kind != UNIFORM and (not types or module_type in types)
