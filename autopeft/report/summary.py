"""A study as rows and numbers: what the tables, `--json` and the exports are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from autopeft.confirmation import (
    BASELINES,
    FOUND,
    Chosen,
    Confirmed,
    best_baseline,
    binomial_error,
    choose,
    confirmed,
    confirmed_score,
    confirming,
    search_front,
)
from autopeft.dsl.describe import describe
from autopeft.nouns import OWN_HEAD, Configuration, Standing, Study, Trial, TrialKind
from autopeft.registry import Objective, objectives_among, objectives_of
from autopeft.settings import ASKED, IMPORTED
from autopeft.tasks.direction import direction, oriented
from autopeft.trade_off import further

if TYPE_CHECKING:
    from autopeft.store import Repository


@dataclass(frozen=True)
class Row:
    """One trial, as a table shows it.

    Attributes:
        number: Position in the study, from 0.
        kind: `search`, `truncated`, `head-only`, `lora-qv` or `confirm`.
        status: `waiting`, `running`, `complete`, `stopped` or `failed`.
        score: The metric on validation after the last epoch, by which the search chose; None unless complete. This and the other
            numbers of the metric are its own values: of a loss, a smaller one is better.
        test_score: The same trial's score on the test split; None where there is none.
        trainable: Trainable parameters, the task head not counted.
        share: `trainable` as a fraction of the backbone's parameters.
        seconds: What the trial took; None if it was not measured.
        description: The configuration in a line.
        learning_rate: Peak learning rate.
        configuration: What was trained.
        confirmed: What its configuration scored when it was trained anew, and how far the search's score was above
            that; None where that has not been done.
        on_front: Whether it is a member of the front.
        knee: Whether it is the front's knee; see `autopeft.trade_off.knee`.
        best: Whether it has the front's best score.
        objectives: The study's objectives besides score and trainable, by name, as this trial came to them.
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
    confirmed: Confirmed | None = None
    on_front: bool = False
    knee: bool = False
    best: bool = False
    best_of: int = 1
    objectives: Mapping[str, float] = field(default_factory=dict)

    def reported_objective(self, name: str) -> float | None:
        """The value to believe of one of `objectives`: the mean of the confirming trials, where there is one."""
        if self.confirmed is not None and name in self.confirmed.objectives:
            return self.confirmed.objectives[name].mean
        return self.objectives.get(name)

    @property
    def reported(self) -> float | None:
        """The score to believe: the confirmed mean, where there is one, else the search's own."""
        return self.score if self.confirmed is None else self.confirmed.mean

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
        metric: What scores are.
        direction: Which way it is better: `maximize` or `minimize`.
        new_head: Whether a new task head is trained beside the modules; else the backbone has the head that it came with.
        objectives: What the study is for, in order: `name`, `short` (as it is typed), `title`, `unit`, `direction`.
        budget: As it was given, such as `0.5%`.
        limit: The budget in trainable parameters.
        backbone_parameters: Parameters of the backbone, the task head not counted.
        counts: Trials of the search by status; every status is in it.
        hypervolume: Of the last stored front; None before the first.
        reference_score: Score from which hypervolume is counted; None before the first front.
        front: The non-dominated complete trials of the search, by ascending trainable parameters: by confirmed means
            if `by_confirmed`, else by the search's own values.
        fallen: Members of the search's own front that are dominated by confirmed means, or could not be confirmed.
        baselines: The best complete trial of each baseline by validation score; those not yet complete are absent.
        by_confirmed: Whether the front, its knee and its best are those of confirmed means: once every member of the
            search's own front has been trained anew.
        confirmations: Confirming trials by status; every status is in it.
        mean_gap: Mean gap between the search's scores and the confirmed means over the search's own front: what its
            choice promised too much. None before the first is confirmed.
        examples_error: Standard error of the best member's confirmed mean from the choice of the examples alone
            (binomial); None where the metric is no share of right answers, or none were held back.
        url: The database, with its password hidden.
        imported: Of published results: what they are (`kind`), from where (`source`) and their `license`; None of a search.
    """

    name: str
    created_at: str
    model: str
    data: str
    space: str
    metric: str
    direction: str
    new_head: bool
    objectives: tuple[Mapping[str, Any], ...]
    budget: str
    limit: int
    backbone_parameters: int
    counts: Mapping[str, int]
    hypervolume: float | None
    reference_score: float | None
    front: tuple[Row, ...]
    fallen: tuple[Row, ...]
    baselines: tuple[Row, ...]
    by_confirmed: bool
    confirmations: Mapping[str, int]
    mean_gap: float | None
    examples_error: float | None
    url: str
    imported: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            **asdict(self),
            "objectives": [dict(objective) for objective in self.objectives],
            "counts": dict(self.counts),
            "confirmations": dict(self.confirmations),
            "front": [row.to_json() for row in self.front],
            "fallen": [row.to_json() for row in self.fallen],
            "baselines": [row.to_json() for row in self.baselines],
        }


def summarise(repository: "Repository", study: Study, wanted: Sequence[str] = ()) -> Summary:
    """A study as the database knows it now, while the search runs or after it.

    Args:
        repository: Where it is.
        study: The study.
        wanted: Objectives of the study, by their names or as they are typed, whose front is looked at; by default all of them.

    Raises:
        StudyError: The database does not answer.
        InputError: The study has no such objective, or fewer than two are named.
    """
    standing, objectives = repository.standing(study.id, FOUND), objectives_of(study.settings)
    if wanted:
        objectives = objectives_among(objectives, wanted)
        # A front of fewer objectives may have members that are none of the stored one, where values are equal.
        standing = replace(standing, trials=tuple(repository.trials(study.id)), front=None)
    return _summary(standing, repository.url, objectives)


def _summary(standing: Standing, url: str, objectives: tuple[Objective, ...]) -> Summary:
    study, trials, last = standing.study, standing.trials, standing.front
    settings = study.settings
    chosen = choose(trials, objectives)
    metric = settings["task"]["metric"]
    front = _front_rows(study, trials, chosen, objectives)
    return Summary(
        name=study.name,
        created_at=study.created_at,
        model=settings["model"],
        data=settings["task"]["data"],
        space=study.space,
        metric=metric,
        direction=direction(metric),
        new_head=settings["task"].get("problem") not in OWN_HEAD and IMPORTED not in settings,
        objectives=tuple(objective.described() for objective in objectives),
        budget=settings["budget"],
        limit=study.limit,
        backbone_parameters=settings["backbone"]["parameters"],
        counts=_counts(standing, TrialKind.SEARCH),
        hypervolume=None if last is None else last.hypervolume,
        reference_score=oriented(metric, study.reference_score),
        front=front,
        fallen=tuple(_row(study, trial, confirmed(trials, trial, objectives)) for trial in chosen.fallen),
        baselines=tuple(row for kind in BASELINES if (row := _baseline_row(study, trials, kind)) is not None),
        by_confirmed=chosen.by_confirmed,
        confirmations=_counts(standing, TrialKind.CONFIRM),
        mean_gap=_mean_gap(trials, objectives),
        examples_error=_examples_error(metric, front),
        url=_shown(url),
        imported=settings.get(IMPORTED),
    )


def trial_record(repository: "Repository", study: Study, number: int) -> dict[str, Any]:
    """Everything the database knows of one trial, as plain JSON.

    Keys as the fields of `Trial`, with `study`, `key`, `description`, `share` and the study's `objectives` added; `scores` is a list of
    objects with `epoch` and `score`. `confirmed` is as in `Row`, or None; `confirmations` are the trials that train its
    configuration anew (`number`, `seed`, `status`, `score`: the confirmed one); of such a trial, `confirms` are the
    numbers of those that it trains anew. Of a probe, `ranking` are the configurations that it ranked, the best first
    (`configuration`, `description`, `score`: on a scale of its own). Where the importance of layers was looked at,
    `read_out` has what it means, by `layer_set` and `multipliers`: what was `found` and the `configuration` with its `description`.

    Raises:
        StudyError: There is no such trial, or the database does not answer.
    """
    trial = repository.trial(study.id, number)
    trials = repository.trials_of(study.id, trial.configuration)
    row = _row(study, trial, confirmed(trials, trial, objectives_of(study.settings)))
    metric = study.settings["task"]["metric"]
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
        "metric": metric,
        "direction": direction(metric),
        "objectives": [objective.described() for objective in objectives_of(study.settings)],
        "score": row.score,
        "scores": [
            {"epoch": epoch, "score": oriented(metric, score)}
            for epoch, score in sorted(trial.scores.items())
        ],
        "measurements": {
            name: oriented(metric, value) if name in _OF_THE_METRIC else value
            for name, value in trial.measurements.items()
        },
        "seed": trial.seed,
        "attempt": trial.attempt,
        "confirmed": None if row.confirmed is None else asdict(row.confirmed),
        "confirmations": [
            {
                "number": t.number,
                "seed": t.seed,
                "status": t.status.value,
                "score": oriented(metric, confirmed_score(t)),
            }
            for t in confirming(trials, trial)
        ],
        "confirms": [t.number for t in trials if trial in confirming(trials, t)],
        "details": {name: value for name, value in trial.details.items() if name not in ("ranking", "parts")},
        "ranking": _ranking(study, trial),
        "read_out": _read_out(study, trial),
        "artifact": trial.artifact or None,
    }


def _read_out(study: Study, trial: Trial) -> dict[str, dict[str, Any]]:
    layers, found = int(study.settings["backbone"]["layers"]), trial.details.get("allocation", {})
    return {
        name: {
            "found": found[name],
            "configuration": one,
            "description": describe(Configuration.from_json(one), layers),
        }
        for name, one in found.get("configurations", {}).items()
    }


def _ranking(study: Study, trial: Trial) -> list[dict[str, Any]]:
    layers = int(study.settings["backbone"]["layers"])
    return [
        {"configuration": one, "description": describe(Configuration.from_json(one), layers), "score": score}
        for one, score in sorted(trial.details.get("ranking", []), key=lambda pair: -pair[1])
    ]


def studies_table(repository: "Repository") -> list[dict[str, Any]]:
    """Every study in a line, newest first, as plain JSON.

    Keys: `name`, `owner` (who has asked for it; empty if unknown), `created_at`, `model`, `data`, `space`, `metric`, `objectives` (as
    they are typed), `budget`, `limit`; trials of the search that are
    `complete`, `stopped`, `failed`, `running` and `waiting`, and how many were `asked` for (None where that was not
    noted); the last stored front's `front_size`; `best_score` (the confirmed mean if `by_confirmed`) and `hypervolume`
    (by the search's own scores), each None before the first.

    Raises:
        StudyError: The database does not answer.
    """
    return [_line(standing) for standing in repository.standings(FOUND, _compared_by)]


def _compared_by(study: Study) -> set[str]:
    return {"score", "confirmation_score", *(objective.name for objective in objectives_of(study.settings))}


def _line(standing: Standing) -> dict[str, Any]:
    study, settings = standing.study, standing.study.settings
    objectives, metric = objectives_of(settings), settings["task"]["metric"]
    chosen = choose(standing.trials, objectives)
    best = None
    if chosen.best is not None:
        found = confirmed(standing.trials, chosen.best, objectives)
        best = chosen.best.score if found is None else found.mean
    return {
        "name": study.name,
        "owner": study.owner,
        "created_at": study.created_at,
        "model": settings["model"],
        "data": settings["task"]["data"],
        "space": study.space,
        "metric": metric,
        "objectives": [objective.typed for objective in objectives],
        "budget": settings["budget"],
        "limit": study.limit,
        **_counts(standing, TrialKind.SEARCH),
        "asked": settings.get(ASKED, {}).get("trials"),
        "front_size": 0 if standing.front is None else len(standing.front.members),
        "best_score": oriented(metric, best),
        "by_confirmed": chosen.by_confirmed,
        "hypervolume": None if standing.front is None else standing.front.hypervolume,
    }


_OF_THE_METRIC = ("test_score", "confirmation_score")


def as_values(metric: str, found: Confirmed | None) -> Confirmed | None:
    """What confirming trials say, in values of the metric; the gap remains what the search promised too much."""
    if found is None:
        return None
    return replace(
        found,
        mean=oriented(metric, found.mean),
        validation_mean=oriented(metric, found.validation_mean),
        test_mean=oriented(metric, found.test_mean),
    )


def _counts(standing: Standing, kind: TrialKind) -> dict[str, int]:
    return {status.value: n for status, n in standing.counts[kind].items()}


def _front_rows(
    study: Study, trials: Sequence[Trial], chosen: Chosen, objectives: Sequence[Objective]
) -> tuple[Row, ...]:
    return tuple(
        _row(
            study,
            trial,
            confirmed(trials, trial, objectives),
            on_front=True,
            knee=trial is chosen.knee,
            best=trial is chosen.best,
        )
        for trial in chosen.members
    )


def _baseline_row(study: Study, trials: Sequence[Trial], kind: TrialKind) -> Row | None:
    best = best_baseline(trials, kind)
    if best is None:
        return None
    tuned = sum(trial.kind is kind and trial.score is not None for trial in trials)
    return _row(study, best, confirmed(trials, best, objectives_of(study.settings)), best_of=tuned)


def _mean_gap(trials: Sequence[Trial], objectives: Sequence[Objective]) -> float | None:
    """Over the search's own front: those that remain of it were chosen by what they were confirmed with."""
    front = search_front(trials, objectives)
    gaps = [found.gap for t in front if (found := confirmed(trials, t)) is not None]
    return sum(gaps) / len(gaps) if gaps else None


def _examples_error(metric: str, front: tuple[Row, ...]) -> float | None:
    best = next((row.confirmed for row in front if row.best), None)
    if metric != "accuracy" or best is None or best.examples is None:
        return None
    return binomial_error(best.mean, best.examples)


def _row(
    study: Study,
    trial: Trial,
    found: Confirmed | None,
    *,
    on_front: bool = False,
    knee: bool = False,
    best: bool = False,
    best_of: int = 1,
) -> Row:
    backbone, metric = study.settings["backbone"], study.settings["task"]["metric"]
    return Row(
        number=trial.number,
        kind=trial.kind.value,
        status=trial.status.value,
        score=oriented(metric, trial.score),
        test_score=oriented(metric, trial.measurements.get("test_score")),
        trainable=trial.trainable,
        share=trial.trainable / backbone["parameters"],
        seconds=trial.measurements.get("seconds"),
        description=describe(trial.configuration, backbone["layers"]),
        learning_rate=trial.configuration.learning_rate,
        configuration=trial.configuration,
        confirmed=as_values(metric, found),
        on_front=on_front,
        knee=knee,
        best=best,
        best_of=best_of,
        objectives={
            one.name: trial.measurements[one.name]
            for one in further(objectives_of(study.settings))
            if one.name in trial.measurements
        },
    )


def _shown(url: str) -> str:
    from sqlalchemy.engine import make_url  # the repository has loaded it already

    return make_url(url).render_as_string(hide_password=True)
