"""Earlier studies in a real database, as a new one starts from them."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shapes import BERT, VIT

from autopeft.dsl import BoundSpace, read_space
from autopeft.errors import StudyError
from autopeft.nouns import BackboneShape, Configuration, Study, TrialKind
from autopeft.optimize.earlier import choose, observed
from autopeft.registry import space_text
from autopeft.store import Repository

LIMIT = 5_000
BACKBONE = {"path": "a", "overrides": {}, "parameters": VIT.parameters}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with Repository.open(f"sqlite:///{tmp_path}/study.db") as repository:
        yield repository


def bound(name: str = "autopeft", shape: BackboneShape = VIT, limit: int = LIMIT) -> BoundSpace:
    return read_space(space_text(name), name).bind(shape, limit)


def make(
    repository: Repository,
    name: str,
    trials: int = 6,
    *,
    space: str = "autopeft",
    text: str = "",
    shape: BackboneShape | None = VIT,
    **backbone: Any,
) -> Study:
    """A study with a baseline, so many complete search trials, a failed one, and one that runs."""
    recorded = {**BACKBONE, **backbone, **({"shape": shape.to_json()} if shape else {})}
    settings = {"backbone": recorded, "space": {"name": space, "text": text or space_text(space)}}
    study = repository.create_study(name, settings, LIMIT, space)
    add(repository, study, Configuration.of([], 0.01), 0.1, TrialKind.HEAD_ONLY)
    points = bound(space if not text else "autopeft", shape or VIT)
    drawn = dict.fromkeys(map(points.canonical, points.sample(random.Random(0), trials + 5)))
    configurations = [points.configuration(point) for point in drawn]
    for i, configuration in enumerate(configurations[:trials]):
        add(repository, study, configuration, 0.5 + i / 100)
    failed = repository.add_trial(study.id, TrialKind.SEARCH, configurations[trials], 1, 0)
    repository.fail(failed.id, "no")
    running = repository.add_trial(study.id, TrialKind.SEARCH, configurations[trials + 1], 1, 0)
    repository.start_trial(running.id)
    return study


def add(
    repository: Repository,
    study: Study,
    configuration: Configuration,
    score: float,
    kind: TrialKind = TrialKind.SEARCH,
) -> None:
    trial = repository.add_trial(study.id, kind, configuration, 1, 0)
    repository.start_trial(trial.id)
    end(repository, trial.id, score)


def end(repository: Repository, trial: int, score: float) -> None:
    repository.report(trial, 1, {"score": score})
    repository.complete(trial, {}, {})


def test_what_is_complete_is_chosen_and_stays_chosen(repository: Repository) -> None:
    study = make(repository, "old")
    chosen = choose(repository, ["old"])
    assert chosen == [{"study": "old", "id": study.id, "trials": [1, 2, 3, 4, 5, 6]}]
    before = observed(repository, chosen, bound(), BACKBONE)
    assert [[o.score for o in told] for told in before] == [[0.5, 0.51, 0.52, 0.53, 0.54, 0.55]]
    # The earlier study goes on: what ran comes to its end, and more is tried.
    end(repository, repository.trial(study.id, 8).id, 0.9)
    add(
        repository,
        study,
        Configuration.of(bound().configuration(bound().starts[0].assignment).modules, 1e-3),
        1,
    )
    assert observed(repository, chosen, bound(), BACKBONE) == before
    assert choose(repository, ["old"])[0]["trials"] == [1, 2, 3, 4, 5, 6, 8, 9]


def test_each_study_is_a_belief_of_its_own(repository: Repository) -> None:
    make(repository, "old", 3)
    make(repository, "large", 4, shape=BERT)
    told = observed(repository, choose(repository, ["old", "large"]), bound(), BACKBONE)
    assert len(told) == 2
    assert len(told[0]) == 3
    assert told[1]
    assert all(bound().valid(o.assignment) for o in told[1])


def test_without_a_shape_only_the_same_backbone_will_do(repository: Repository) -> None:
    make(repository, "old", shape=None)
    chosen = choose(repository, ["old"])
    assert len(observed(repository, chosen, bound(), BACKBONE)[0]) == 6
    with pytest.raises(StudyError, match="'old': it is of another backbone"):
        observed(repository, chosen, bound(), {**BACKBONE, "overrides": {"num_hidden_layers": 2}})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"space": "lora"}, "of the space 'lora', is one of the space 'autopeft' within 5,000 parameters"),
        ({"text": "name: x\nmodules: ["}, "'old': the space 'autopeft':"),
        (
            {
                "text": "name: x\nlayers: [30]\nmodules: {p: {type: prefix, size: 2}}\n"
                "training: {learning_rate: 0.1}"
            },
            "names layer '30'",
        ),
    ],
    ids=["another space", "not a space", "not for this backbone"],
)
def test_what_cannot_be_carried_over_is_refused(
    repository: Repository, settings: dict[str, Any], said: str
) -> None:
    make(repository, "old", **settings)
    with pytest.raises(StudyError, match="cannot start from the study 'old'") as caught:
        observed(repository, choose(repository, ["old"]), bound(), BACKBONE)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_must_be_something_to_start_from(repository: Repository) -> None:
    make(repository, "old", 0)
    with pytest.raises(StudyError, match="the study 'old' has no complete trial"):
        choose(repository, ["old"])
    with pytest.raises(StudyError, match="Did you mean 'old'"):
        choose(repository, ["olf"])
