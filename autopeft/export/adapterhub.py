"""A folder for AdapterHub's `adapters`: its configuration of bottlenecks, training arguments, and a script that uses both."""

import json
import math
from pathlib import Path
from typing import Any

from autopeft.backbones import Backbone
from autopeft.backbones.heads import find_head
from autopeft.export.known import check_known, known
from autopeft.export.lora import read_warmup, written_warmup
from autopeft.export.recipe import Content, Recipe, Schedule, canonical, no_dropout, one_at, spots
from autopeft.nouns import OWN_HEAD

ADAPTER, ARGUMENTS, MODEL = "adapter_config.json", "training_args.json", "model.json"
_HEAD = ("num_labels", "problem_type")  # what a new head is told
_WHERE = {"attention": "mh_adapter", "ffn": "output_adapter"}
_NAMES = {"leaky_relu": "leakyrelu"}  # where it calls an activation by another name


def write(recipe: Recipe, backbone: Backbone) -> Content:
    """The three files."""
    schedule, head = recipe.schedule, find_head("text", recipe.problem)
    configs = _bottlenecks(recipe, backbone)
    changed = {**dict(recipe.overrides), **dict.fromkeys(recipe.dropout, 0.0)}
    if recipe.problem not in OWN_HEAD:
        changed |= {name: getattr(backbone.model.config, name) for name in _HEAD}
    config = configs[0] if len(configs) == 1 else {"architecture": "union", "configs": configs}
    return {
        ADAPTER: {
            "config": config,
            "hidden_size": backbone.layout.shape.hidden,
            "model_name": recipe.model,
            "model_type": recipe.architecture,
            "name": "autopeft",
            "version": f"adapters.{known('adapters')['version']}",
        },
        MODEL: {
            "auto": head.auto,
            "path": recipe.model,
            "arguments": changed,
            "problem": recipe.problem,
            "max_length": schedule.max_length,
            "padding": _padding(backbone.model.config.get_text_config()),
        },
        ARGUMENTS: {
            "learning_rate": schedule.learning_rate,
            "lr_scheduler_type": "linear",
            "warmup_steps": written_warmup(schedule),
            "num_train_epochs": schedule.epochs,
            "per_device_train_batch_size": schedule.batch_size,
            "gradient_accumulation_steps": 1,
            "gradient_checkpointing": schedule.gradient_checkpointing,
            "optim": "adamw_torch",
            "weight_decay": schedule.weight_decay,
            "max_grad_norm": schedule.max_grad_norm,
            "seed": schedule.seed,
            "bf16": schedule.bfloat16,
            "save_strategy": "no",
            "report_to": "none",
            "output_dir": "adapter",
        },
    }


def _padding(config: Any) -> int:
    """As tokenizers that have no padding of their own: the end of a text, which is masked."""
    return int(config.pad_token_id if config.pad_token_id is not None else config.eos_token_id or 0)


def _bottlenecks(recipe: Recipe, backbone: Backbone) -> list[dict[str, Any]]:
    """A configuration for each site and kind of bottleneck; what differs from layer to layer is its width alone."""
    shape = backbone.layout.shape
    widths: dict[tuple[str, str, str, float], dict[int, int]] = {}
    for module in recipe.modules:
        for layer, site in spots(module):
            kind = (
                site,
                module.option("position"),
                module.option("activation"),
                float(module.option("scaling")),
            )
            widths.setdefault(kind, {})[layer] = int(module.size)
    found = []
    for (site, position, activation, scaling), by_layer in widths.items():
        found.append(
            {
                "architecture": None,
                "mh_adapter": site == "attention",
                "output_adapter": site == "ffn",
                "is_parallel": position == "parallel",
                "reduction_factor": {
                    str(layer): reduction(shape.hidden, width) for layer, width in sorted(by_layer.items())
                },
                "leave_out": [layer for layer in range(len(shape.layers)) if layer not in by_layer],
                "non_linearity": _NAMES.get(activation, activation),
                "scaling": scaling,
                # As ours: after the block, or beside it, before its residual; zero before training.
                "original_ln_before": False,
                "original_ln_after": True,
                "residual_before_ln": True,
                "adapter_residual_before_ln": False,
                "ln_before": False,
                "ln_after": False,
                "init_weights": "mam_adapter",
                "dropout": 0.0,
            }
        )
    return found


def reduction(hidden: int, width: int) -> float:
    """The factor that gives a width: the hidden size divided by it, of which the whole part is taken.

    >>> all(int(hidden // reduction(hidden, m)) == m for hidden in (30, 384, 768) for m in range(1, hidden + 1))
    True
    """
    factor = hidden / width
    return factor if int(hidden // factor) == width else math.nextafter(factor, 0)


def check_adapter(folder: Path) -> None:
    """That the configuration has no key that adapters does not know: it would take any.

    Raises:
        AssertionError: It has.
    """
    config = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["config"]
    for one in config["configs"] if config["architecture"] == "union" else [config]:
        check_known("adapters", {key: value for key, value in one.items() if key != "architecture"})


def read(content: Content, backbone: Backbone, steps: int) -> Recipe:
    """What files of `write` say; `steps` are the optimiser steps in all, which hang on the data."""
    adapter, model, arguments = content[ADAPTER], content[MODEL], content[ARGUMENTS]
    config = adapter["config"]
    names = {theirs: ours for ours, theirs in _NAMES.items()}
    modules = []
    for one in config["configs"] if config["architecture"] == "union" else [config]:
        options = {
            "position": "parallel" if one["is_parallel"] else "serial",
            "activation": names.get(one["non_linearity"], one["non_linearity"]),
            "scaling": one["scaling"],
        }
        sites = [site for site, where in _WHERE.items() if one[where]]
        for layer, factor in one["reduction_factor"].items():
            width = int(adapter["hidden_size"] // factor)
            modules += [one_at("bottleneck", width, (int(layer), site), options) for site in sites]
    changed = {name: value for name, value in model["arguments"].items() if name not in _HEAD}
    return Recipe(
        model=model["path"],
        modules=canonical(modules, backbone.layout),
        schedule=Schedule(
            learning_rate=arguments["learning_rate"],
            epochs=arguments["num_train_epochs"],
            batch_size=arguments["per_device_train_batch_size"],
            steps=steps,
            warmup_steps=read_warmup(arguments["warmup_steps"]),
            weight_decay=arguments["weight_decay"],
            max_grad_norm=arguments["max_grad_norm"],
            seed=arguments["seed"],
            max_length=model["max_length"],
            gradient_checkpointing=arguments["gradient_checkpointing"],
            bfloat16=arguments["bf16"],
        ),
        problem=model["problem"],
        architecture=adapter["model_type"],
        overrides=tuple(sorted((n, v) for n, v in changed.items() if not no_dropout(n, v))),
        dropout=tuple(sorted(n for n, v in changed.items() if no_dropout(n, v))),
    )


TRAIN = '''"""Trains the adapter of this folder on its data with AdapterHub's adapters VERSION. Run it in this folder."""

import json
from pathlib import Path

import adapters
import torch
import transformers

wanted = json.loads(Path("model.json").read_text())
parser = transformers.HfArgumentParser(transformers.TrainingArguments)
(arguments,) = parser.parse_json_file("training_args.json")
rows = [json.loads(line) for line in Path("data/train.jsonl").read_text().splitlines()]

transformers.set_seed(arguments.seed)
model = getattr(transformers, wanted["auto"]).from_pretrained(
    wanted["path"], ignore_mismatched_sizes=True, **wanted["arguments"]
)
model.config.pad_token_id = wanted["padding"]
adapters.init(model)
model.add_adapter("autopeft", config=adapters.AdapterConfig.load("adapter_config.json"))
model.train_adapter("autopeft")
if wanted["problem"] == "causal-lm":  # it keeps the head that it came with
    model.get_output_embeddings().requires_grad_(False)


def batch(rows):
    """Rows as tensors, padded on the right."""
    longest = max(len(row["input_ids"]) for row in rows)
    filler = {"input_ids": wanted["padding"], "labels": -100}

    def padded(name, value):
        if not isinstance(value, list):
            return value
        return value + [filler.get(name, 0)] * (longest - len(value))

    return {name: torch.tensor([padded(name, row[name]) for row in rows]) for name in rows[0]}


trainer = adapters.AdapterTrainer(model=model, args=arguments, train_dataset=rows, data_collator=batch)
trainer.train()
model.save_adapter("adapter", "autopeft")
'''.replace("VERSION", known("adapters")["version"])
"""The script that uses the three files."""
