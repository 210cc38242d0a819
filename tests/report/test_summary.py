import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from autopeft.confirmation import FOUND as FRONT_OF
from autopeft.errors import InputError, StudyError
from autopeft.nouns import Configuration, Study, TrialKind
from autopeft.report import pick, studies_table, summarise, trial_record
from autopeft.store import Repository

from .filled import (
    FOUND,
    LOSSES,
    OBJECTIVES,
    PARAMETERS,
    SETTINGS,
    THREE,
    complete,
    confirm,
    empty,
    fill_losses,
    fill_three,
    serial,
)


@pytest.fixture
def repository(url: str) -> Iterator[Repository]:
    with Repository.open(url) as opened:
        yield opened


@pytest.fixture
def study(repository: Repository) -> Study:
    return repository.get_study("digits")


def test_the_front_is_of_the_search_alone(repository: Repository, study: Study) -> None:
    front = summarise(repository, study).front
    assert [row.number for row in front] == [6, 7, 8]
    assert [row.trainable for row in front] == [128, 450, 1_800]
    assert [row.knee for row in front] == [False, True, False]
    assert [row.best for row in front] == [False, False, True]
    assert all(row.on_front and row.kind == "search" and row.best_of == 1 for row in front)
    assert front[1].share == 450 / PARAMETERS
    assert front[1].test_score == pytest.approx(0.88)
    assert front[1].seconds == 4.2
    assert front[1].description == "serial 6 in layers 0 2, lr 0.003"
    assert front[1].configuration == serial(6)


def test_each_baseline_is_the_best_of_its_learning_rates(repository: Repository, study: Study) -> None:
    head, lora = summarise(repository, study).baselines
    assert (head.number, head.kind, head.trainable, head.share) == (1, "head-only", 0, 0)
    assert (head.learning_rate, head.best_of) == (1e-3, 3)
    assert (lora.number, lora.kind, lora.learning_rate, lora.best_of) == (3, "lora-qv", 1e-3, 2)
    assert (head.on_front, lora.on_front) == (False, False)


def test_before_the_confirmation_the_search_decides(repository: Repository, study: Study) -> None:
    summary = summarise(repository, study)
    assert (summary.by_confirmed, summary.mean_gap, summary.examples_error) == (False, None, None)
    assert sum(summary.confirmations.values()) == 0
    assert all(row.confirmed is None and row.reported == row.score for row in summary.front)


def test_the_front_of_confirmed_means(repository: Repository, study: Study, url: str) -> None:
    confirm(url, FOUND)
    summary = summarise(repository, study)
    assert summary.by_confirmed
    assert [(row.number, row.knee, row.best) for row in summary.front] == [
        (6, False, False),
        (7, True, True),
    ]
    (fallen,) = summary.fallen
    assert (fallen.number, fallen.on_front, fallen.knee, fallen.best) == (8, False, False, False)
    best = summary.front[1]
    assert (best.score, best.reported) == (0.9, pytest.approx(0.89))
    assert best.confirmed is not None
    assert best.confirmed.standard_error == pytest.approx(0.01)
    assert best.confirmed.gap == pytest.approx(0.01)
    assert (best.confirmed.seeds, best.confirmed.examples, best.confirmed.held_back) == (2, 500, True)
    assert best.confirmed.test_mean == pytest.approx(0.87)
    # Over all of the search's front, the fallen too: what remains was chosen by what it was confirmed with.
    assert summary.mean_gap == pytest.approx((0.02 + 0.01 + 0.04) / 3)
    assert summary.examples_error == pytest.approx((0.89 * 0.11 / 500) ** 0.5)
    head, lora = summary.baselines
    assert head.confirmed is not None
    assert head.confirmed.mean == pytest.approx(0.69)
    assert lora.confirmed is None
    assert summary.counts == {**summary.counts, "complete": 5}  # the search's own trials
    assert summary.confirmations["complete"] == 8
    told = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert told["front"][1]["confirmed"]["seeds"] == 2
    assert told["fallen"][0]["number"] == 8
    assert studies_table(repository)[0]["best_score"] == pytest.approx(0.89)


def test_half_a_confirmation_decides_nothing(repository: Repository, study: Study, url: str) -> None:
    confirm(url, {6: (0.74, 0.72), 8: (0.5,)})
    summary = summarise(repository, study)
    assert [row.number for row in summary.front] == [6, 7, 8]
    assert (summary.by_confirmed, summary.fallen) == (False, ())
    assert summary.front[2].confirmed is not None
    assert summary.mean_gap == pytest.approx((0.02 + 0.42) / 2)
    assert pick(repository, study, "best").number == 8


def test_knee_and_best_are_picked_by_confirmed_means(repository: Repository, study: Study, url: str) -> None:
    confirm(url, FOUND)
    assert pick(repository, study, "best").number == 7
    assert pick(repository, study, "8").number == 8


def test_the_records_of_a_trial_and_of_those_that_confirm_it(
    repository: Repository, study: Study, url: str
) -> None:
    confirm(url, FOUND)
    record = trial_record(repository, study, 7)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["confirmed"]["mean"] == pytest.approx(0.89)
    assert record["confirmations"] == [
        {"number": 15, "seed": 1, "status": "complete", "score": 0.88},
        {"number": 16, "seed": 2, "status": "complete", "score": 0.9},
    ]
    assert record["confirms"] == []
    anew = trial_record(repository, study, 15)
    assert (anew["kind"], anew["confirms"], anew["confirmed"], anew["confirmations"]) == (
        "confirm",
        [7],
        None,
        [],
    )
    assert anew["measurements"]["confirmation_score"] == 0.88


def test_the_rest_of_a_summary(repository: Repository, study: Study, url: str) -> None:
    summary = summarise(repository, study)
    assert summary.counts == {"waiting": 1, "running": 1, "complete": 5, "stopped": 0, "failed": 1}
    assert (summary.name, summary.space, summary.metric) == ("digits", "autopeft", "accuracy")
    assert (summary.budget, summary.limit, summary.backbone_parameters) == ("1%", 2_000, PARAMETERS)
    assert (summary.hypervolume, summary.reference_score) == (0.1234, 0.71)
    assert summary.url == f"sqlite:///{url}"


def test_a_summary_is_json(repository: Repository, study: Study) -> None:
    summary = summarise(repository, study)
    told = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert [row["number"] for row in told["front"]] == [6, 7, 8]
    assert told["front"][0]["configuration"] == serial(1).to_json()
    assert told["baselines"][1]["best_of"] == 2
    assert told["counts"]["failed"] == 1


def test_a_study_without_trials_has_a_summary(url: str) -> None:
    study = empty(url)
    with Repository.open(url) as repository:
        summary = summarise(repository, study)
    assert (summary.front, summary.baselines, summary.hypervolume) == ((), (), None)
    assert summary.counts == {"waiting": 0, "running": 0, "complete": 0, "stopped": 0, "failed": 0}


def test_one_point_is_knee_and_best(url: str) -> None:
    study = empty(url)
    with Repository.open(url) as repository:
        complete(repository, study, serial(1), 128, 0.7)
        (row,) = summarise(repository, study).front
    assert (row.knee, row.best, row.test_score) == (True, True, None)


def test_a_trial_s_record_is_everything(repository: Repository, study: Study) -> None:
    record = trial_record(repository, study, 7)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["scores"] == [{"epoch": 1, "score": pytest.approx(0.8)}, {"epoch": 2, "score": 0.9}]
    assert record["measurements"]["peak_memory_bytes"] == 3 * 2**29
    assert record["configuration"] == serial(6).to_json()
    assert (record["key"], record["artifact"]) == (serial(6).key, "/adapters/7")
    assert (record["status"], record["attempt"], record["details"]["threads"]) == ("complete", 1, 1)
    failed = trial_record(repository, study, 10)
    assert (failed["score"], failed["artifact"]) == (None, None)
    assert failed["reason"] == "the training loss is nan in epoch 1."
    with pytest.raises(StudyError, match="no trial 99 in the study: they are 0 to 12"):
        trial_record(repository, study, 99)


def test_the_table_of_studies(repository: Repository, url: str) -> None:
    empty(url)
    new, digits = studies_table(repository)
    assert (new["name"], new["complete"], new["best_score"], new["hypervolume"]) == ("new", 0, None, None)
    assert (digits["complete"], digits["failed"], digits["waiting"], digits["running"]) == (5, 1, 1, 1)
    assert (digits["best_score"], digits["hypervolume"]) == (0.92, 0.1234)
    assert (digits["budget"], digits["space"]) == ("1%", "autopeft")


@pytest.mark.parametrize(("what", "number"), [("knee", 7), ("best", 8), (" Best ", 8), ("9", 9), ("3", 3)])
def test_what_can_be_picked(repository: Repository, study: Study, what: str, number: int) -> None:
    assert pick(repository, study, what).number == number


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "knees",
            "cannot pick 'knees': write knee, best, the number of a complete trial, or a bound such as trainable<=0.1%. Did you mean 'knee'?",
        ),
        ("-1", "cannot pick '-1'"),
        ("9" * 40, "cannot pick '999"),
        ("10", "trial 10 cannot be picked: it failed (the training loss is nan in epoch 1)."),
        ("11", "trial 11 cannot be picked: it is waiting, not complete."),
        ("12", "trial 12 cannot be picked: it is running, not complete."),
        ("13", "there is no trial 13 in the study: they are 0 to 12."),
    ],
)
def test_what_cannot_be_picked(repository: Repository, study: Study, what: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        pick(repository, study, what)
    assert said in str(caught.value)


def test_nothing_is_picked_from_no_front(url: str) -> None:
    study = empty(url)
    with Repository.open(url) as repository, pytest.raises(InputError, match="'new' has no front yet"):
        pick(repository, study, "knee")


def test_a_probe_tells_its_ranking_and_cannot_be_picked(repository: Repository, study: Study) -> None:
    trial = repository.add_trial(study.id, TrialKind.PROBE, Configuration.of([], 1e-3), 0, seed=0)
    repository.start_trial(trial.id)
    repository.report(trial.id, 1, {"score": 0.5})
    ranking = [[serial(size).to_json(), float(size)] for size in (1, 4, 2)]
    repository.complete(trial.id, {"seconds": 1.0}, {"ranking": ranking}, "")
    record = trial_record(repository, study, trial.number)
    assert [one["score"] for one in record["ranking"]] == [4.0, 2.0, 1.0]
    assert record["ranking"][0]["description"] == "serial 4 in layers 0 2, lr 0.003"
    assert record["details"] == {}
    with pytest.raises(InputError, match="it is the probe, which trains no adapter"):
        pick(repository, study, str(trial.number))


MEMORY = "training_memory_bytes"


def test_the_front_of_other_objectives(repository: Repository, url: str) -> None:
    study = fill_three(url)
    summary = summarise(repository, study)
    assert [one["name"] for one in summary.objectives] == list(THREE)
    assert summary.objectives[2] == {
        "name": MEMORY,
        "short": "memory",
        "title": "Training memory",
        "unit": "bytes",
        "direction": "minimize",
    }
    assert [(row.number, row.knee, row.best) for row in summary.front] == [
        (1, False, False),
        (3, True, False),
        (4, False, False),
        (5, False, True),
    ]
    assert summary.front[1].objectives == {MEMORY: 2 * 2.0**20}
    assert summary.front[1].reported_objective(MEMORY) == 2 * 2.0**20
    assert summary.baselines[0].objectives == {MEMORY: 2.0**20}
    assert json.loads(json.dumps(summary.to_json(), allow_nan=False))["objectives"][2]["unit"] == "bytes"
    assert (pick(repository, study, "knee").number, pick(repository, study, "best").number) == (3, 5)
    three, digits = studies_table(repository)
    assert (three["objectives"], three["best_score"]) == (["score", "trainable", "memory"], 0.9)
    assert digits["objectives"] == ["score", "trainable"]


def test_the_confirmation_measures_anew(repository: Repository, url: str) -> None:
    study = fill_three(url)
    confirm(url, {1: (0.7, 0.72), 3: (0.8,), 4: (0.65,)}, "three", **{MEMORY: 2.5e6})
    assert not summarise(repository, study).by_confirmed
    confirm(url, {5: (0.78,)}, "three", **{MEMORY: 2.5e6})
    summary = summarise(repository, study)
    assert summary.by_confirmed
    # All of one memory now: 4 and 5 are larger than 3, and no better.
    assert [row.number for row in summary.front] == [1, 3]
    assert [row.number for row in summary.fallen] == [4, 5]
    assert [row.best for row in summary.front] == [False, True]
    found = summary.front[0].confirmed
    assert found is not None
    assert (found.objectives[MEMORY].mean, found.objectives[MEMORY].standard_error) == (2.5e6, 0)
    assert summary.front[0].reported_objective(MEMORY) == 2.5e6
    record = trial_record(repository, study, 1)
    assert record["confirmed"]["objectives"] == {MEMORY: {"mean": 2.5e6, "standard_error": 0.0}}
    assert record["measurements"][MEMORY] == 3 * 2.0**20


def test_losses_are_told_as_they_are(repository: Repository, url: str) -> None:
    """Searched with their sign changed, shown without; the front is that of low losses."""
    study = fill_losses(url)
    before = summarise(repository, study)
    assert (before.metric, before.direction, before.new_head) == ("loss", "minimize", False)
    assert [(row.number, row.score, row.test_score) for row in before.front] == [
        (2, 2.9, pytest.approx(3.0)),
        (3, 2.5, pytest.approx(2.6)),
        (4, 2.4, pytest.approx(2.5)),
    ]
    assert before.front[-1].best
    assert before.reference_score == 3.0
    assert before.baselines[0].score == 3.0
    confirm(url, LOSSES, "text")
    after = summarise(repository, study)
    assert after.by_confirmed
    assert [row.reported for row in after.front] == pytest.approx([2.96, 2.61, 2.51])
    best = after.front[-1].confirmed
    assert best is not None
    assert (best.validation_mean, best.test_mean) == (pytest.approx(2.50), pytest.approx(2.53))
    assert best.gap == pytest.approx(0.11)  # the search promised too much, whichever way is better
    assert after.mean_gap == pytest.approx((0.06 + 0.11 + 0.11) / 3)
    record = trial_record(repository, study, 4)
    assert [one["score"] for one in record["scores"]] == pytest.approx([2.5, 2.4])
    assert [one["score"] for one in record["confirmations"]] == pytest.approx([2.5, 2.52])
    assert record["measurements"]["test_score"] == pytest.approx(2.5)
    assert record["measurements"]["train_loss"] == 0.5
    first = record["confirmations"][0]["number"]
    assert trial_record(repository, study, first)["measurements"]["confirmation_score"] == 2.5
    (line,) = [line for line in studies_table(repository) if line["name"] == "text"]
    assert line["best_score"] == pytest.approx(2.51)


def test_a_study_is_read_without_the_package_of_its_objective(repository: Repository) -> None:
    gone = {
        "reference": "gone:JOULES",
        "name": "joules",
        "unit": "J",
        "title": "Heat",
        "short": "",
        "log": True,
    }
    settings = {**SETTINGS, "objectives": [OBJECTIVES[0], {**gone, "direction": "minimize"}]}
    study = repository.create_study("hot", settings, 2_000, "autopeft")
    for size, score, joules in ((1, 0.5, 10.0), (2, 0.6, 40.0), (3, 0.55, 80.0)):
        complete(repository, study, serial(size), 100 * size, score, joules=joules)
    summary = summarise(repository, study)
    assert [row.number for row in summary.front] == [0, 1]
    assert summary.objectives[1]["title"] == "Heat"
    assert studies_table(repository)[0]["objectives"] == ["score", "joules"]


def test_what_a_study_shows_is_told_from_a_few_of_its_trials(
    repository: Repository, study: Study, url: str
) -> None:
    confirm(url, {6: (0.7, 0.71), 7: (0.88,), 8: (0.9,), 9: (0.95,)})  # 9 was driven off the front
    whole = summarise(repository, study)  # nobody has said what the stored front was made from
    assert list(repository.standing(study.id, FRONT_OF).trials) == repository.trials(study.id)
    complete_ones = sum(t.score is not None for t in repository.trials(study.id))
    repository.record_front(study.id, 8, [6, 7, 8], 0.1234, complete=complete_ones)
    few = [t.number for t in repository.standing(study.id, FRONT_OF).trials]
    assert few == [0, 1, 2, 3, 4, 6, 7, 8, 9, *range(13, 18)]
    assert summarise(repository, study) == whole
    # One more, of which the stored front knows nothing yet.
    new = complete(repository, study, serial(7), 100, 0.99)
    assert new in repository.standing(study.id, FRONT_OF).trials
    assert list(repository.standing(study.id, FRONT_OF).trials) == repository.trials(study.id)


def test_the_list_of_studies_is_what_each_says_of_itself(
    repository: Repository, study: Study, url: str
) -> None:
    other = repository.create_study("other", SETTINGS, 2_000, "autopeft")
    complete(repository, other, serial(3), 100, 0.4)  # the configuration of a trial of the first study
    confirm(url, {6: (0.7, 0.71), 7: (0.88,), 8: (0.9,)})
    complete_ones = sum(t.score is not None for t in repository.trials(study.id))
    for settled in (None, complete_ones):  # told from all trials, then from a few
        repository.record_front(study.id, 8, [6, 7, 8], 0.1234, complete=settled)
        compared = repository.standings(FRONT_OF, lambda _: ("score",))
        for found, whole in zip(
            compared, [repository.standing(s.id, FRONT_OF) for s in (other, study)], strict=True
        ):
            assert found == replace(
                whole, trials=tuple(replace(t, measurements={}, details={}) for t in whole.trials)
            )
        for line, summary in zip(
            studies_table(repository), [summarise(repository, s) for s in (other, study)], strict=True
        ):
            assert line["name"] == summary.name
            assert line["best_score"] == next(row.reported for row in summary.front if row.best)
            assert line["by_confirmed"] == summary.by_confirmed
            assert line["hypervolume"] == summary.hypervolume
            assert {name: line[name] for name in summary.counts} == summary.counts
