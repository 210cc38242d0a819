"""The types of module that are ours, not peft's: what they are, where they go, what they cost. Arithmetic alone.

Notation:
    m           width of a bottleneck, tokens of a prefix
    d           density of a sparse delta
    (i, o)      inputs and outputs of a place
"""

import math

from autopeft.dsl.module_type import Field, ModuleType, Options
from autopeft.nouns import Place, Size, rounded

ACTIVATIONS = ("relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu")

# Indices into weights of more entries than this take 8 bytes, two of the numbers that `stored` counts.
MOST_SHORT_INDICES = 2**31


def _bottleneck(size: Size, options: Options, place: Place) -> int:
    # A serial one reads the block's output, a parallel one its input: (i + o) m + m + o, i the width that is read.
    reads = place.outputs if options["position"] == "serial" else place.inputs
    return int(size) * (reads + 1) + place.outputs * (int(size) + 1)


def _prefix(size: Size, options: Options, place: Place) -> int:
    return 2 * int(size) * place.prefix_width  # keys and values


def _prefix_objection(size: Size, options: Options, place: Place) -> str:
    if place.prefix_width:
        return ""
    return "its attention does not go through transformers' attention interface, where a prefix joins"


def sparse_count(density: Size, place: Place) -> int:
    """Entries that a sparse delta of a density has at a linear map: at least one.

    >>> sparse_count(0.01, Place("linear", 30, 20))
    6
    """
    return max(1, round(density * place.inputs * place.outputs))


def sparse_density(count: int, place: Place) -> float:
    """The density, of the digits that a configuration has, that means these entries, or the next lower number that can be said.

    Args:
        count: At least one.
        place: The linear map.

    >>> sparse_density(1_000, Place("linear", 768, 768)), sparse_count(0.00169, Place("linear", 768, 768))
    (0.00169, 997)
    """
    share = count / (place.inputs * place.outputs)
    density = rounded(share)
    return density if sparse_count(density, place) <= count else rounded(density - last_digit(share))


def last_digit(number: float) -> float:
    """One, at the third digit of a number: what lies between two numbers of a configuration.

    >>> last_digit(0.0123)
    0.0001
    """
    return 10.0 ** (math.floor(math.log10(number)) - 2)


def _sparse(size: Size, options: Options, place: Place) -> int:
    return sparse_count(size, place)


def _indices(size: Size, options: Options, place: Place) -> int:
    return sparse_count(size, place) * (1 if place.inputs * place.outputs <= MOST_SHORT_INDICES else 2)


def _bias(size: Size, options: Options, place: Place) -> int:
    return place.bias


def _bias_objection(size: Size, options: Options, place: Place) -> str:
    return "" if place.bias else "there is no bias"


def _frozen(size: Size, options: Options, place: Place) -> int:
    return 0


_ALL = (
    ModuleType(
        name="bottleneck",
        about="two linear maps with a non-linearity between, after or beside a block",
        source="Houlsby et al. 2019 (1902.00751), serial at attention and ffn; Pfeiffer et al. 2021 (2005.00247), "
        "serial at ffn; He et al. 2022 (2110.04366), parallel at ffn",
        size="size",
        at="block",
        sites=("ffn",),
        fields={
            "position": Field(
                "word", words=("serial", "parallel"), costs=True, about="after or beside the block"
            ),
            "activation": Field("word", "relu", words=ACTIVATIONS, about="the non-linearity"),
            "scaling": Field(
                "float", 1.0, low=0.001, high=1000, about="factor of its output; 4 in He et al."
            ),
        },
        trainable=_bottleneck,
    ),
    ModuleType(
        name="prefix",
        about="keys and values that a layer's queries attend to beside the sequence, in a softmax of their own",
        source="He et al. 2022 (2110.04366), equation 5, without its (1 - λ)",
        size="size",
        at="attention",
        sites=("attention",),
        trainable=_prefix,
        objection=_prefix_objection,
    ),
    ModuleType(
        name="sparse",
        about="a few entries of a weight, changed one by one",
        source="Bhardwaj et al. 2024 (2406.13175, SHiRA), with any number of entries",
        size="density",
        size_kind="fraction",
        at="linear",
        fields={
            "mask": Field("word", "magnitude", words=("magnitude", "random"), about="which entries"),
        },
        trainable=_sparse,
        stored=_indices,
    ),
    ModuleType(
        name="bias",
        about="the biases that are there",
        source="Ben Zaken et al. 2022 (2106.10199)",
        size="",
        at="bias",
        trainable=_bias,
        objection=_bias_objection,
    ),
    ModuleType(
        name="frozen",
        about="no module: the frozen backbone, of which the head alone is trained",
        source="",
        size="",
        at="input",
        trainable=_frozen,
    ),
)

OWN_TYPES: dict[str, ModuleType] = {t.name: t for t in _ALL}
"""Our types by name. A configuration never holds `frozen`: it means that there are no modules."""
