"""The table of architectures: a row is what loading, looking at and training a tiny model found."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autopeft.backbones import Backbone
from autopeft.cli.draw_backbone import TESTED_COLUMNS
from autopeft.errors import BackboneError
from autopeft.nouns import Module

from .architectures import Architecture, inputs
from .running import on_trained_and_off_again, prepare

NOTHING = "–"


def row(architecture: Architecture, folder: Path) -> dict[str, str]:
    """Load, look at, put modules on, train, take off: what was found, by the keys of `TESTED_COLUMNS`.

    Anything that should hold and does not is an AssertionError; that a model cannot be read is a row of its own.
    """
    found = dict.fromkeys(TESTED_COLUMNS, NOTHING) | {"name": architecture.name, "takes": architecture.takes}
    try:
        backbone = prepare(architecture, folder)
    except BackboneError as error:
        return found | {"notes": str(error)}
    layout, batch = backbone.layout, inputs(architecture)
    shape = layout.shape
    stacks = [
        list(group) for _, group in itertools.groupby(layout.layers, lambda w: w.path.rpartition(".")[0])
    ]
    blocks = [
        block for block in ("attention", "ffn") if any(block in where.blocks for where in layout.layers)
    ]
    prefix = any(
        "attention" in layer.places and layer.places["attention"].prefix_width for layer in shape.layers
    )
    norms = dict.fromkeys(len(where.norms) for where in layout.layers)
    on_trained_and_off_again(backbone, batch, lora(backbone))
    mixed = mixture(backbone, blocks, prefix)
    if mixed:
        on_trained_and_off_again(backbone, batch, mixed)
    return found | {
        "class": type(backbone.model).__name__,
        "layers": " + ".join(str(len(stack)) for stack in stacks),
        "sites": " ".join(shape.sites),
        "blocks": " ".join(blocks) or NOTHING,
        "prefix": "yes" if prefix else "no",
        "norms": ", ".join(map(str, norms)),
        "input": prompts(backbone, batch),
        "lora": "yes",
        "mixture": "yes" if mixed else NOTHING,
        "notes": "; ".join(f"no {site}: {reason}" for site, reason in shape.refused.items()),
    }


def lora(backbone: Backbone) -> list[Module]:
    """A LoRA at every linear map of every layer."""
    layers = tuple(range(len(backbone.layout.layers)))
    return [Module("lora", 2, layers, (("alpha", 4), ("sites", backbone.layout.shape.sites)))]


def mixture(backbone: Backbone, blocks: Sequence[str], prefix: bool) -> list[Module]:
    """Bottlenecks after and beside every block, and a prefix in every layer that takes one."""
    layers = tuple(range(len(backbone.layout.layers)))
    sites = tuple(blocks)
    modules = []
    if sites:
        modules += [
            Module("bottleneck", 24, layers, (("position", "serial"), ("sites", sites))),
            Module("bottleneck", 20, layers, (("position", "parallel"), ("sites", sites))),
        ]
    if prefix:
        modules.append(Module("prefix", 3, layers, (("sites", ("attention",)),)))
    return modules


def prompts(backbone: Backbone, batch: dict[str, Any]) -> str:
    """Whether tokens can be trained before the input."""
    if backbone.layout.shape.input is None or not backbone.head:
        return NOTHING
    modules = [Module("prompt_tuning", 3, (0,), (("sites", ("input",)),))]
    try:
        on_trained_and_off_again(backbone, batch, modules, identity=False)
    except BackboneError as error:
        if "finds the end of a text by its ids" not in str(error):
            raise
        return "no"
    return "yes"


PREAMBLE = """\
# Backbones that are tested

Sites are found on the architecture, not on a model's name, so this list is not the list of what works: `autopeft
backbone PATH` says what is found in any model, and `--sites q=attn.q_proj` names what is not found. The list is what the
tests build, tiny and random, from the configurations of transformers {transformers}. `autopeft backbone --tested` prints it.

- **Layers**: as they were built; a number for each tower, encoder before decoder.
- **Sites**: the linear maps that a module can go to. `cross_` is a decoder's attention to its encoder, `qkv` one map for
  queries, keys and values, `gate up down` a feed-forward block, `in x dt out` a state space.
- **Blocks**: where a bottleneck can go.
- **Prefix**: whether each attention takes a prefix of its own.
- **Norms**: in a layer; several numbers where layers differ.
- **Prompt**: whether peft's prompt tuning works; – where there is no classifier of texts. It does not on decoders: their
  classifiers find the last token of a text by its id, which prompt tuning replaces by an embedding.
- **LoRA**: at every site at once it is the identity before training, each of its parameters gets a gradient, and taken
  off it leaves weights, module names, hooks and outputs as they were.
- **Mixture**: the same for serial and parallel bottlenecks at every block together with a prefix in every attention.

Every cell is what a test found; generated by `python -m tests.backbones.write_table`.

"""


def render(rows: Iterable[Mapping[str, str]], transformers: str) -> str:
    """The page of the documentation."""
    rows = list(rows)
    lines = [
        "| " + " | ".join(TESTED_COLUMNS.values()) + " |",
        "| " + " | ".join("---" for _ in TESTED_COLUMNS) + " |",
    ]
    for one in rows:
        cells = [
            f"`{one[k]}`" if k in ("class", "sites") and one[k] != NOTHING else str(one[k])
            for k in TESTED_COLUMNS
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return PREAMBLE.format(transformers=transformers) + "\n".join(lines) + "\n"
