"""A configuration file of `trl sft`: LoRA of one rank, by paths."""

from autopeft.backbones import Backbone
from autopeft.export.lora import lora_modules, lora_places, read_warmup, written_warmup
from autopeft.export.recipe import Content, Recipe, Schedule, no_dropout

FILE = "sft.yml"


def write(recipe: Recipe, backbone: Backbone) -> Content:
    """The file."""
    first, paths = recipe.modules[0], lora_places(recipe, backbone.layout)
    schedule = recipe.schedule
    changed = {**dict(recipe.overrides), **dict.fromkeys(recipe.dropout, 0.0)}
    keys = {
        "model_name_or_path": recipe.model,
        "dtype": recipe.weights,
        **({"model_init_kwargs": changed} if changed else {}),
        "use_peft": True,
        "lora_task_type": "CAUSAL_LM",
        "lora_r": first.size,
        "lora_alpha": first.option("alpha"),
        "lora_dropout": 0.0,
        "use_dora": first.option("dora"),
        "use_rslora": first.option("rslora"),
        # trl takes a list of one for a regular expression: a path is one that matches itself.
        "lora_target_modules": list(paths),
        "dataset_name": "data",
        "dataset_train_split": "train",
        "dataset_test_split": "validation",
        "max_length": schedule.max_length,
        "packing": False,
        "learning_rate": schedule.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": written_warmup(schedule),
        "num_train_epochs": schedule.epochs,
        "per_device_train_batch_size": schedule.batch_size,
        "per_device_eval_batch_size": schedule.batch_size,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": schedule.gradient_checkpointing,
        "optim": "adamw_torch",
        "weight_decay": schedule.weight_decay,
        "max_grad_norm": schedule.max_grad_norm,
        "seed": schedule.seed,
        "bf16": schedule.bfloat16,
        "fp16": False,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "report_to": "none",
        "output_dir": "adapter",
    }
    return {FILE: keys}


def read(content: Content, backbone: Backbone, steps: int) -> Recipe:
    """What a file of `write` says.

    Args:
        content: Its keys.
        layout: The backbone's.
        steps: Optimiser steps in all, which hang on the data.
    """
    keys = content[FILE]
    rank, alpha = keys["lora_r"], keys["lora_alpha"]
    options = {"dora": keys["use_dora"], "rslora": keys["use_rslora"], "init": "default"}
    places = dict.fromkeys(keys["lora_target_modules"], (rank, alpha))
    changed = keys.get("model_init_kwargs", {})
    return Recipe(
        model=keys["model_name_or_path"],
        modules=lora_modules(places, options, backbone.layout),
        schedule=Schedule(
            learning_rate=keys["learning_rate"],
            epochs=keys["num_train_epochs"],
            batch_size=keys["per_device_train_batch_size"],
            steps=steps,
            warmup_steps=read_warmup(keys["warmup_steps"]),
            weight_decay=keys["weight_decay"],
            max_grad_norm=keys["max_grad_norm"],
            seed=keys["seed"],
            max_length=keys["max_length"],
            gradient_checkpointing=keys["gradient_checkpointing"],
            bfloat16=keys["bf16"],
        ),
        weights=keys["dtype"],
        overrides=tuple(sorted((n, v) for n, v in changed.items() if not no_dropout(n, v))),
        dropout=tuple(sorted(n for n, v in changed.items() if no_dropout(n, v))),
    )
