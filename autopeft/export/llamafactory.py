"""A configuration file of LLaMA-Factory: LoRA of one rank, by paths."""

from autopeft.backbones import Backbone
from autopeft.export.lora import lora_modules, lora_places, read_warmup, written_warmup
from autopeft.export.recipe import Content, Recipe, Schedule

FILE = "llamafactory.yml"


def write(recipe: Recipe, backbone: Backbone) -> Content:
    """The file."""
    first, schedule = recipe.modules[0], recipe.schedule
    init = {"pissa_init": True, "pissa_iter": -1} if first.option("init") == "pissa" else {}
    keys = {
        "model_name_or_path": recipe.model,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": first.size,
        "lora_alpha": first.option("alpha"),
        "lora_dropout": 0.0,
        # Split at commas; peft then takes each for the end of a path.
        "lora_target": ",".join(lora_places(recipe, backbone.layout)),
        "use_dora": first.option("dora"),
        "use_rslora": first.option("rslora"),
        **init,
        # What is in the folder goes before what `dataset` names, but it asks for a name.
        "tokenized_path": "data",
        "dataset": "study",
        "template": "empty",
        "cutoff_len": schedule.max_length,
        "learning_rate": schedule.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": written_warmup(schedule),
        "num_train_epochs": schedule.epochs,
        "per_device_train_batch_size": schedule.batch_size,
        "gradient_accumulation_steps": 1,
        "disable_gradient_checkpointing": not schedule.gradient_checkpointing,
        "optim": "adamw_torch",
        "weight_decay": schedule.weight_decay,
        "max_grad_norm": schedule.max_grad_norm,
        "seed": schedule.seed,
        "bf16": schedule.bfloat16,
        "infer_dtype": recipe.weights,
        "save_strategy": "no",
        "report_to": "none",
        "output_dir": "adapter",
    }
    return {FILE: keys}


def read(content: Content, backbone: Backbone, steps: int) -> Recipe:
    """What a file of `write` says; `steps` are the optimiser steps in all, which hang on the data."""
    keys = content[FILE]
    numbers = (keys["lora_rank"], keys["lora_alpha"])
    options = {
        "dora": keys["use_dora"],
        "rslora": keys["use_rslora"],
        "init": "pissa" if keys.get("pissa_init") else "default",
    }
    return Recipe(
        model=keys["model_name_or_path"],
        modules=lora_modules(
            dict.fromkeys(keys["lora_target"].split(","), numbers), options, backbone.layout
        ),
        schedule=Schedule(
            learning_rate=keys["learning_rate"],
            epochs=keys["num_train_epochs"],
            batch_size=keys["per_device_train_batch_size"],
            steps=steps,
            warmup_steps=read_warmup(keys["warmup_steps"]),
            weight_decay=keys["weight_decay"],
            max_grad_norm=keys["max_grad_norm"],
            seed=keys["seed"],
            max_length=keys["cutoff_len"],
            gradient_checkpointing=not keys["disable_gradient_checkpointing"],
            bfloat16=keys["bf16"],
        ),
        weights=keys["infer_dtype"],
    )
