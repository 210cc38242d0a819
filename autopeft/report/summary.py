"""A study as rows and numbers: what the tables, `--json` and the exports are made from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from autopeft import pareto
from autopeft.dsl.describe import describe
from autopeft.nouns import Configuration, Study, Trial, TrialKind, TrialStatus

if TYPE_CHECKING:
    from autopeft.store import Repository

BASELINES = (TrialKind.HEAD_ONLY, TrialKind.LORA_QV)
"""What a search is held against, from the cheapest."""


@dataclass(frozen=True)
class Row:
    """One trial, as a table shows it.

    Attributes:
        number: Position in the study, from 0.
        kind: `search`, `head-only` or `lora-qv`.
        status: `waiting`, `running`, `complete` or `failed`.
        score: Validation score after the last epoch; None unless complete.
        test_score: Score on the test split; None where there is none.
        trainable: Trainable parameters, the task head not counted.
        share: `trainable` as a fraction of the backbone's parameters.
        seconds: What the trial took; None if it was not measured.
        description: The configuration in a line.
        learning_rate: Peak learning rate.
        configuration: What was trained.
        on_front: Whether no other trial of the search is better in score or parameters without being worse.
        knee: Whether it is the front's knee; see `autopeft.pareto.knee`.
        best: Whether it has the front's best score.
        best_of: Complete trials it is the best of: of a baseline, its learning rates; else 1.
    """

    number: int
    kind: str
    status: str
    score: float | None
    test_score: float | None
    trainable: int
    share: float
    seconds: float | None
    description: str
    learning_rate: float
    configuration: Configuration
    on_front: bool = False
    knee: bool = False
    best: bool = False
    best_of: int = 1

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "configuration": self.configuration.to_json()}


@dataclass(frozen=True)
class Summary:
    """What a study has found by now.

    Attributes:
        name: The study.
        created_at: UTC, ISO 8601.
        model: The backbone, as it was named.
        data: The data, as the task keeps them.
        space: The search space's name.
        metric: What scores are; higher is better.
        budget: As it was given, such as `0.5%`.
        limit: The budget in trainable parameters.
        backbone_parameters: Parameters of the backbone, the task head not counted.
        counts: Trials of the search by status; every status is in it.
        hypervolume: Of the last stored front; None before the first.
        reference_score: Score from which hypervolume is counted; None before the first front.
        front: The non-dominated complete trials of the search, by ascending trainable parameters.
        baselines: The best complete trial of each baseline by validation score; those not yet complete are absent.
        url: The database, with its password hidden.
    """

    name: str
    created_at: str
    model: str
    data: str
    space: str
    metric: str
    budget: str
    limit: int
    backbone_parameters: int
    counts: Mapping[str, int]
    hypervolume: float | None
    reference_score: float | None
    front: tuple[Row, ...]
    baselines: tuple[Row, ...]
    url: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            **asdict(self),
            "counts": dict(self.counts),
            "front": [row.to_json() for row in self.front],
            "baselines": [row.to_json() for row in self.baselines],
        }


def summarise(repository: "Repository", study: Study) -> Summary:
    """A study as the database knows it now, while the search runs or after it.

    Raises:
        StudyError: The database does not answer.
    """
    trials = repository.trials(study.id)
    fronts = repository.fronts(study.id)
    search = [trial for trial in trials if trial.kind is TrialKind.SEARCH]
    settings = study.settings
    return Summary(
        name=study.name,
        created_at=study.created_at,
        model=settings["model"],
        data=settings["task"]["data"],
        space=study.space,
        metric=settings["task"]["metric"],
        budget=settings["budget"],
        limit=study.limit,
        backbone_parameters=settings["backbone"]["parameters"],
        counts={status.value: sum(trial.status is status for trial in search) for status in TrialStatus},
        hypervolume=fronts[-1].hypervolume if fronts else None,
        reference_score=study.reference_score,
        front=_front_rows(study, search),
        baselines=tuple(row for kind in BASELINES if (row := _baseline_row(study, trials, kind)) is not None),
        url=_shown(repository.url),
    )


def trial_record(repository: "Repository", study: Study, number: int) -> dict[str, Any]:
    """Everything the database knows of one trial, as plain JSON.

    Keys as the fields of `Trial`, with `study`, `key`, `description` and `share` added; `scores` is a list of
    objects with `epoch` and `score`.

    Raises:
        StudyError: There is no such trial, or the database does not answer.
    """
    trial = repository.trial(study.id, number)
    row = _row(study, trial)
    return {
        "study": study.name,
        "number": trial.number,
        "kind": row.kind,
        "status": row.status,
        "reason": trial.reason,
        "description": row.description,
        "configuration": trial.configuration.to_json(),
        "key": trial.configuration.key,
        "trainable": trial.trainable,
        "share": row.share,
        "metric": study.settings["task"]["metric"],
        "score": trial.score,
        "scores": [{"epoch": epoch, "score": score} for epoch, score in sorted(trial.scores.items())],
        "measurements": dict(trial.measurements),
        "seed": trial.seed,
        "attempt": trial.attempt,
        "details": dict(trial.details),
        "artifact": trial.artifact or None,
    }


def studies_table(repository: "Repository") -> list[dict[str, Any]]:
    """Every study in a line, newest first, as plain JSON.

    Keys: `name`, `created_at`, `model`, `data`, `space`, `metric`, `budget`, `limit`; trials of the search that are
    `complete`, `failed`, `running` and `waiting`; `best_score` and `hypervolume`, each None before the first.

    Raises:
        StudyError: The database does not answer.
    """
    lines = []
    for study in repository.studies():
        summary = summarise(repository, study)
        lines.append(
            {
                "name": summary.name,
                "created_at": summary.created_at,
                "model": summary.model,
                "data": summary.data,
                "space": summary.space,
                "metric": summary.metric,
                "budget": summary.budget,
                "limit": summary.limit,
                **summary.counts,
                "best_score": summary.front[-1].score if summary.front else None,
                "hypervolume": summary.hypervolume,
            }
        )
    return lines


def front_trials(trials: list[Trial]) -> tuple[list[Trial], Trial | None]:
    """The front of the complete trials of the search among these, by ascending cost, and its knee."""
    found = [
        (trial, trial.score) for trial in trials if trial.kind is TrialKind.SEARCH and trial.score is not None
    ]
    points = [(score, trial.trainable) for trial, score in found]
    knee = pareto.knee(points)
    return [found[i][0] for i in pareto.front(points)], None if knee is None else found[knee][0]


def _front_rows(study: Study, search: list[Trial]) -> tuple[Row, ...]:
    members, knee = front_trials(search)
    # Each member has a better score than the cheaper one before it, so that the last has the best.
    return tuple(
        _row(study, trial, on_front=True, knee=trial is knee, best=trial is members[-1]) for trial in members
    )


def _baseline_row(study: Study, trials: list[Trial], kind: TrialKind) -> Row | None:
    scored = [(trial.score, trial) for trial in trials if trial.kind is kind and trial.score is not None]
    if not scored:
        return None
    _, trial = max(scored, key=lambda pair: pair[0])
    return _row(study, trial, best_of=len(scored))


def _row(
    study: Study,
    trial: Trial,
    *,
    on_front: bool = False,
    knee: bool = False,
    best: bool = False,
    best_of: int = 1,
) -> Row:
    backbone = study.settings["backbone"]
    return Row(
        number=trial.number,
        kind=trial.kind.value,
        status=trial.status.value,
        score=trial.score,
        test_score=trial.measurements.get("test_score"),
        trainable=trial.trainable,
        share=trial.trainable / backbone["parameters"],
        seconds=trial.measurements.get("seconds"),
        description=describe(trial.configuration, backbone["layers"]),
        learning_rate=trial.configuration.learning_rate,
        configuration=trial.configuration,
        on_front=on_front,
        knee=knee,
        best=best,
        best_of=best_of,
    )


def _shown(url: str) -> str:
    from sqlalchemy.engine import make_url  # the repository has loaded it already

    return make_url(url).render_as_string(hide_password=True)
