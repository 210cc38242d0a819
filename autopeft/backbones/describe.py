"""What was found in a backbone as plain JSON, and the architectures that the tests have run on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from autopeft.backbones.layout import LayerLayout, Layout
from autopeft.nouns import LayerShape, Place

_TESTED = Path(__file__).parent / "tested.json"


def describe_layout(layout: Layout) -> dict[str, Any]:
    """A layout as plain JSON: every layer's places with their shapes and paths, and what is refused and why."""
    shape = layout.shape
    return {
        "parameters": shape.parameters,
        "hidden": shape.hidden,
        "heads": shape.heads,
        "intermediate": shape.intermediate,
        "layers": [
            {
                "path": where.path,
                "places": {
                    site: {**dataclasses.asdict(place), "paths": place_paths(where, site, place)}
                    for site, place in layer.places.items()
                },
            }
            for where, layer in zip(layout.layers, shape.layers, strict=True)
        ],
        "input": {**dataclasses.asdict(shape.input), "paths": [layout.input]} if shape.input else None,
        "refused": dict(shape.refused),
        "unnamed": list(layout.unnamed),
    }


def place_paths(layer: LayerLayout, site: str, place: Place) -> list[str]:
    """The modules at a place, in the model: one linear map, a block's first and last, or every norm."""
    match place.kind:
        case "linear":
            return [layer.sites[site]]
        case "block":
            return list(layer.blocks[site])
        case _:
            return list(layer.norms)


def like_layers(layout: Layout) -> list[range]:
    """Runs of consecutive layers in which nothing but the layer's number differs."""
    runs: list[range] = []
    last: tuple[str, LayerShape, dict[str, list[str]]] | None = None
    for i, (where, shape) in enumerate(zip(layout.layers, layout.shape.layers, strict=True)):
        stack, _, _ = where.path.rpartition(".")
        inside = {
            site: [path.removeprefix(where.path) for path in place_paths(where, site, place)]
            for site, place in shape.places.items()
        }
        if (stack, shape, inside) == last:
            runs[-1] = range(runs[-1].start, i + 1)
        else:
            runs.append(range(i, i + 1))
        last = (stack, shape, inside)
    return runs


def architecture_table() -> list[dict[str, Any]]:
    """A row for each architecture that the tests build, tiny and random, in the order of the table.

    Every cell is what a test found: `tests/backbones/test_table.py` computes the rows again and compares.
    """
    rows: list[dict[str, Any]] = json.loads(_TESTED.read_text())
    return rows
