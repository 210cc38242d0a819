"""The starter task: scikit-learn's digits seen through haze, turned and moved on a small canvas.

The 1,797 source images (8×8, grey) are divided once and for all by source image: 40 of every class for
validation, 40 of every class for test, the other 997 for training. The images of a split are made from its own
sources only. The starter backbone has seen upright, white-on-black digits from the training sources; what it has
not seen is the haze: a pale warm ink on a darker warm ground, about a fifth of the contrast.
"""

import numpy as np
from sklearn.datasets import load_digits

SIDE = 12  # pixels, height and width of an image
IMAGES = {"train": 1280, "validation": 2000, "test": 2000}
INK = (0.54, 0.47, 0.42)  # red, green, blue in [0, 1]
GROUND = (0.33, 0.25, 0.17)
HELD_OUT_PER_CLASS = 40
_SEEDS = {"train": 100, "validation": 101, "test": 102}


def digit_sources() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The fixed partition of the source images: split to (images, labels).

    Returns:
        For `train`, `validation` and `test`: float32 ``(n, 8, 8)`` in [0, 1] and int64 ``(n,)``; 997, 400 and 400.
    """
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    rng = np.random.default_rng(20230112)
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for label in range(10):
        order = rng.permutation(np.flatnonzero(labels == label))
        cut = np.split(order, [HELD_OUT_PER_CLASS, 2 * HELD_OUT_PER_CLASS])
        for split, indices in zip(("validation", "test", "train"), cut, strict=True):
            parts[split].append(indices)
    chosen = {split: np.concatenate(indices) for split, indices in parts.items()}
    return {split: (images[indices], labels[indices]) for split, indices in chosen.items()}


def place(
    images: np.ndarray, degrees: np.ndarray, scale: np.ndarray, right: np.ndarray, down: np.ndarray
) -> np.ndarray:
    """Turn, scale and move digits on an empty canvas (bilinear).

    Args:
        images: ``(n, 8, 8)``, ink in [0, 1].
        degrees: ``(n,)``, angle of each image.
        scale: ``(n,)``, 1 keeps the size.
        right: ``(n,)``, pixels from the centre.
        down: ``(n,)``, pixels from the centre.

    Returns:
        ``(n, SIDE, SIDE)``, ink in [0, 1].
    """
    grid = np.arange(SIDE) - (SIDE - 1) / 2
    x = grid[None, None, :] - right[:, None, None]
    y = grid[None, :, None] - down[:, None, None]
    cosine = (np.cos(np.deg2rad(degrees)) / scale)[:, None, None]
    sine = (np.sin(np.deg2rad(degrees)) / scale)[:, None, None]
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    side = padded.shape[1]
    column = np.clip(cosine * x + sine * y + (side - 1) / 2, 0, side - 1.001)
    row = np.clip(cosine * y - sine * x + (side - 1) / 2, 0, side - 1.001)
    c, r, n = column.astype(int), row.astype(int), np.arange(len(images))[:, None, None]
    right_part, lower_part = column - c, row - r
    upper: np.ndarray = padded[n, r, c] * (1 - right_part) + padded[n, r, c + 1] * right_part
    lower: np.ndarray = padded[n, r + 1, c] * (1 - right_part) + padded[n, r + 1, c + 1] * right_part
    canvas: np.ndarray = upper * (1 - lower_part) + lower * lower_part
    return canvas


def paint(ink: np.ndarray, colour: tuple[float, ...], ground: tuple[float, ...]) -> np.ndarray:
    """Colour images: ink ``(n, H, W)`` in [0, 1] to uint8 ``(n, H, W, 3)``."""
    mixed = ink[..., None] * np.array(colour) + (1 - ink[..., None]) * np.array(ground)
    pixels: np.ndarray = (np.clip(mixed, 0, 1) * 255).round().astype(np.uint8)
    return pixels


def source_of_image(split: str) -> np.ndarray:
    """Which of its split's sources each image was made from: int64 ``(images,)``, an index into `digit_sources`."""
    sources = len(digit_sources()[split][0])
    return _picked(np.random.default_rng(_SEEDS[split]), sources, IMAGES[split])


def _picked(rng: np.random.Generator, sources: int, count: int) -> np.ndarray:
    """All sources once in a random order, again and again."""
    rounds = -(-count // sources)
    return np.concatenate([rng.permutation(sources) for _ in range(rounds)])[:count]


def starter_splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The task's images and labels, the same on every call.

    Returns:
        For `train`, `validation` and `test`: uint8 ``(n, 12, 12, 3)`` and int64 ``(n,)``, 0 to 9; n is 1,280,
        2,000 and 2,000. Several images of a split may come from one source, never from another split's.
    """
    splits = {}
    for split, (images, labels) in digit_sources().items():
        rng, count = np.random.default_rng(_SEEDS[split]), IMAGES[split]
        picked = _picked(rng, len(images), count)
        ink = place(
            images[picked],
            degrees=rng.uniform(-20, 20, count),
            scale=np.ones(count),
            right=rng.uniform(-2, 2, count),
            down=rng.uniform(-2, 2, count),
        )
        splits[split] = (paint(ink, INK, GROUND), labels[picked])
    return splits
