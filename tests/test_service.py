"""What a study's settings hold, and which calls go on with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report.filled import complete  # tests/report
from shapes import VIT

from autopeft.dsl import BoundSpace, read_space
from autopeft.errors import StudyError
from autopeft.nouns import BackboneShape, Trial
from autopeft.registry import space_text
from autopeft.service import _find_study
from autopeft.store import Repository

SPACE = space_text("autopeft")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with Repository.open(f"sqlite:///{tmp_path}/study.db") as repository:
        yield repository


def bound() -> BoundSpace:
    return read_space(SPACE, "autopeft").bind(VIT, 5_000)


def settings(**changes: Any) -> dict[str, Any]:
    backbone = {"path": "a", "overrides": {}, "parameters": VIT.parameters, "layers": 4, "smallest": 64}
    return {
        "backbone": backbone,
        "space": {"name": "autopeft", "text": SPACE},
        "seed": 0,
        "fidelity": "none",
        "probe": False,
        **changes,
    }


def trial(repository: Repository, name: str, point: int) -> Trial:
    space = bound()
    assignment = space.starts[point].assignment
    configuration = space.configuration(assignment)
    return complete(
        repository, repository.get_study(name), configuration, space.cost(assignment), 0.5 + 0.01 * point
    )


def test_a_study_holds_its_backbones_shape(repository: Repository) -> None:
    study, resumed, _ = _find_study(repository, "s", settings(), bound())
    assert not resumed
    assert BackboneShape.from_json(study.settings["backbone"]["shape"]) == VIT
    assert _find_study(repository, "s", settings(), bound()) == (study, True, [])


def test_a_study_from_before_there_were_shapes_goes_on(repository: Repository) -> None:
    study = repository.create_study("s", settings(), 5_000, "autopeft")
    assert _find_study(repository, "s", settings(), bound()) == (study, True, [])


def test_what_a_warm_start_knows_is_settled_when_the_study_is_made(repository: Repository) -> None:
    _find_study(repository, "old", settings(), bound())
    first = trial(repository, "old", 0)
    warm = settings(seed=1, warm_start=["old"])
    study, _, observed = _find_study(repository, "new", warm, bound())
    assert study.settings["warm_start"][0]["trials"] == [first.number]
    assert [[o.score for o in told] for told in observed] == [[0.5]]
    trial(repository, "old", 1)
    assert _find_study(repository, "new", warm, bound()) == (study, True, observed)
    with pytest.raises(StudyError, match=r'other settings: warm_start was \["old"\], now null'):
        _find_study(repository, "new", settings(seed=1), bound())
    with pytest.raises(StudyError, match=r'warm_start was null, now \["new"\]'):
        _find_study(repository, "old", settings(warm_start=["new"]), bound())


def test_a_warm_start_that_is_refused_leaves_no_study(repository: Repository) -> None:
    _find_study(repository, "old", settings(), bound())
    with pytest.raises(StudyError, match="no complete trial"):
        _find_study(repository, "new", settings(warm_start=["old"]), bound())
    assert repository.find_study("new") is None
