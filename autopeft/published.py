"""The published results of Hugging Face peft's method comparison, as studies that are only read.

Each file of its `results` folders is one run: a configuration of peft, trained once on one GPU. A run becomes a complete
trial, with what the file says of it as measurements. The files do not say how many layers a model has nor which of its maps a
default means, so that a run's configuration is one module on the whole model, with the experiment's name for an option, and
peft's own configuration is in the trial's details, untouched.

Source: https://github.com/huggingface/peft, folder `method_comparison`; the keys are those of its `utils.py`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.errors import InputError
from autopeft.naming import at_home
from autopeft.nouns import Configuration, Module, Study, TrialKind
from autopeft.registry import find_objective, recorded
from autopeft.settings import IMPORTED
from autopeft.store import Repository

KIND = "peft-comparison"
"""What studies that were made here say of themselves."""

PUBLISHED = "published"
"""In a trial's details: the file's own words."""

FULL = "full-finetuning"
"""The type of a run that trains all parameters, without a configuration of peft."""


@dataclass(frozen=True)
class _Benchmark:
    """One of the comparison's tasks, told by what its last metrics hold."""

    name: str
    score: str
    data: str
    modality: str
    problem: str
    forgetting: str
    forgetting_title: str


_BENCHMARKS = (
    _Benchmark(
        "metamathqa", "test accuracy", "MetaMathQA, GSM8K", "text", "causal-lm", "forgetting", "Forgetting (loss)"
    ),
    _Benchmark(
        "image-gen", "test dino_similarity", "DreamBooth", "image", "image-generation", "drift", "Drift"
    ),
)  # fmt: skip

# The keys of 2026, and those that files before mid-July 2025 have.
_MEMORY = ("accelerator_memory_max", "cuda_memory_max")


@dataclass(frozen=True)
class Run:
    """One file.

    Attributes:
        benchmark: The task.
        experiment: Its name there, such as `lora/llama-3.2-3B-rank32`.
        created_at: When it was run, UTC, ISO 8601.
        configuration: See the module.
        seed: Of the run.
        model: Hub id.
        parameters: Of model and adapter together.
        trainable: Trained parameters.
        failure: Why it is no complete run; empty if it is one.
        score: Of the task's metric on its test examples.
        values: The further measurements, by the objectives' names.
        details: Its experiment, date, machine and versions; under `PUBLISHED` what else the file says, untouched.
    """

    benchmark: _Benchmark
    experiment: str
    created_at: str
    configuration: Configuration
    seed: int
    model: str
    parameters: int
    trainable: int
    failure: str
    score: float
    values: Mapping[str, float]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Imported:
    """What became of one task's runs.

    Attributes:
        study: Its name.
        task: `metamathqa` or `image-gen`.
        added: Trials that are new.
        known: Runs that the study had already.
        other: Experiments of which the study has a run of another date; that one stays.
        left_out: Files that are no result, or lack what a trial has, with the reason; they are of no study.
    """

    study: str
    task: str
    added: int
    known: int
    other: tuple[str, ...]
    left_out: Mapping[str, str]


def import_peft_comparison(repository: Repository, folder: str | Path, name: str = "peft") -> list[Imported]:
    """Read a folder of results into a study for each task; what is there already stays as it is.

    Args:
        repository: The database.
        folder: A checkout of peft, its `method_comparison`, or any folder that has the result files somewhere inside. Of several
            runs of one experiment the newest is taken, as the comparison's own page does.
        name: What the studies' names begin with.

    Raises:
        InputError: There is no result in the folder, a study of a name is no import, or a task's runs are of several models.
    """
    runs, left_out = read_runs(at_home(folder))
    found = []
    for benchmark in _BENCHMARKS:
        of = [run for run in runs if run.benchmark is benchmark]
        if of:
            study = _study(repository, f"{name}-{benchmark.name}", of)
            found.append(_add(repository, study, of, left_out))
    return found


def read_runs(folder: Path) -> tuple[list[Run], dict[str, str]]:
    """The newest run of each experiment below a folder, the oldest first, and why other files were left out.

    Raises:
        InputError: There is no such folder, or no result in it.
    """
    if not folder.is_dir():
        raise InputError(
            f"there is no folder '{folder}'.", "Name a checkout of peft, or its method_comparison."
        )
    newest: dict[tuple[str, str, int], Run] = {}
    left_out = {}
    for path in _files(folder):
        try:
            run = _run(json.loads(path.read_text(encoding="utf-8")))
        except (
            OSError,
            UnicodeDecodeError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
        ) as error:
            left_out[str(path.relative_to(folder))] = _why(error)
            continue
        key = (run.benchmark.name, run.experiment, run.seed)
        if key not in newest or newest[key].created_at < run.created_at:
            newest[key] = run
    if not newest:
        first = next(iter(left_out.items()), None)
        such = f" Of '{first[0]}': {first[1]}." if first else " It has no JSON files of results."
        raise InputError(
            f"'{folder}' holds no results of peft's method comparison.{such}",
            "They are in method_comparison/*/results of https://github.com/huggingface/peft.",
        )
    return sorted(newest.values(), key=lambda run: (run.created_at, run.experiment)), left_out


def _files(folder: Path) -> Iterator[Path]:
    """The JSON files in folders called `results` below it; where there are none, those in the folder itself."""
    results = [path for path in sorted(folder.rglob("results")) if path.is_dir()]
    for path in results or [folder]:
        yield from sorted(path.glob("*.json"))


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    return "it is no JSON" if isinstance(error, json.JSONDecodeError) else f"{error}" or "it cannot be read"


def _run(content: Mapping[str, Any]) -> Run:
    """Raises: KeyError, TypeError, ValueError, IndexError, AttributeError: it is no result, or lacks what a trial has."""
    about, trained = content["run_info"], content["train_info"]
    metrics = trained["metrics"]
    last = metrics[-1] if metrics else {}
    benchmark = next((one for one in _BENCHMARKS if one.score in last), None)
    if benchmark is None:
        raise ValueError(f"its last metrics have none of {', '.join(one.score for one in _BENCHMARKS)}")
    how, config = about["train_config"], about["peft_config"]
    status, score = trained["status"], float(last[benchmark.score])
    failure = "" if status == "success" else (about.get("error_msg") or f"its status is {status}")
    values = {
        "training_memory_bytes": next((trained[key] for key in _MEMORY if key in trained), None),
        "training_seconds": trained["train_time"],
        "seconds": about["total_time"],
        "adapter_bytes": trained["file_size"],
        "train_loss": last.get("train loss"),
        benchmark.forgetting: last.get(benchmark.forgetting),
    }
    versions = content["meta_info"]["package_info"]
    return Run(
        benchmark=benchmark,
        experiment=about["experiment_name"],
        created_at=about["created_at"],
        configuration=_configuration(about["experiment_name"], config, how),
        seed=int(how["seed"]),
        model=how["model_id"],
        parameters=int(trained["num_total_params"]),
        trainable=int(trained["num_trainable_params"]),
        failure=failure,
        score=score,
        values={name: float(value) for name, value in values.items() if value is not None},
        details={
            "experiment": about["experiment_name"],
            "created_at": about["created_at"],
            "device": content["meta_info"]["system_info"].get("accelerator"),
            **{name: versions.get(f"{name}-version") for name in ("torch", "transformers", "peft")},
            PUBLISHED: {
                "peft_config": config,
                "train_config": how,
                "train_info": {**trained, "metrics": [_finite(one) for one in metrics]},
                "meta_info": {name: v for name, v in content["meta_info"].items() if name != "pytorch_info"},
            },
        },
    )


def _configuration(
    experiment: str, config: Mapping[str, Any] | None, how: Mapping[str, Any]
) -> Configuration:
    kind = FULL if config is None else str(config["peft_type"]).lower()
    size = (config or {}).get("r")
    size = size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 1
    options = (("experiment", experiment), ("sites", ("model",)))
    return Configuration.of([Module(kind, size, (0,), options)], float(how["optimizer_kwargs"]["lr"]))


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """A database's JSON has no NaN."""
    return {name: v if not isinstance(v, float) or math.isfinite(v) else None for name, v in values.items()}


def _study(repository: Repository, name: str, runs: Sequence[Run]) -> Study:
    models = sorted({run.model for run in runs})
    if len(models) > 1:
        raise InputError(
            f"the results are of several models ({', '.join(models)}), and a study is of one.",
            "Put those of each model into a folder of its own, and import each with a --name of its own.",
        )
    there = repository.find_study(name)
    if there is None:
        settings, limit = _settings(runs)
        return repository.create_study(name, settings, limit, "published")
    if there.settings.get(IMPORTED, {}).get("kind") != KIND:
        raise InputError(f"there is a study '{name}' already that was searched.", "Choose another --name.")
    if there.settings["model"] != models[0]:
        raise InputError(
            f"the study '{name}' is of the model '{there.settings['model']}', and the results are of '{models[0]}'.",
            "Choose another --name.",
        )
    return there


def _settings(runs: Sequence[Run]) -> tuple[dict[str, Any], int]:
    """The settings of a study of these runs, in the form that those of a search have; and the most that may be trained."""
    benchmark, first = runs[0].benchmark, runs[0]
    backbone = min(run.parameters for run in runs)  # an adapter's come on top; full fine-tuning has none
    limit = max(backbone, *(run.trainable for run in runs))
    settings = {
        IMPORTED: {
            "kind": KIND,
            "source": "https://github.com/huggingface/peft/tree/main/method_comparison",
            "license": "Apache-2.0",
        },
        "model": first.model,
        "budget": "100%",
        "backbone": {
            "path": first.model,
            "overrides": {},
            "parameters": backbone,
            "layers": 1,
            "smallest": min(run.trainable for run in runs),
        },
        "task": {
            "source": "hub",
            "data": benchmark.data,
            "modality": benchmark.modality,
            "problem": benchmark.problem,
            "metric": benchmark.score,
            "labels": [],
        },
        "space": {"name": "published", "text": ""},
        "sampler": "none",
        "seed": first.seed,
        "training": {"epochs": 1, "batch_size": int(first.details[PUBLISHED]["train_config"]["batch_size"])},
        "fidelity": "none",
        "prior": "none",
        "objectives": [
            *(
                recorded(name, find_objective(name))
                for name in (
                    "score",
                    "trainable",
                    "adapter_bytes",
                    "training_memory_bytes",
                    "training_seconds",
                )
            ),
            {
                "reference": benchmark.forgetting,
                "name": benchmark.forgetting,
                "direction": "minimize",
                "unit": "",
                "title": benchmark.forgetting_title,
                "short": benchmark.forgetting,
                "log": False,
            },
        ],
    }
    return settings, limit


def _add(repository: Repository, study: Study, runs: Sequence[Run], left_out: Mapping[str, str]) -> Imported:
    there = {
        (t.configuration.modules[0].option("experiment"), t.seed): t for t in repository.trials(study.id)
    }
    added, other = 0, []
    known = 0
    for run in runs:
        trial = there.get((run.experiment, run.seed))
        if trial is not None and trial.status.final:
            if trial.details.get("created_at", run.created_at) == run.created_at:
                known += 1
            else:
                other.append(run.experiment)
            continue
        if trial is None:
            trial = repository.add_trial(
                study.id, TrialKind.SEARCH, run.configuration, run.trainable, run.seed
            )
        if run.failure:
            repository.fail(trial.id, run.failure)
        else:
            repository.report(trial.id, 1, {"score": run.score})
            repository.complete(trial.id, run.values, dict(run.details))
        added += 1
    return Imported(study.name, runs[0].benchmark.name, added, known, tuple(other), left_out)
