"""What a person writes today, by the documentation of Ray Tune, transformers' Trainer and peft.

A function trainable loads model and data, wraps the model with `get_peft_model`, trains it with `Trainer` and reports;
`Tuner.fit` runs it over a list of configurations, each in a process of its own. `Trainer` has the model in training mode, dropout
included, and makes batches of texts in random order.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers.trials import Setting


def train(setting: Setting, config: dict[str, Any], loaded: Any = None) -> dict[str, float]:
    """One trial.

    Args:
        setting: What all trials share.
        config: `rank`, `target_modules` and `learning_rate`.
        loaded: A backbone to use again; None to load it.

    Returns:
        `score` on the validation split, `steps`, and `peak_bytes` of this process.
    """
    import resource

    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainingArguments, set_seed

    torch.set_num_threads(1)
    set_seed(0)
    splits, collate = load_data(setting)
    lora = LoraConfig(
        r=config["rank"],
        lora_alpha=2 * config["rank"],
        target_modules=config["target_modules"],
        modules_to_save=list(setting.head),
    )
    model = get_peft_model(load_model(setting) if loaded is None else loaded, lora)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=setting.epochs,
            per_device_train_batch_size=setting.batch_size,
            per_device_eval_batch_size=256,
            learning_rate=config["learning_rate"],
            lr_scheduler_type="linear",
            warmup_steps=0.1,
            weight_decay=0.01,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            seed=0,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=splits["train"],
            eval_dataset=splits["validation"],
            data_collator=collate,
            compute_metrics=lambda p: {"score": float((np.argmax(p.predictions, -1) == p.label_ids).mean())},
        )
        steps = trainer.train().global_step
        score = trainer.evaluate()["eval_score"]
    if loaded is not None:
        model.unload()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"score": score, "steps": float(steps), "peak_bytes": float(peak)}


def load_model(setting: Setting) -> Any:
    """The backbone with a new head."""
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    text = setting.modality == "text"
    auto = AutoModelForSequenceClassification if text else AutoModelForImageClassification
    return auto.from_pretrained(
        setting.model, num_labels=setting.num_labels, ignore_mismatched_sizes=True, **setting.overrides
    )


def load_data(setting: Setting) -> tuple[Any, Any]:
    """The splits, tokenised or as pixels, and what makes a batch of examples."""
    import torch
    from datasets import load_dataset
    from transformers import AutoImageProcessor, AutoTokenizer, DataCollatorWithPadding

    files = {
        split: str(Path(setting.folder) / "data" / f"{split}.parquet") for split in ("train", "validation")
    }
    splits = load_dataset("parquet", data_files=files)
    if setting.modality == "text":
        tokenizer = AutoTokenizer.from_pretrained(setting.model)

        def tokenize(rows: Any) -> Any:
            return tokenizer(rows["text"], truncation=True, max_length=setting.max_length)

        return splits.map(tokenize, batched=True), DataCollatorWithPadding(tokenizer)
    processor = AutoImageProcessor.from_pretrained(setting.model)

    def process(rows: Any) -> Any:
        images = [image.convert("RGB") for image in rows["image"]]
        return {"pixel_values": processor(images, return_tensors="np")["pixel_values"]}

    def collate(rows: Any) -> Any:
        return {
            "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
            "labels": torch.tensor([int(row["label"]) for row in rows]),
        }

    return splits.map(process, batched=True, remove_columns=["image"]).with_format("torch"), collate


def run_with_ray(setting: Setting, configs: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """All trials, one at a time, each in the process that Ray Tune starts for it."""
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        tune.report(train(setting, config["trial"]))

    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"trial": tune.grid_search(list(configs))},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(Path(setting.folder) / "ray"), verbose=0),
    )
    return [dict(result.metrics or {}) for result in tuner.fit()]


def run_in_one_process(setting: Setting, configs: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """All trials with `Trainer` on one backbone; its head begins where the last trial left it no more than in a new process."""
    import copy

    model = load_model(setting)
    heads = {path: copy.deepcopy(model.get_submodule(path)) for path in setting.head}
    found = []
    for config in configs:
        found.append(train(setting, config, loaded=model))
        for path, head in heads.items():
            model.set_submodule(path, copy.deepcopy(head))
    return found
