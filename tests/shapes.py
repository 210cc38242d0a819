"""Shapes of backbones to bind spaces to."""

from collections.abc import Mapping

from autopeft.nouns import BackboneShape, LayerShape, Place


def layer_shape(
    linears: Mapping[str, tuple[int, int]], *, prefix: int = 0, bias: bool = True, hidden: int | None = None
) -> LayerShape:
    """A layer with these linear sites, a norm before each block, and the blocks that the sites make."""
    places = {
        site: Place("linear", inputs, outputs, bias=outputs if bias else 0)
        for site, (inputs, outputs) in linears.items()
    }
    width = hidden or next(iter(linears.values()))[0]
    if "o" in linears or prefix:
        places["attention"] = Place("block", width, width, prefix_width=prefix)
    if {"up", "down"} <= set(linears):
        places["ffn"] = Place("block", linears["up"][0], linears["down"][1])
    places["norm"] = Place("norm", 2 * width, 2 * width, bias=2 * width)
    return LayerShape(places)


def transformer(
    hidden: int, layers: int, intermediate: int, *, heads: int = 4, parameters: int | None = None
) -> BackboneShape:
    """A plain transformer, all of whose layers are alike."""
    linears = {
        **dict.fromkeys("qkvo", (hidden, hidden)),
        "up": (hidden, intermediate),
        "down": (intermediate, hidden),
    }
    each = layer_shape(linears, prefix=hidden)
    size = sum((p.inputs + 1) * p.outputs for p in each.places.values() if p.kind == "linear")
    return BackboneShape(
        parameters=parameters or layers * size,
        hidden=hidden,
        heads=heads,
        intermediate=intermediate,
        layers=(each,) * layers,
        input=Place("input", hidden, hidden),
    )


VIT = transformer(64, 4, 128, parameters=200_000)
BERT = transformer(768, 12, 3072, heads=12, parameters=108_891_648)
# Layers and sites that all differ, so that nothing is right by symmetry.
UNEVEN = BackboneShape(
    parameters=10_000,
    hidden=8,
    heads=2,
    intermediate=12,
    layers=(
        layer_shape({"q": (8, 8), "up": (8, 12), "v": (8, 4), "down": (12, 8)}, prefix=4),
        layer_shape({"q": (8, 4), "up": (8, 20), "v": (8, 2), "down": (20, 8)}, prefix=2),
        layer_shape({"q": (8, 6), "up": (8, 16), "v": (8, 6), "down": (16, 8)}, prefix=6),
    ),
)
