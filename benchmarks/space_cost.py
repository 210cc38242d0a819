"""How long a space takes to say what a configuration costs, and to do the other things that a search asks of it.

    python benchmarks/space_cost.py

writes benchmarks/results/space_cost.json. The spaces: LoRA ranks for each of four sites of twelve layers (48 decisions of
seven values, and a learning rate) and the shipped ones, all on the shape of BERT-base at 0.5 %.
"""

import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autopeft import __version__
from autopeft.dsl import BoundSpace, read_space, trainable_parameters
from autopeft.nouns import BackboneShape, LayerShape, Place
from autopeft.registry import space_names, space_text

RESULTS = Path(__file__).parent / "results" / "space_cost.json"
SAMPLES = 200
RANKS_48 = """
name: ranks-48
modules:
  lora:
    type: lora
    sites: [q, k, v, o]
    rank: {per: [layer, site], of: {choice: [0, 1, 2, 4, 8, 16, 32]}}
training: {learning_rate: {float: [1.0e-4, 1.0e-1], log: true}}
"""


def bert() -> BackboneShape:
    linear = {site: Place("linear", 768, 768, bias=768) for site in "qkvo"}
    up, down = Place("linear", 768, 3072, bias=3072), Place("linear", 3072, 768, bias=768)
    blocks = {"attention": Place("block", 768, 768, prefix_width=768), "ffn": Place("block", 768, 768)}
    norm = Place("norm", 1536, 1536, bias=1536)
    layer = LayerShape({**linear, "up": up, "down": down, **blocks, "norm": norm})
    return BackboneShape(108_891_648, 768, 12, 3072, (layer,) * 12, Place("input", 768, 768))


def microseconds(function: Callable[[Any], Any], arguments: Sequence[Any]) -> float:
    """Median over the arguments of the best of five calls with each: other work on the machine only adds."""
    medians = []
    for argument in arguments:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            function(argument)
            times.append(time.perf_counter() - began)
        medians.append(min(times))
    return round(statistics.median(medians) * 1e6, 1)


def measure(space: BoundSpace) -> dict[str, float]:
    """Microseconds of each operation, tables warm."""
    rng = random.Random(0)
    began = time.perf_counter()
    samples = space.sample(rng, SAMPLES)
    sampling = (time.perf_counter() - began) / SAMPLES
    canonical = [space.canonical(a) for a in samples]
    configurations = [space.configuration(a) for a in canonical]
    assert all(
        space.cost(a) == trainable_parameters(c, space.shape)
        for a, c in zip(canonical, configurations, strict=True)
    )
    return {
        "decisions": len(space.decisions),
        "cost": microseconds(space.cost, canonical),
        "encode": microseconds(space.encode, canonical),
        "configuration": microseconds(space.configuration, canonical),
        "assignment": microseconds(space.assignment, configurations[:50]),
        "neighbours": microseconds(space.neighbours, canonical[:10]),
        "sample": round(sampling * 1e6, 1),
    }


def table(record: dict[str, Any]) -> str:
    """The record as docs/results.md has it."""
    columns = ("decisions", "cost", "encode", "configuration", "assignment", "neighbours", "sample")
    lines = [f"| space | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for name, found in record["spaces"].items():
        lines.append(f"| `{name}` | {' | '.join(f'{found[column]:,}' for column in columns)} |")
    return "\n".join(lines)


def main() -> None:
    shape = bert()
    texts = {"ranks-48": RANKS_48, **{name: space_text(name) for name in space_names()}}
    found = {}
    for name, text in texts.items():
        found[name] = measure(read_space(text, name).bind(shape, shape.parameters // 200))
        print(name, found[name], flush=True)
    record = {
        "unit": "microseconds",
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, one core",
        "autopeft": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "spaces": found,
    }
    RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(table(record))


if __name__ == "__main__":
    sys.exit(main())
