"""A configuration file of Axolotl: LoRA by paths, with ranks and alphas that may differ from place to place."""

import re

from autopeft.backbones import Backbone
from autopeft.export.lora import lora_modules, lora_places, most_frequent, read_warmup, written_warmup
from autopeft.export.recipe import Content, Recipe, Schedule, spots

FILE = "axolotl.yml"


def write(recipe: Recipe, backbone: Backbone) -> Content:
    """The file."""
    first, places = recipe.modules[0], lora_places(recipe, backbone.layout)
    rank, alpha = most_frequent(places)
    # Keys are regular expressions, the first that fits: escaped full paths, so that no two fit one map.
    ranks = {re.escape(path): r for path, (r, _) in places.items() if r != rank}
    alphas = {re.escape(path): a for path, (_, a) in places.items() if a != alpha}
    at = [backbone.layout.shape.place(*spot) for module in recipe.modules for spot in spots(module)]
    transposed = any(place is not None and place.transposed for place in at)
    schedule, init = recipe.schedule, first.option("init")
    keys = {
        "base_model": recipe.model,
        "adapter": "lora",
        "lora_r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "lora_target_modules": list(places),
        **({"lora_rank_pattern": ranks} if ranks else {}),
        **({"lora_alpha_pattern": alphas} if alphas else {}),
        **({"lora_fan_in_fan_out": True} if transposed else {}),
        "peft_use_dora": first.option("dora"),
        "peft_use_rslora": first.option("rslora"),
        "peft_init_lora_weights": True if init == "default" else init,
        # Without a type the columns are taken as they are: token ids.
        "datasets": [{"path": "data/train.jsonl", "ds_type": "json"}],
        "test_datasets": [{"path": "data/validation.jsonl", "ds_type": "json", "split": "train"}],
        "dataset_prepared_path": "prepared",
        "val_set_size": 0.0,
        "sequence_len": schedule.max_length,
        "sample_packing": False,
        "pad_to_sequence_len": False,
        "learning_rate": schedule.learning_rate,
        "lr_scheduler": "linear",
        "warmup_steps": written_warmup(schedule),
        "num_epochs": schedule.epochs,
        "micro_batch_size": schedule.batch_size,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": schedule.gradient_checkpointing,
        "optimizer": "adamw_torch",
        "weight_decay": schedule.weight_decay,
        "max_grad_norm": schedule.max_grad_norm,
        "seed": schedule.seed,
        "bf16": schedule.bfloat16,
        "fp16": False,
        "tf32": False,
        "evals_per_epoch": 1,
        "output_dir": "adapter",
    }
    return {FILE: keys}


def read(content: Content, backbone: Backbone, steps: int) -> Recipe:
    """What a file of `write` says; `steps` are the optimiser steps in all, which hang on the data."""
    keys = content[FILE]
    ranks, alphas = keys.get("lora_rank_pattern", {}), keys.get("lora_alpha_pattern", {})
    places = {
        path: (
            ranks.get(re.escape(path), keys["lora_r"]),
            alphas.get(re.escape(path), keys["lora_alpha"]),
        )
        for path in keys["lora_target_modules"]
    }
    init = keys["peft_init_lora_weights"]
    options = {
        "dora": keys["peft_use_dora"],
        "rslora": keys["peft_use_rslora"],
        "init": "default" if init is True else init,
    }
    return Recipe(
        model=keys["base_model"],
        modules=lora_modules(places, options, backbone.layout),
        schedule=Schedule(
            learning_rate=keys["learning_rate"],
            epochs=keys["num_epochs"],
            batch_size=keys["micro_batch_size"],
            steps=steps,
            warmup_steps=read_warmup(keys["warmup_steps"]),
            weight_decay=keys["weight_decay"],
            max_grad_norm=keys["max_grad_norm"],
            seed=keys["seed"],
            max_length=keys["sequence_len"],
            gradient_checkpointing=keys["gradient_checkpointing"],
            bfloat16=keys["bf16"],
        ),
        weights="bfloat16" if keys["bf16"] else "float32",
    )
