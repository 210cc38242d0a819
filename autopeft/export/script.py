"""A self-contained training script: transformers, peft and torch, no autopeft.

The parts that train are written into it from our own source, so that it cannot drift from what a trial does.
"""

import inspect
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autopeft.adapters import bottleneck, prefix
from autopeft.adapters.attach import head_roots, lora_config
from autopeft.backbones import STARTER, Backbone, load_backbone, model_path, reset_head
from autopeft.dsl.describe import describe
from autopeft.export.data import write_splits
from autopeft.nouns import Module, Study, Trial
from autopeft.tasks.batches import epoch_order
from autopeft.tasks.load import load_task
from autopeft.tasks.metrics import METRICS
from autopeft.tasks.task import TaskSettings
from autopeft.train.loop import Training, predict, rate_factor, train_epoch

TOLERANCE = 0.01
"""How far the script's score may be from the stored one. On the machine, thread count and versions of the search it
is the same to the last digit on a CPU; elsewhere sums are added in another order."""

_REQUIREMENTS = ("datasets", "numpy", "peft", "pillow", "scikit-learn", "scipy", "torch", "transformers")


def export_script(study: Study, trial: Trial, folder: Path) -> None:
    """Write `train.py`, `requirements.txt`, the data as they were split and, for the starter, its backbone.

    Raises:
        DataError, BackboneError: The study's data or backbone are not there any more, or have changed.
    """
    settings = study.settings
    task_settings = TaskSettings.from_json(settings["task"])
    task = load_task(task_settings)
    path = settings["backbone"]["path"]
    backbone = load_backbone(
        model_path(path),
        modality=task_settings.modality,
        num_labels=task.num_labels,
        regression=task_settings.problem == "regression",
        config_overrides=settings["backbone"]["overrides"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_splits(task, folder / "data")
    if path == STARTER:
        shutil.copytree(model_path(path), folder / "backbone", ignore=shutil.ignore_patterns("__pycache__"))
    pins = "".join(f"{name}=={version(name).partition('+')[0]}\n" for name in _REQUIREMENTS)
    (folder / "requirements.txt").write_text(pins, encoding="utf-8")
    (folder / "train.py").write_text(_script(study, trial, task_settings, backbone), encoding="utf-8")


def _script(study: Study, trial: Trial, task: TaskSettings, backbone: Backbone) -> str:
    modules = trial.configuration.modules
    own = [m for m in modules if m.type != "lora"]
    training = Training(**study.settings["training"])
    test = trial.measurements.get("test_score")
    constants = {
        "MODEL": "backbone"
        if study.settings["backbone"]["path"] == STARTER
        else study.settings["backbone"]["path"],
        "MODEL_CONFIG": dict(study.settings["backbone"]["overrides"]),
        "NUM_LABELS": task.num_labels,
        "HEAD": list(backbone.head),
        "MAX_LENGTH": min(task.max_length, backbone.max_positions or task.max_length),
        "SEED": trial.seed,
        "LEARNING_RATE": trial.configuration.learning_rate,
        "EPOCHS": training.epochs,
        "BATCH_SIZE": training.batch_size,
        "WEIGHT_DECAY": training.weight_decay,
        "WARMUP_FRACTION": training.warmup_fraction,
        "MAX_GRAD_NORM": training.max_grad_norm,
        "THREADS": trial.details.get("threads", 1),
        "STORED_SCORE": trial.score,
        "STORED_TEST_SCORE": test,
        "TOLERANCE": TOLERANCE,
    }
    parts = [
        _header(study, trial, task),
        _imports(modules, task),
        "HERE = Path(__file__).resolve().parent\n"
        + "".join(f"{name} = {value!r}\n" for name, value in constants.items()),
        *_module_sources(own),
        *[inspect.getsource(f) for f in (reset_head, rate_factor, train_epoch, predict, epoch_order)],
        inspect.getsource(METRICS[task.metric].score).replace(
            METRICS[task.metric].score.__name__, "metric", 1
        ),
        _put_on(modules, backbone),
        _TEXT if task.modality == "text" else _IMAGE,
        _loss(task),
        _MAIN.replace("AUTO_MODEL", _auto(task)).replace(
            "PREDICTED",
            "logits.argmax(axis=1)"
            if task.problem == "classification"
            else "logits[:, 0].astype(np.float64)",
        ),
    ]
    return "\n\n".join(part.strip("\n") + "\n" for part in parts)


def _auto(task: TaskSettings) -> str:
    return (
        "AutoModelForSequenceClassification" if task.modality == "text" else "AutoModelForImageClassification"
    )


def _header(study: Study, trial: Trial, task: TaskSettings) -> str:
    described = describe(trial.configuration, study.settings["backbone"]["layers"])
    modules = (
        "\n".join(f"    {json.dumps(m.to_json())}" for m in trial.configuration.modules) or "    no modules"
    )
    return f'''"""{described}

Trial {trial.number} of the study '{study.name}', {trial.trainable:,} trainable parameters, the task head not counted.
Its {task.metric} on the validation split was {trial.score!r}.

    pip install -r requirements.txt
    python train.py

trains it again, from the same seed on the same split, and checks that the score comes back: to the last digit on the
machine and versions of the search ({trial.details.get("threads", 1)} thread(s), torch {trial.details.get("torch", "?")}),
within {TOLERANCE} elsewhere. Written by autopeft; it does not need autopeft.

The modules:

{modules}
"""'''


_IMPORTS = """
import functools
import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
"""

_IMPORTS_OF = {
    "correlation": "import warnings\n",
    "lora": "from peft import LoraConfig, get_peft_model\n",
    "bottleneck": "from torch.utils.hooks import RemovableHandle\n",
    "prefix": """from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
""",
}


def _imports(modules: tuple[Module, ...], task: TaskSettings) -> str:
    """What this script needs, and no more."""
    preprocessor = "AutoTokenizer" if task.modality == "text" else "AutoImageProcessor"
    needed = {m.type for m in modules} | ({"correlation"} if task.problem == "regression" else set())
    special = "".join(text for name, text in _IMPORTS_OF.items() if name in needed)
    return f"{_IMPORTS}from transformers import {_auto(task)}, {preprocessor}\n{special}"


def _module_sources(own: list[Module]) -> list[str]:
    found: list[Callable[..., Any]] = []
    types = {m.type for m in own}
    if "bottleneck" in types:
        found += [bottleneck.Bottleneck, bottleneck.attach_serial, bottleneck.attach_parallel]
    sources = [inspect.getsource(f) for f in found]
    if "prefix" in types:
        functions: tuple[Callable[..., Any], ...] = (
            prefix.Prefix,
            prefix.attach_prefix,
            prefix._look_for_prefixes,
            prefix._prefixed,
        )
        sources += [f"_NAME = {prefix._NAME!r}\n", *[inspect.getsource(f) for f in functions]]
    return sources


def _put_on(modules: tuple[Module, ...], backbone: Backbone) -> str:
    """The function that puts the modules on, each by the path it has in this backbone."""
    layout, model = backbone.layout, backbone.model
    roots = head_roots(backbone.head, model.base_model_prefix)
    lines = [
        "def put_on(model):",
        '    """Put the modules on the frozen model, identity before training, and unfreeze the head."""',
    ]
    lora = next((m for m in modules if m.type == "lora"), None)
    if lora is not None:
        config = lora_config(model, lora, layout, roots, text=backbone.text)
        lines += [
            "    config = LoraConfig(",
            f"        r={config.r},",
            f"        lora_alpha={config.lora_alpha},",
            f"        target_modules={sorted(config.target_modules)!r},",
            f"        modules_to_save={list(roots)!r},",
            f"        fan_in_fan_out={config.fan_in_fan_out},",
            f"        task_type={'SEQ_CLS' if backbone.text else None!r},",
            "    )",
            "    get_peft_model(model, config)",
        ]
    else:
        lines += [
            f"    for path in {list(roots)!r}:",
            "        model.get_submodule(path).requires_grad_(True)",
        ]
    lines.append("    modules = nn.ModuleDict()")
    for module in modules:
        for layer in module.layers if module.type != "lora" else ():
            where = layout.layers[layer]
            if module.type == "prefix":
                name, width = f"layer{layer}_prefix", layout.shape.layers[layer].prefix_width
                lines += [
                    f"    modules[{name!r}] = Prefix({module.size}, {width})",
                    f"    attach_prefix(modules[{name!r}], model, model.get_submodule({where.attention!r}))",
                ]
                continue
            position = module.option("position")
            name = f"layer{layer}_{position}"
            first, last = where.sites["up"], where.sites["down"]
            places = f"model.get_submodule({last!r})"
            if position == "parallel":
                places = f"model.get_submodule({first!r}), {places}"
            lines += [
                f"    modules[{name!r}] = Bottleneck({layout.shape.hidden}, {module.size})",
                f"    attach_{position}(modules[{name!r}], {places})",
            ]
    lines.append(
        '    model.add_module("autopeft_modules", modules.to(device=model.device, dtype=model.dtype))'
    )
    return "\n".join(lines) + "\n"


_TEXT = '''
class Encoded:
    """One split: token ids, padded batch by batch."""

    def __init__(self, data, preprocessor):
        second = list(data["text_pair"]) if "text_pair" in data.column_names else None
        limit = min(MAX_LENGTH, preprocessor.model_max_length)
        self.features = dict(preprocessor(list(data["text"]), second, truncation=True, max_length=limit))
        self.labels = torch.tensor(data["label"])
        self.preprocessor = preprocessor

    def evaluation_order(self):
        lengths = torch.tensor([len(ids) for ids in self.features["input_ids"]])
        return torch.argsort(lengths, descending=True, stable=True)

    def batch(self, indices):
        picked = {name: [rows[i] for i in indices.tolist()] for name, rows in self.features.items()}
        return {**self.preprocessor.pad(picked, return_tensors="pt"), "labels": self.labels[indices]}


def load_preprocessor():
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
'''

_IMAGE = '''
class Encoded:
    """One split: pixel values."""

    def __init__(self, data, preprocessor):
        images = [image.convert("RGB") for image in data["image"]]
        self.pixel_values = preprocessor(images, return_tensors="pt")["pixel_values"].float()
        self.labels = torch.tensor(data["label"])

    def evaluation_order(self):
        return torch.arange(len(self.labels))

    def batch(self, indices):
        return {"pixel_values": self.pixel_values[indices], "labels": self.labels[indices]}


def load_preprocessor():
    return AutoImageProcessor.from_pretrained(model_path())
'''


def _loss(task: TaskSettings) -> str:
    if task.problem == "classification":
        return "def loss_function(labels):\n    return functional.cross_entropy\n"
    return '''
def loss_function(labels):
    """Squared error on standardised targets: correlations do not see the scale."""
    mean, deviation = float(labels.double().mean()), max(float(labels.double().std()), 1e-12)
    return lambda logits, targets: functional.mse_loss(
        logits.squeeze(-1), (targets.float() - mean) / deviation
    )
'''


_MAIN = '''
def model_path():
    """A folder beside this script, or a path or hub id of its own."""
    return str(HERE / MODEL) if (HERE / MODEL).is_dir() else MODEL


def main():
    torch.set_num_threads(THREADS)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    files = {path.stem: str(path) for path in sorted((HERE / "data").glob("*.parquet"))}
    splits = load_dataset("parquet", data_files=files)
    preprocessor = load_preprocessor()
    data = {name: Encoded(split, preprocessor) for name, split in splits.items()}
    model = AUTO_MODEL.from_pretrained(
        model_path(), num_labels=NUM_LABELS, ignore_mismatched_sizes=True, dtype=torch.float32, **MODEL_CONFIG
    )
    if hasattr(preprocessor, "pad_token_id"):
        model.config.get_text_config().pad_token_id = preprocessor.pad_token_id
    model.requires_grad_(False)
    model.to(device)

    torch.manual_seed(SEED)
    reset_head(model, HEAD)
    put_on(model)

    def batches(split, order, size):
        for start in range(0, len(order), size):
            batch = data[split].batch(order[start : start + size])
            yield {name: tensor.to(device) for name, tensor in batch.items()}

    def score(split):
        order = data[split].evaluation_order()
        logits = predict(model, batches(split, order, 256)).numpy()
        return float(metric(PREDICTED, data[split].labels[order].numpy()))

    n = len(data["train"].labels)
    steps = EPOCHS * math.ceil(n / BATCH_SIZE)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    factor = functools.partial(rate_factor, steps=steps, warmup_fraction=WARMUP_FRACTION)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    loss_of = loss_function(data["train"].labels)
    for epoch in range(EPOCHS):
        order = epoch_order(n, SEED, epoch)
        loss = train_epoch(model, optimizer, schedule, batches("train", order, BATCH_SIZE), loss_of, MAX_GRAD_NORM)
        print(f"epoch {epoch + 1}: loss {loss:.4f}", flush=True)
    result = {"validation": score("validation"), "stored_validation": STORED_SCORE}
    if "test" in data:
        result |= {"test": score("test"), "stored_test": STORED_TEST_SCORE}
    (HERE / "result.json").write_text(json.dumps(result, indent=2) + "\\n")
    print(json.dumps(result))
    if abs(result["validation"] - STORED_SCORE) > TOLERANCE:
        sys.exit(f"the score did not come back within {TOLERANCE}")


if __name__ == "__main__":
    main()
'''
