"""Shapes of backbones to bind spaces to."""

from autopeft.nouns import BackboneShape, LayerShape

VIT = BackboneShape(
    parameters=200_000,
    hidden=64,
    heads=4,
    intermediate=128,
    layers=tuple(
        LayerShape({**dict.fromkeys("qkvo", (64, 64)), "up": (64, 128), "down": (128, 64)}, 64)
        for _ in range(4)
    ),
)
BERT = BackboneShape(
    parameters=108_891_648,
    hidden=768,
    heads=12,
    intermediate=3072,
    layers=tuple(
        LayerShape({**dict.fromkeys("qkvo", (768, 768)), "up": (768, 3072), "down": (3072, 768)}, 768)
        for _ in range(12)
    ),
)
# Layers and sites that all differ, so that nothing is right by symmetry.
UNEVEN = BackboneShape(
    parameters=10_000,
    hidden=8,
    heads=2,
    intermediate=12,
    layers=(
        LayerShape({"q": (8, 8), "up": (8, 12), "v": (8, 4), "down": (12, 8)}, 4),
        LayerShape({"q": (8, 4), "up": (8, 20), "v": (8, 2), "down": (20, 8)}, 2),
        LayerShape({"q": (8, 6), "up": (8, 16), "v": (8, 6), "down": (16, 8)}, 6),
    ),
)
