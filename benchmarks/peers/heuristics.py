"""What needs no search: the median configuration, and LoRA with its learning rate tuned."""

import json
from pathlib import Path

from peft_table.table import Curve, Entry

from autopeft.dsl import BoundSpace, Levels
from autopeft.nouns import Configuration

LORA = Path(__file__).parent.parent / "peft_table" / "heuristics.json"


def median_configuration(space: BoundSpace) -> Configuration:
    """Every layer, with every size at the median of its values above 0: the heuristic of SQFT.

    References:
        Munoz, Yuan and Jain (2024), "SQFT: Low-cost model adaptation in low-precision sparse foundation models",
        Findings of EMNLP: the median rank of the elastic adapter in place of a search.
    """
    values = []
    for decision, role in zip(space.decisions, space.roles, strict=True):
        if role.kind == "layers":
            values.append(True)
        elif role.kind == "size" and isinstance(decision, Levels):
            above = [value for value in decision.values if value > 0]
            values.append(above[len(above) // 2])
        else:
            values.append(decision.default)
    return space.configuration(values)


def lora_front() -> list[Entry]:
    """LoRA on query and value at each rank, at the learning rate that is best on validation; empty where not trained."""
    if not LORA.exists():
        return []
    by_rank: dict[int, list[Entry]] = {}
    for row in json.loads(LORA.read_text(encoding="utf-8"))["configurations"]:
        configuration = Configuration.from_json(row["configuration"])
        curves = {
            int(seed): Curve(tuple(one["validation"]), tuple(one["test"]), tuple(one["seconds"]))
            for seed, one in row["seeds"].items()
        }
        by_rank.setdefault(row["rank"], []).append(Entry(configuration, row["trainable"], curves))
    return [max(entries, key=lambda entry: entry.truth) for _, entries in sorted(by_rank.items())]
