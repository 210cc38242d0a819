"""The types of module that peft has: what they are, where they go, what they cost. Arithmetic alone.

Notation:
    r           rank (the size of most types)
    b           size of a block
    n           number of frequencies
    (i, o)      inputs and outputs of a linear map

Names are ours for what many types share (`rank`, `alpha`, `init`, `dora`, `rslora`) and peft's own for the rest. How a
type becomes a configuration of peft is in `autopeft.adapters.peft_methods`; tests hold every count here against what
peft builds and saves.
"""

import importlib.util
import math
from collections.abc import Iterable

from autopeft.dsl.module_type import Field, ModuleType, Options
from autopeft.nouns import BackboneShape, Place, Size

RESIDUAL_INITS = ("pissa", "olora", "corda")
"""Initialisations of LoRA that take what the module starts with out of the backbone's weight."""

WAVELETS = (
    *(f"db{i}" for i in range(1, 11)),
    *(f"sym{i}" for i in range(2, 11)),
    *(f"coif{i}" for i in range(1, 6)),
)
"""Those whose coefficients peft has; its configuration takes more."""


def _alpha(times: float) -> Field:
    return Field("float", times_size=times, low=1e-6, about="the update is scaled by alpha / rank")


# What a type costs at a place ------------------------------------------------------------------------------------------


def _low_rank(size: Size, options: Options, place: Place) -> int:
    return int(size) * (place.inputs + place.outputs)


def _lora(size: Size, options: Options, place: Place) -> int:
    return _low_rank(size, options, place) + (place.outputs if options["dora"] else 0)


def _lora_stored(size: Size, options: Options, place: Place) -> int:
    # B A - B0 A0 goes onto the backbone as it was: saved as a LoRA of twice the rank.
    return _low_rank(size, options, place) if options["init"] in RESIDUAL_INITS else 0


def _adalora(size: Size, options: Options, place: Place) -> int:
    return int(size) * (place.inputs + place.outputs + 1)


def _ia3(size: Size, options: Options, place: Place) -> int:
    return place.inputs if options["feedforward"] else place.outputs


def _loha(size: Size, options: Options, place: Place) -> int:
    return 2 * _low_rank(size, options, place)


def factors(dimension: int, factor: int) -> tuple[int, int]:
    """The two factors into which LoKr splits a dimension, the smaller first unless `factor` divides it.

    As close to each other as they can be with the first at most `factor`; -1 means no bound.

    >>> factors(24, -1), factors(24, 3), factors(24, 5)
    ((4, 6), (3, 8), (4, 6))
    """
    if factor > 0 and dimension % factor == 0:
        return factor, dimension // factor
    most = dimension if factor == -1 else factor
    m, n = 1, dimension
    while m < n:
        new = m + 1
        while dimension % new:
            new += 1
        if new + dimension // new > 1 + dimension or new > most:
            break
        m, n = new, dimension // new
    return min(m, n), max(m, n)


def _lokr(size: Size, options: Options, place: Place) -> int:
    r, factor = int(size), int(options["decompose_factor"])
    (o1, o2), (i1, i2) = factors(place.outputs, factor), factors(place.inputs, factor)
    split = options["decompose_both"] and r < max(o1, i1) / 2
    first = r * (o1 + i1) if split else o1 * i1
    second = r * (o2 + i2) if r < max(o2, i2) / 2 else o2 * i2
    return first + second


def _oft(size: Size, options: Options, place: Place) -> int:
    b = int(size)
    blocks = 1 if options["block_share"] else place.inputs // b
    return blocks * (b * (b - 1) // 2)


def _boft(size: Size, options: Options, place: Place) -> int:
    return place.inputs * int(size) + place.outputs


def _hra(size: Size, options: Options, place: Place) -> int:
    return int(size) * place.inputs


def _vera(size: Size, options: Options, place: Place) -> int:
    return int(size) + place.outputs


def _vblora(size: Size, options: Options, place: Place) -> int:
    vectors = (place.inputs + place.outputs) // int(options["vector_length"])
    return int(size) * vectors * int(options["num_vectors"])


def _vblora_bank(size: Size, options: Options, shape: BackboneShape) -> int:
    return int(options["num_vectors"]) * int(options["vector_length"])


def _randlora(size: Size, options: Options, place: Place) -> int:
    narrow = min(place.inputs, place.outputs)
    return math.ceil(narrow / int(size)) * (int(size) + narrow)


def _frequencies(size: Size, options: Options, place: Place) -> int:
    return int(size)


def _miss(size: Size, options: Options, place: Place) -> int:
    return int(size) * (int(options["mini_r"]) if options["mode"] == "mini" else place.outputs)


def _c3a(size: Size, options: Options, place: Place) -> int:
    return place.inputs * place.outputs // int(size)


def _delora(size: Size, options: Options, place: Place) -> int:
    return _low_rank(size, options, place) + 1


def _inputs(size: Size, options: Options, place: Place) -> int:
    return place.inputs


def _gralora(size: Size, options: Options, place: Place) -> int:
    return (int(size) + int(options["hybrid_r"])) * (place.inputs + place.outputs)


def _psoft(size: Size, options: Options, place: Place) -> int:
    r = int(size)
    scales = r * (bool(options["psoft_mag_a"]) + bool(options["psoft_mag_b"]))
    return (r * (r - 1) // 2 if options["psoft_orth"] else r * r) + scales


def _shira_stored(size: Size, options: Options, place: Place) -> int:
    return 2 * _low_rank(size, options, place)  # row and column of each entry


def _supertuned(size: Size, place: Place) -> int:
    # As peft computes it, whose field is the sparsity: rounding included.
    return int(place.inputs * place.outputs * (1 - (1 - size)))


def _supertuning(size: Size, options: Options, place: Place) -> int:
    return _supertuned(size, place) + int(options["rank"]) * (place.inputs + place.outputs)


def _supertuning_stored(size: Size, options: Options, place: Place) -> int:
    return _supertuned(size, place)


def _ln_tuning(size: Size, options: Options, place: Place) -> int:
    return place.inputs + place.bias


def _prompt(size: Size, options: Options, place: Place) -> int:
    return int(size) * place.inputs


def _prompt_objection(size: Size, options: Options, place: Place) -> str:
    if place.outputs:
        return ""
    return (
        "the model finds the end of a text by its ids, which a prompt takes the place of; allowed are prefix_tuning, "
        "prefix, and modules at linear sites"
    )


def _nothing(size: Size, options: Options, place: Place) -> int:
    return 0


def _prefix(size: Size, options: Options, shape: BackboneShape) -> int:
    widths = (layer.places["attention"].prefix_width for layer in shape.layers if "attention" in layer.places)
    return 2 * int(size) * sum(widths)  # keys and values


# What is saved once a module -------------------------------------------------------------------------------------------


def _widest(options: Options, shape: BackboneShape) -> tuple[int, int]:
    # The module's sites in all layers. Where layers differ in width and the widest has no module, less is saved.
    sites = options.get("sites") or shape.sites
    places = [
        p
        for layer in shape.layers
        for site, p in layer.places.items()
        if site in sites and p.kind == "linear"
    ]
    return max((p.inputs for p in places), default=0), max((p.outputs for p in places), default=0)


def _vera_projections(size: Size, options: Options, shape: BackboneShape) -> int:
    return int(size) * sum(_widest(options, shape)) if options["save_projection"] else 0


# Why a module cannot be at a place -------------------------------------------------------------------------------------


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def _dividing(field: str, value: int, number: int, what: str, least: int = 1) -> str:
    if value >= least and number % value == 0:
        return ""
    allowed = [d for d in _divisors(number) if d >= least]
    reason = f"does not divide {what}" if number % value else "is too small to turn anything"
    return f"{field} {value} {reason}: allowed are {_listed(allowed)}"


def _both(place: Place) -> str:
    return f"both {place.inputs} inputs and {place.outputs} outputs"


def _conv1d(name: str, place: Place) -> str:
    if not place.transposed:
        return ""
    return f"peft has no {name} for GPT-2's Conv1D: allowed are maps of torch.nn.Linear"


def _at_most(field: str, value: Size, most: int, what: str) -> str:
    return f"{field} {value} is more than {what}: allowed are 1 to {most}" if value > most else ""


def _lora_objection(size: Size, options: Options, place: Place) -> str:
    init = options["init"]
    if init in ("olora", "loftq") and place.transposed:
        return f"init {init} takes GPT-2's Conv1D for its transpose: allowed are the other inits"
    if init == "loftq" and importlib.util.find_spec("bitsandbytes") is None:
        return (
            "init loftq needs the package bitsandbytes, which is not installed: allowed are the other inits"
        )
    if init == "orthogonal" and size % 2:
        return f"init orthogonal makes pairs of ranks, and {size} is odd: allowed are even ranks"
    if init == "eva":
        return _at_most(
            "rank", size, place.inputs, f"the {place.inputs} directions that init eva can choose from"
        )
    if init in (*RESIDUAL_INITS, "loftq"):
        narrow = min(place.inputs, place.outputs)
        return _at_most(
            "rank", size, narrow, f"the {narrow} singular values that init {init} can choose from"
        )
    return ""


def _adalora_objection(size: Size, options: Options, place: Place) -> str:
    target = options["target_rank"]
    if 1 <= target < size:
        return ""
    if size < 2:
        return f"rank {size} leaves nothing to prune: allowed are ranks of at least 2"
    return f"target_rank {target} is not below the initial rank {size}: allowed are 1 to {int(size) - 1}"


def _loha_objection(size: Size, options: Options, place: Place) -> str:
    return _conv1d("LoHa", place)


def _lokr_objection(size: Size, options: Options, place: Place) -> str:
    return _conv1d("LoKr", place)


def _oft_objection(size: Size, options: Options, place: Place) -> str:
    return _conv1d("OFT", place) or _dividing(
        "block_size", int(size), place.inputs, f"{place.inputs} inputs", least=2
    )


def _boft_objection(size: Size, options: Options, place: Place) -> str:
    return _conv1d("BOFT", place) or _dividing(
        "block_size", int(size), place.inputs, f"{place.inputs} inputs", least=2
    )


def _hra_objection(size: Size, options: Options, place: Place) -> str:
    if size % 2:
        return f"rank {size} is odd, and reflections start in pairs that cancel: allowed are even ranks"
    return _conv1d("HRA", place)


def _vblora_objection(size: Size, options: Options, place: Place) -> str:
    topk, vectors = options["topk"], options["num_vectors"]
    if topk > vectors:
        return f"topk {topk} is more than the {vectors} vectors: allowed are 1 to {vectors}"
    both = math.gcd(place.inputs, place.outputs)
    return _dividing("vector_length", int(options["vector_length"]), both, _both(place))


def _randlora_objection(size: Size, options: Options, place: Place) -> str:
    narrow = min(place.inputs, place.outputs)
    return _at_most("rank", size, narrow, f"the {narrow} of the smaller side")


def _frequency_objection(size: Size, options: Options, place: Place) -> str:
    entries = place.inputs * place.outputs
    return _at_most("n_frequency", size, entries, f"the {entries} entries of the weight")


def _miss_objection(size: Size, options: Options, place: Place) -> str:
    r, mode = int(size), options["mode"]
    if reason := _conv1d("MiSS", place):
        return reason
    if mode == "bat":
        return _dividing("rank", r, math.gcd(place.inputs, place.outputs), _both(place))
    if mode == "mini":
        outputs = f"{place.outputs} outputs"
        if reason := _dividing("mini_r", int(options["mini_r"]), place.outputs, outputs):
            return reason
    return _at_most("rank", size, place.inputs, f"the {place.inputs} inputs")


def _c3a_objection(size: Size, options: Options, place: Place) -> str:
    both = math.gcd(place.inputs, place.outputs)
    return _conv1d("C3A", place) or _dividing("block_size", int(size), both, _both(place))


def _delora_objection(size: Size, options: Options, place: Place) -> str:
    return _conv1d("DeLoRA", place)


def _gralora_objection(size: Size, options: Options, place: Place) -> str:
    k = int(options["gralora_k"])
    if size % k:
        return f"gralora_k {k} does not divide rank {size}: allowed are {_listed(_divisors(int(size)))}"
    return _dividing("gralora_k", k, math.gcd(place.inputs, place.outputs), _both(place))


def _psoft_objection(size: Size, options: Options, place: Place) -> str:
    if reason := _conv1d("PSOFT", place):
        return reason
    if size < 2 and options["psoft_orth"]:
        return f"rank {size} leaves nothing to turn: allowed are ranks of at least 2, or psoft_orth: false"
    narrow = min(place.inputs, place.outputs)
    return _at_most("rank", size, narrow, f"the {narrow} singular values of the weight")


def _shira_objection(size: Size, options: Options, place: Place) -> str:
    if reason := _conv1d("SHiRA", place):
        return reason
    entries, each = place.inputs * place.outputs, place.inputs + place.outputs
    return _at_most(
        "rank", size, entries // each, f"a weight of {entries} entries has room for, {each} a rank"
    )


def _supertuning_objection(size: Size, options: Options, place: Place) -> str:
    if reason := _conv1d("Super-Tuning", place):
        return reason
    if _supertuned(size, place):
        return ""
    entries = place.inputs * place.outputs
    return f"density {size} leaves none of {entries} entries: allowed are densities of at least {1.01 / entries:.3g}"


_LORA_INITS = ("default", "gaussian", "pissa", "olora", "orthogonal", "eva", "corda", "loftq")

_ALL = (
    ModuleType(
        name="lora",
        about="a product of two thin matrices beside a weight",
        source="Hu et al. 2022 (2106.09685); rslora: Kalajdzievski 2023 (2312.03732); dora: Liu et al. 2024 "
        "(2402.09353); init pissa: Meng et al. 2024 (2404.02948), olora: Büyükakyüz 2024 (2406.01775), eva: Paischer "
        "et al. 2024 (2410.07170), corda: Yang et al. 2024 (2406.05223), loftq: Li et al. 2024 (2310.08659)",
        size="rank",
        at="linear",
        fields={
            "alpha": _alpha(2),
            "rslora": Field("boolean", False, about="scaled by alpha / sqrt(rank) instead"),
            "dora": Field(
                "boolean", False, costs=True, about="the norms of the weight's rows are trained too"
            ),
            "init": Field(
                "word",
                "default",
                words=_LORA_INITS,
                costs=True,
                about="what A and B start with; eva and corda look at training data",
            ),
        },
        trainable=_lora,
        stored=_lora_stored,
        objection=_lora_objection,
        changes_base={"init": (*RESIDUAL_INITS, "loftq")},
    ),
    ModuleType(
        name="adalora",
        about="LoRA as a singular value decomposition whose ranks are pruned where they matter least",
        source="Zhang et al. 2023 (2303.10512)",
        size="rank",
        at="linear",
        fields={
            "target_rank": Field(
                "integer", low=1, about="mean rank that is left; rank is what it starts with"
            ),
            "alpha": _alpha(2),
            "orth_reg_weight": Field(
                "float", 0.5, about="weight of the loss that keeps the factors orthogonal"
            ),
        },
        trainable=_adalora,
        objection=_adalora_objection,
    ),
    ModuleType(
        name="ia3",
        about="factors of a linear map's outputs, or of its inputs",
        source="Liu et al. 2022 (2205.05638): outputs of k and v, inputs of down",
        size="",
        at="linear",
        fields={
            "feedforward": Field("boolean", False, costs=True, about="factors of the inputs, as at down")
        },
        trainable=_ia3,
    ),
    ModuleType(
        name="loha",
        about="the entrywise product of two low-rank matrices beside a weight",
        source="Hyeon-Woo et al. 2022 (2108.06098); Yeh et al. 2024 (2309.14859)",
        size="rank",
        at="linear",
        fields={"alpha": _alpha(2)},
        trainable=_loha,
        objection=_loha_objection,
    ),
    ModuleType(
        name="lokr",
        about="a Kronecker product beside a weight, the larger factor of low rank",
        source="Yeh et al. 2024 (2309.14859)",
        size="rank",
        at="linear",
        fields={
            "alpha": _alpha(2),
            "decompose_both": Field(
                "boolean", False, costs=True, about="the smaller factor is of low rank too"
            ),
            "decompose_factor": Field(
                "integer", -1, low=-1, costs=True, about="size of the first factor; -1: near the root"
            ),
        },
        trainable=_lokr,
        objection=_lokr_objection,
    ),
    ModuleType(
        name="oft",
        about="rotations of blocks of a linear map's inputs",
        source="Qiu et al. 2023 (2306.07280); Qiu et al. 2025 (2506.19847)",
        size="block_size",
        at="linear",
        fields={
            "block_share": Field("boolean", False, costs=True, about="one rotation for all blocks"),
            "coft": Field("boolean", False, about="rotations stay near the identity"),
            "eps": Field("float", 6e-5, low=1e-12, about="how near, with coft"),
            "use_cayley_neumann": Field(
                "boolean", True, about="a series instead of solving for the rotation"
            ),
        },
        trainable=_oft,
        objection=_oft_objection,
    ),
    ModuleType(
        name="boft",
        about="rotations of blocks of a linear map's inputs, and factors of its outputs (one butterfly factor)",
        source="Liu et al. 2024 (2311.06243)",
        size="block_size",
        at="linear",
        trainable=_boft,
        objection=_boft_objection,
    ),
    ModuleType(
        name="hra",
        about="a chain of reflections of a linear map's inputs",
        source="Yuan et al. 2024 (2405.17484)",
        size="rank",
        at="linear",
        trainable=_hra,
        objection=_hra_objection,
    ),
    ModuleType(
        name="vera",
        about="frozen random projections with trained factors between them",
        source="Kopiczko et al. 2024 (2310.11454)",
        size="rank",
        at="linear",
        fields={
            "d_initial": Field("float", 0.1, about="what the inner factors start with"),
            "save_projection": Field(
                "boolean", True, costs=True, about="not only the seed of the projections"
            ),
        },
        trainable=_vera,
        stored_shared=_vera_projections,
    ),
    ModuleType(
        name="vblora",
        about="low-rank matrices mixed from one bank of vectors",
        source="Li et al. 2024 (2405.15179)",
        size="rank",
        at="linear",
        fields={
            "num_vectors": Field("integer", 256, low=1, costs=True, about="vectors in the bank"),
            "vector_length": Field("integer", 256, low=1, costs=True, about="numbers in a vector"),
            "topk": Field("integer", 2, low=1, about="vectors that are mixed"),
        },
        trainable=_vblora,
        shared=_vblora_bank,
        objection=_vblora_objection,
        identity=False,
        alone=True,
    ),
    ModuleType(
        name="randlora",
        falls=True,
        about="a trained mixture of frozen random matrices, of full rank together",
        source="Albert et al. 2025 (2502.00987)",
        size="rank",
        at="linear",
        fields={
            "alpha": _alpha(20),
            "sparse": Field("boolean", False, about="a third of the random numbers are not 0"),
            "very_sparse": Field("boolean", False, about="far fewer are not 0"),
        },
        trainable=_randlora,
        objection=_randlora_objection,
    ),
    ModuleType(
        name="fourierft",
        about="a few Fourier coefficients of an update",
        source="Gao et al. 2024 (2405.03003)",
        size="n_frequency",
        at="linear",
        fields={
            "scaling": Field("float", 150.0, low=1e-6, about="factor of the update"),
            "init": Field("word", "normal", words=("normal", "zeros"), about="what they start with"),
        },
        trainable=_frequencies,
        objection=_frequency_objection,
        identity=False,
    ),
    ModuleType(
        name="waveft",
        about="a few wavelet coefficients of an update",
        source="Bilican et al. 2025 (2505.12532)",
        size="n_frequency",
        at="linear",
        fields={
            "scaling": Field("float", 25.0, low=1e-6, about="factor of the update"),
            "wavelet_family": Field("word", "db1", words=WAVELETS, about="the wavelet"),
            "use_idwt": Field(
                "boolean", True, about="transformed back; false: they are entries of the update"
            ),
        },
        trainable=_frequencies,
        objection=_frequency_objection,
    ),
    ModuleType(
        name="miss",
        about="one trained block, the same for every slice of the inputs",
        source="Kang and Yin 2024 (2409.15371); mode bat is its Bone",
        size="rank",
        at="linear",
        fields={
            "mode": Field(
                "word", "default", words=("default", "bat", "mini"), costs=True, about="form of the block"
            ),
            "mini_r": Field("integer", 1, low=1, costs=True, about="columns of the block with mode: mini"),
        },
        trainable=_miss,
        objection=_miss_objection,
    ),
    ModuleType(
        name="c3a",
        falls=True,
        about="circular convolutions of blocks; larger blocks have fewer parameters",
        source="Chen et al. 2024 (2407.19342)",
        size="block_size",
        at="linear",
        fields={
            "init": Field(
                "word",
                "xavier_uniform",
                words=("xavier_uniform", "kaiming_uniform", "gaussian", "zeros"),
                about="what the kernels start with",
            )
        },
        trainable=_c3a,
        objection=_c3a_objection,
        identity=False,
    ),
    ModuleType(
        name="delora",
        about="LoRA with the strength of its update apart from its direction",
        source="Bini et al. 2025 (2503.18225)",
        size="rank",
        at="linear",
        fields={
            "delora_lambda": Field("float", 15.0, low=1e-6, about="bound of the update that it starts with")
        },
        trainable=_delora,
        stored=_inputs,
        objection=_delora_objection,
    ),
    ModuleType(
        name="gralora",
        about="LoRA in each of a weight's k by k blocks",
        source="Jung et al. 2025 (2505.20355)",
        size="rank",
        at="linear",
        fields={
            "alpha": _alpha(2),
            "gralora_k": Field("integer", 2, low=1, about="blocks along a side"),
            "hybrid_r": Field("integer", 0, costs=True, about="rank of a plain LoRA beside it"),
        },
        trainable=_gralora,
        objection=_gralora_objection,
    ),
    ModuleType(
        name="hira",
        about="the entrywise product of a weight and a low-rank matrix, beside the weight",
        source="Huang et al. 2025 (ICLR, openreview TwJrTz9cRS)",
        size="rank",
        at="linear",
        fields={"init": Field("word", "default", words=("default", "gaussian"), about="what A starts with")},
        trainable=_low_rank,
    ),
    ModuleType(
        name="psoft",
        about="a rotation between a weight's largest singular vectors, which are computed again where it is loaded",
        source="Wu et al. 2025 (2505.11235)",
        size="rank",
        at="linear",
        fields={
            "ab_svd_init": Field(
                "word", "psoft_init", words=("psoft_init", "pissa_init"), about="split of the vectors"
            ),
            "psoft_orth": Field("boolean", True, costs=True, about="false: any matrix instead of a rotation"),
            "psoft_mag_a": Field("boolean", True, costs=True, about="factors before the rotation"),
            "psoft_mag_b": Field("boolean", True, costs=True, about="factors after the rotation"),
        },
        trainable=_psoft,
        objection=_psoft_objection,
    ),
    ModuleType(
        name="shira",
        about="as many random entries of a weight as a LoRA of this rank has numbers",
        source="Bhardwaj et al. 2024 (2406.13175)",
        size="rank",
        at="linear",
        trainable=_low_rank,
        stored=_shira_stored,
        objection=_shira_objection,
    ),
    ModuleType(
        name="supertuning",
        about="the largest (or smallest) entries of a weight, with or without a LoRA beside them",
        source="2607.09287: Super, and Supra with a rank",
        size="density",
        size_kind="fraction",
        at="linear",
        fields={
            "select_top": Field("boolean", True, about="the largest entries, not the smallest"),
            "rank": Field("integer", 0, costs=True, about="of the LoRA; its alpha is twice as much"),
        },
        trainable=_supertuning,
        stored=_supertuning_stored,
        objection=_supertuning_objection,
    ),
    ModuleType(
        name="ln_tuning",
        about="the layer's norms themselves",
        source="Zhao et al. 2024 (2312.11420)",
        size="",
        at="norm",
        sites=("norm",),
        trainable=_ln_tuning,
    ),
    ModuleType(
        name="prompt_tuning",
        about="embedded tokens before the text's",
        source="Lester et al. 2021 (2104.08691)",
        size="tokens",
        at="input",
        sites=("input",),
        fields={
            "init": Field(
                "word",
                "random",
                words=("random", "sample_vocab"),
                about="normal numbers, or tokens of the vocabulary",
            )
        },
        trainable=_prompt,
        objection=_prompt_objection,
        identity=False,
    ),
    ModuleType(
        name="prefix_tuning",
        about="keys and values before every layer's, in one softmax with them; `prefix` is the one for each layer",
        source="Li and Liang 2021 (2101.00190), without the reparametrisation",
        size="tokens",
        at="input",
        sites=("input",),
        fields={"init": Field("word", "normal", words=("normal", "zeros"), about="what they start with")},
        trainable=_nothing,
        shared=_prefix,
        identity=False,
    ),
)

PEFT_TYPES: dict[str, ModuleType] = {t.name: t for t in _ALL}
"""peft's types by name."""


# What cannot be together -----------------------------------------------------------------------------------------------


def replaces_product(name: str, options: Options) -> bool:
    """Whether a type multiplies with the weight itself instead of asking the linear map.

    Such a module must be the innermost at its place, so two of them cannot be at one.
    """
    return name in ("hra", "shira", "supertuning") or (name == "miss" and options["mode"] == "bat")


_ONLY_ADDS = frozenset(
    {
        *(
            "adalora",
            "loha",
            "lokr",
            "vera",
            "vblora",
            "randlora",
            "fourierft",
            "waveft",
            "c3a",
            "delora",
            "gralora",
        ),
        "psoft",
    }
)


def _only_adds(name: str, options: Options) -> bool:
    if name in ("lora", "miss"):
        return not options["dora"] if name == "lora" else options["mode"] != "bat"
    return name in _ONLY_ADDS


def changes_base(name: str, options: Options) -> bool:
    """Whether a module changes the backbone's weights while it is on."""
    return any(options[field] in values for field, values in PEFT_TYPES[name].changes_base.items())


def clash(name: str, options: Options, other: str, other_options: Options) -> str:
    """Why two of peft's modules cannot be at the same linear map; empty if they can. Not of each other's order.

    >>> clash("lora", {"init": "default", "dora": False}, "oft", {})
    ''
    >>> clash("hra", {}, "shira", {})
    'hra and shira both multiply with the weight itself, so one would hide the other: allowed is one of them'
    """
    if replaces_product(name, options) and replaces_product(other, other_options):
        return (
            f"{name} and {other} both multiply with the weight itself, so one would hide the other: "
            "allowed is one of them"
        )
    for first, its, second, others in (
        (name, options, other, other_options),
        (other, other_options, name, options),
    ):
        if not changes_base(first, its):
            continue
        if changes_base(second, others):
            return f"{first} and {second} both take a part out of the weight: allowed is one of them"
        if not _only_adds(second, others):
            beside = ", ".join(sorted(("lora", "miss", *_ONLY_ADDS)))
            return (
                f"{first} with init {its['init']} takes a part out of the weight, and {second} does more with the "
                f"weight than add to it: allowed beside it are {beside}"
            )
    return ""
