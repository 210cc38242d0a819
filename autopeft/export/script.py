"""A self-contained training script: transformers, peft and torch, no autopeft.

The parts that train are written into it from our own source, so that it cannot drift from what a trial does.
"""

import dataclasses
import json
import math
import shutil
from importlib.metadata import version
from pathlib import Path

import transformers

from autopeft.backbones import STARTER, Backbone, load_backbone, model_path, reset_head
from autopeft.backbones.heads import find_head
from autopeft.backbones.storage import quantization
from autopeft.confirmation import Confirmed
from autopeft.dsl.describe import describe
from autopeft.export.data import write_splits
from autopeft.export.inline import Import, imports_of, inline
from autopeft.export.literal import docstring, literal
from autopeft.export.put_on import check_allocation, put_on_source
from autopeft.export.sequences import LOAD_TOKENIZER, Part, of_chats, sequence_part
from autopeft.nouns import OWN_HEAD, Study, Trial
from autopeft.recipe import TOLERANCE
from autopeft.tasks.batches import epoch_order, training_order
from autopeft.tasks.columns import SEQUENCES
from autopeft.tasks.direction import oriented
from autopeft.tasks.load import load_task
from autopeft.tasks.metrics import METRICS
from autopeft.tasks.task import Task, TaskSettings
from autopeft.train.loop import (
    Training,
    accumulate,
    autocast,
    counted,
    predict,
    rate_factor,
    step,
    train_epoch,
)
from autopeft.weights import Storage

_REQUIREMENTS = ("datasets", "numpy", "peft", "pillow", "scikit-learn", "scipy", "torch", "transformers")
# Initialisations of LoRA for which peft imports a package that it does not depend on, metrics with a package of their own, and more.
_REQUIRED_BY = {
    "corda": "attrs",
    "loftq": "bitsandbytes",
    "quantised": "bitsandbytes",
    "entity_f1": "seqeval",
    "bleu": "sacrebleu",
    "chrf": "sacrebleu",
    "chat": "jinja2",
}


def export_script(
    study: Study, trial: Trial, folder: Path, anew: Confirmed | None = None, *, lossy: bool = False
) -> None:
    """Write `train.py`, `requirements.txt`, the data as they were split and, for the starter, its backbone.

    Args:
        study: The trial's.
        trial: Complete.
        folder: Created.
        anew: What the configuration scored when it was trained anew, for the script's first words.
        lossy: Makes no difference: nothing near it is written.

    Raises:
        DataError, BackboneError: The study's data or backbone are not there any more, or have changed.
        InputError: The configuration depends on what a script does not have.
    """
    settings = study.settings
    task_settings = TaskSettings.from_json(settings["task"])
    task = load_task(task_settings)
    path = settings["backbone"]["path"]
    backbone = load_backbone(
        model_path(path),
        modality=task_settings.modality,
        problem=task_settings.problem,
        num_labels=task.num_labels,
        config_overrides=settings["backbone"]["overrides"],
        sites=settings["backbone"].get("sites"),
        storage=Storage.from_json(settings["backbone"].get("storage", {})),
    )
    script = _script(study, trial, anew, task, backbone)
    folder.mkdir(parents=True, exist_ok=True)
    write_splits(task, folder / "data")
    if path == STARTER:
        shutil.copytree(model_path(path), folder / "backbone", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "requirements.txt").write_text(
        _requirements(trial, task, quantised=backbone.storage.quantize is not None), encoding="utf-8"
    )
    (folder / "train.py").write_text(script, encoding="utf-8")


def _requirements(trial: Trial, task: Task, *, quantised: bool) -> str:
    used = {dict(module.options).get("init") for module in trial.plan.modules} | {task.settings.metric}
    if of_chats(task):
        used.add("chat")
    if quantised:
        used.add("quantised")
    further = {package for what, package in _REQUIRED_BY.items() if what in used}
    return "".join(
        f"{name}=={version(name).partition('+')[0]}\n" for name in sorted([*_REQUIREMENTS, *further])
    )


def _script(study: Study, trial: Trial, anew: Confirmed | None, task: Task, backbone: Backbone) -> str:
    settings = task.settings
    training = dataclasses.replace(
        Training(**study.settings["training"]),
        **dict(trial.plan.training),  # type: ignore[arg-type]
    )
    steps = training.epochs * math.ceil(len(task.train) / training.batch_size)
    check_allocation(trial.plan)
    put_on = put_on_source(trial.plan, backbone, steps)
    constants = {
        "MODEL": "backbone"
        if study.settings["backbone"]["path"] == STARTER
        else study.settings["backbone"]["path"],
        "MODEL_CONFIG": dict(study.settings["backbone"]["overrides"]),
        **({} if settings.problem in OWN_HEAD else {"NUM_LABELS": task.num_labels}),
        "HEAD": list(backbone.head),
        "MAX_LENGTH": min(settings.max_length, backbone.max_positions or settings.max_length),
        "SEED": trial.seed,
        "LEARNING_RATE": trial.plan.learning_rate,
        "EPOCHS": training.epochs,
        "TRAINED_EPOCHS": max(trial.scores, default=training.epochs),
        "BATCH_SIZE": training.batch_size,
        "WEIGHT_DECAY": training.weight_decay,
        "WARMUP_FRACTION": training.warmup_fraction,
        "MAX_GRAD_NORM": training.max_grad_norm,
        "ROWS_AT_ONCE": trial.details.get("rows_at_once"),
        "THREADS": trial.details.get("threads", 1),
        "STORED_SCORE": oriented(settings.metric, trial.score),
        "STORED_CONFIRMATION_SCORE": oriented(settings.metric, trial.measurements.get("confirmation_score")),
        "STORED_TEST_SCORE": oriented(settings.metric, trial.measurements.get("test_score")),
        "TOLERANCE": TOLERANCE,
    }
    auto = find_head(settings.modality, settings.problem).auto
    preprocessor = "AutoTokenizer" if settings.modality == "text" else "AutoImageProcessor"
    of_tokens = settings.problem in SEQUENCES
    part = (
        sequence_part(task, backbone, Training(**study.settings["training"]).batch_size)
        if of_tokens
        else _whole_part(task)
    )
    quantizing = ("BitsAndBytesConfig",) if backbone.storage.quantize is not None else ()
    if quantizing:
        config = backbone.model.config
        constants["QUANTIZATION"] = quantization(backbone.storage, getattr(transformers, auto), config)
    imports, sources = inline(
        [
            *put_on.wanted,
            reset_head,
            rate_factor,
            autocast,
            counted,
            accumulate,
            step,
            train_epoch,
            epoch_order,
            training_order,
            *part.wanted,
        ],
        {
            *imports_of(_IMPORTS),
            *part.imports,
            *put_on.imports,
            *(Import("transformers", name) for name in (auto, preprocessor, *quantizing)),
        },
    )
    loading = f"model_path(), dtype=torch.{backbone.storage.weights}, **MODEL_CONFIG"
    if backbone.storage.quantize is not None:
        loading += ', quantization_config=BitsAndBytesConfig(**QUANTIZATION), device_map={"": device}'
    elif backbone.storage.spread:
        loading += ', device_map="auto"'
    if settings.problem not in OWN_HEAD:
        loading = f"{loading}, num_labels=NUM_LABELS, ignore_mismatched_sizes=True"
    main = _MAIN.replace("AUTO_MODEL", auto).replace("LOADING", loading)
    parts = [
        _header(study, trial, anew, settings),
        imports,
        "HERE = Path(__file__).resolve().parent\n"
        + "".join(
            f"{name} = {literal(value, set())}\n" for name, value in {**constants, **part.constants}.items()
        ),
        *sources.values(),
        put_on.text,
        part.text,
        main.replace("    SCORE\n", part.score.lstrip("\n"))
        .replace("LOSS_OF", part.loss)
        .replace("ENCODED", part.encoded)
        .replace("    MOVE\n", "    model.to(device)\n" if backbone.storage.moves else ""),
    ]
    return "\n\n".join(part.strip("\n") + "\n" for part in parts)


def _whole_part(task: Task) -> Part:
    """Of a class or a value of a whole example: all logits of a split fit, and are scored at once."""
    metric = METRICS[task.settings.metric].score
    assert metric is not None
    predicted = "logits.argmax(axis=1)"
    if task.settings.problem == "regression":
        predicted = "logits[:, 0].astype(np.float64)"
    return Part(
        text="\n\n".join(
            [_TEXT + LOAD_TOKENIZER if task.settings.modality == "text" else _IMAGE, _loss(task.settings)]
        ),
        score=_SCORE.replace("PREDICTED", predicted).replace("METRIC", metric.__name__),
        loss='loss_function(data["train"].labels)',
        wanted=(predict, metric),
        imports=frozenset({Import("numpy", alias="np"), Import("torch.nn", "functional")}),
    )


def _header(study: Study, trial: Trial, anew: Confirmed | None, task: TaskSettings) -> str:
    described = describe(trial.plan, study.settings["backbone"]["layers"])
    modules = "\n".join(f"    {json.dumps(m.to_json())}" for m in trial.plan.modules) or "    no modules"
    return docstring(f"""{described}

Trial {trial.number} of the study '{study.name}', {trial.trainable:,} trainable parameters{"" if task.problem in OWN_HEAD else ", the task head not counted"}.
Its {task.metric} on the validation split was {oriented(task.metric, trial.score)!r}.{_anew(task.metric, anew)}

    pip install -r requirements.txt
    python train.py

trains it again, from the same seed on the same split, and checks that the score comes back: to the last digit on the
machine and versions of the search ({trial.details.get("threads", 1)} thread(s), torch {trial.details.get("torch", "?")}),
within {TOLERANCE} elsewhere. Written by autopeft; it does not need autopeft.

The modules:

{modules}
""")


def _anew(metric: str, anew: Confirmed | None) -> str:
    if anew is None:
        return ""
    error = "" if anew.standard_error is None else f" (standard error {anew.standard_error:.4f})"
    on = ", on examples that the search never saw" if anew.held_back else ""
    return f"\nTrained anew with {anew.seeds} further seeds it was {oriented(metric, anew.mean):.4f}{error} on average{on}."


_IMPORTS = """
import functools
import json
import math
import sys
from pathlib import Path

import torch
from datasets import load_dataset
"""

_TEXT = '''
class Encoded:
    """One split: token ids, padded batch by batch."""

    def __init__(self, data, preprocessor):
        second = list(data["text_pair"]) if "text_pair" in data.column_names else None
        limit = min(MAX_LENGTH, preprocessor.model_max_length)
        self.features = dict(preprocessor(list(data["text"]), second, truncation=True, max_length=limit))
        self.labels = torch.tensor(data["label"])
        self.preprocessor = preprocessor

    def __len__(self):
        return len(self.labels)

    @property
    def lengths(self):
        return torch.tensor([len(ids) for ids in self.features["input_ids"]])

    def evaluation_order(self):
        return torch.argsort(self.lengths, descending=True, stable=True)

    def batch(self, indices):
        picked = {name: [rows[i] for i in indices.tolist()] for name, rows in self.features.items()}
        return {**self.preprocessor.pad(picked, return_tensors="pt"), "labels": self.labels[indices]}

'''

_IMAGE = '''
class Encoded:
    """One split: pixel values."""

    def __init__(self, data, preprocessor):
        images = [image.convert("RGB") for image in data["image"]]
        self.pixel_values = preprocessor(images, return_tensors="pt")["pixel_values"].float()
        self.labels = torch.tensor(data["label"])

    def __len__(self):
        return len(self.labels)

    @property
    def lengths(self):
        return torch.ones(len(self.labels))

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


_SCORE = """
    def score(split):
        order = data[split].evaluation_order()
        logits = predict(runner, batches(split, order, 256)).numpy()
        return float(METRIC(PREDICTED, data[split].labels[order].numpy()))
"""

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
    data = {name: ENCODED(split, preprocessor) for name, split in splits.items()}
    model = AUTO_MODEL.from_pretrained(
        LOADING
    )
    if hasattr(preprocessor, "pad_token_id"):
        model.config.get_text_config().pad_token_id = preprocessor.pad_token_id
    model.requires_grad_(False)
    MOVE
    for path in HEAD:
        model.get_submodule(path).float()  # it is trained, whatever the frozen weights are

    def batches(split, order, size):
        for start in range(0, len(order), size):
            batch = data[split].batch(order[start : start + size])
            yield {name: tensor.to(device) for name, tensor in batch.items()}

    SCORE

    def first_inputs():
        for batch in batches("train", order(0), BATCH_SIZE):
            yield {name: tensor for name, tensor in batch.items() if name != "labels"}

    n = len(data["train"])
    order = functools.partial(training_order, data["train"].lengths, BATCH_SIZE, SEED)
    steps = EPOCHS * math.ceil(n / BATCH_SIZE)
    torch.manual_seed(SEED)
    reset_head(model, HEAD)
    runner, further = put_on(model, first_inputs)
    trained = [p for p in runner.parameters() if p.requires_grad] or [torch.nn.Parameter(torch.zeros(0))]
    runner.eval()  # frozen parts have no dropout
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    factor = functools.partial(rate_factor, steps=steps, warmup_fraction=WARMUP_FRACTION)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    gradients = functools.partial(accumulate, runner, LOSS_OF, rows=ROWS_AT_ONCE)
    for epoch in range(TRAINED_EPOCHS):
        training = batches("train", order(epoch), BATCH_SIZE)
        loss = train_epoch(optimizer, schedule, training, gradients, MAX_GRAD_NORM, *further)
        print(f"epoch {epoch + 1}: loss {loss:.4f}", flush=True)
    result = {"validation": score("validation"), "stored_validation": STORED_SCORE}
    if "confirmation" in data:
        result |= {"confirmation": score("confirmation"), "stored_confirmation": STORED_CONFIRMATION_SCORE}
    if "test" in data:
        result |= {"test": score("test"), "stored_test": STORED_TEST_SCORE}
    (HERE / "result.json").write_text(json.dumps(result, indent=2) + "\\n")
    print(json.dumps(result))
    if abs(result["validation"] - STORED_SCORE) > TOLERANCE * max(1, abs(STORED_SCORE)):
        sys.exit(f"the score did not come back within {TOLERANCE}")


if __name__ == "__main__":
    main()
'''
