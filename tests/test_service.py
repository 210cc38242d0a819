"""What a study's settings hold, and which calls go on with it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report.filled import complete  # tests/report
from shapes import VIT
from tiny import make_tokenizer, save_model

from autopeft.dsl import BoundSpace, read_space
from autopeft.errors import BackboneError, InputError, StudyError
from autopeft.nouns import BackboneShape, Trial
from autopeft.registry import Objective, find_objectives, objectives_of, space_text
from autopeft.service import _find_study, _inspect, _is_complete, _prior_so_far, search
from autopeft.store import Repository
from autopeft.tasks.load import resolve_task
from autopeft.weights import PLAIN

SPACE = space_text("autopeft")


def test_what_cannot_be_encoded_is_refused_before_anything_starts(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "why <299>"}, {"role": "assistant", "content": "so"}]
    (tmp_path / "chats.jsonl").write_text((json.dumps({"messages": chat}) + "\n") * 12)
    task = resolve_task(str(tmp_path / "chats.jsonl"))
    model = save_model("gpt2", tmp_path / "gpt2", ["why so"])
    _, shape = _inspect(str(model), task, {}, {}, PLAIN, ())
    assert shape.parameters > 0
    make_tokenizer(["why so"], chat=False).save_pretrained(model)
    (model / "chat_template.jinja").unlink()
    with pytest.raises(BackboneError, match="has no chat template"):
        _inspect(str(model), task, {}, {}, PLAIN, ())
    larger = make_tokenizer(["why so"])
    larger.add_tokens([f"<{i}>" for i in range(300)])
    larger.save_pretrained(model)
    with pytest.raises(
        BackboneError,
        match=r"tokens that the model does not know: one has the number \d+, and the model has \d+",
    ):
        _inspect(str(model), task, {}, {}, PLAIN, ())


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
        "prior": "none",
        **changes,
    }


def trial(repository: Repository, name: str, point: int, **values: float) -> Trial:
    space = bound()
    assignment = space.starts[point].assignment
    configuration = space.configuration(assignment)
    cost = space.cost(assignment)
    score = 0.5 + 0.01 * point
    return complete(repository, repository.get_study(name), configuration, cost, score, **values)


def test_a_study_holds_its_backbones_shape(repository: Repository) -> None:
    study, resumed, _ = _find_study(repository, "s", settings(), bound())
    assert not resumed
    assert BackboneShape.from_json(study.settings["backbone"]["shape"]) == VIT
    assert _find_study(repository, "s", settings(), bound()) == (study, True, [])


def test_a_study_from_before_there_were_shapes_goes_on(repository: Repository) -> None:
    study = repository.create_study("s", settings(), 5_000, "autopeft")
    assert _find_study(repository, "s", settings(), bound()) == (study, True, [])


@pytest.mark.parametrize(("before", "now"), [(True, "sensitivity"), (False, "none")])
def test_a_study_that_says_whether_there_is_a_probe_goes_on_with_its_prior(
    before: bool, now: str, repository: Repository
) -> None:
    old = {**{name: value for name, value in settings().items() if name != "prior"}, "probe": before}
    study = repository.create_study("s", old, 5_000, "autopeft")
    assert _prior_so_far(repository, "s") == now
    assert _find_study(repository, "s", settings(prior=now), bound()) == (study, True, [])
    other = "none" if before else "sensitivity"
    with pytest.raises(StudyError, match=f'prior was "{now}", now "{other}"'):
        _find_study(repository, "s", settings(prior=other), bound())


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


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"objectives": "score,memory", "fidelity": "epochs"},
            "a search for score,memory stops no trial early",
        ),
        ({"objectives": ["score", "memory"], "warm_start": "old"}, "learns nothing from earlier studies"),
        ({"objectives": "score,memory", "prior": "sensitivity"}, "a search for score,memory has no prior"),
        ({"prior": "sensitivty"}, "unknown prior 'sensitivty': known are sensitivity, none"),
        ({"prior": "sensitivity", "sampler": "random"}, "the sampler 'random' uses no prior"),
        ({"prior": "sensitivity", "space": "sparse"}, "the space has no prior: .* is of type"),
        ({"forgetting_data": "starter"}, "the search is not for it: add it"),
        ({"objectives": "score,memry"}, "unknown objective 'memry'"),
    ],
)
def test_what_cannot_be_asked_for(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        search(**asked)


def test_an_objective_that_a_backbone_does_not_offer_is_refused() -> None:
    task = resolve_task("starter")
    dark = Objective("joules", "minimize", measure=lambda t: 1.0, objection=lambda b, t: "there is no meter")
    with pytest.raises(BackboneError, match="'joules' cannot be measured on 'starter': there is no meter"):
        _inspect("starter", task, {}, {}, PLAIN, [dark])
    assert _inspect("starter", task, {}, {}, PLAIN, find_objectives("score,density")[1])[0] == "starter"


def test_a_study_of_other_objectives_is_complete_when_its_own_front_is_confirmed(
    repository: Repository,
) -> None:
    study, _, _ = _find_study(repository, "s", settings(objectives=["score", "adapter_bytes"]), bound())
    space = bound()
    assert not _is_complete(repository, study, space, 1, 0)
    trial(repository, "s", 0)  # without its bytes it is on no front
    assert _is_complete(repository, study, space, 1, 1)
    trial(repository, "s", 1, adapter_bytes=100.0)
    assert not _is_complete(repository, study, space, 2, 1)
    assert _is_complete(repository, study, space, 2, 0)


def test_a_study_says_its_objectives_only_where_they_are_others(repository: Repository) -> None:
    asked = settings(objectives=["score", "adapter_bytes"])
    study, _, _ = _find_study(repository, "s", asked, bound())
    assert study.settings["objectives"][1]["unit"] == "bytes"
    assert [objective.name for objective in objectives_of(study.settings)] == ["score", "adapter_bytes"]
    assert _find_study(repository, "s", asked, bound()) == (study, True, [])
    with pytest.raises(StudyError, match=r'objectives was \["score", "adapter_bytes"\], now null'):
        _find_study(repository, "s", settings(), bound())


def test_what_was_asked_for_is_no_setting(repository: Repository) -> None:
    study, _, _ = _find_study(repository, "s", settings(), bound())
    repository.note_asked(study.id, {"trials": 7})
    noted = repository.get_study("s")
    assert noted.settings == {**study.settings, "asked": {"trials": 7}}
    assert _find_study(repository, "s", settings(), bound()) == (noted, True, [])


def test_a_changed_space_is_refused_line_by_line_and_may_be_another_study(repository: Repository) -> None:
    study, _, _ = _find_study(repository, "s", settings(), bound())
    text = SPACE.replace("scaling: 4", "scaling: 2")
    other = settings(space={"name": "autopeft", "text": text}, seed=4)
    with pytest.raises(StudyError) as refused:
        _find_study(repository, "s", other, bound())
    said = str(refused.value).splitlines()
    assert said[0] == "the study 's' has other settings: space.text was changed:"
    assert [line[:5] for line in said[1:3]] == ["    -", "    +"]
    assert said[2].endswith("scaling: 2; seed was 0, now 4")
    assert "--as NEW_NAME" in said[-1]
    new, resumed, _ = _find_study(repository, "s", other, bound(), "t")
    assert (new.name, resumed) == ("t", False)
    assert _find_study(repository, "s", other, bound(), "t")[:2] == (new, True)  # the same command again
    assert _find_study(repository, "s", settings(), bound(), "t")[:2] == (study, True)  # nothing has changed


def test_a_study_that_knows_a_fingerprint_for_each_file_is_the_same(repository: Repository) -> None:
    task = {"problem": "classification", "fingerprint": "a"}
    study, _, _ = _find_study(repository, "s", settings(task=task), bound())
    with_files = settings(task={**task, "files": {"a.csv": "a"}})
    assert _find_study(repository, "s", with_files, bound()) == (study, True, [])
    with pytest.raises(StudyError, match="the content of the data has changed"):
        _find_study(repository, "s", settings(task={**task, "fingerprint": "b"}), bound())


def test_a_study_in_place_of_which_one() -> None:
    with pytest.raises(InputError, match="'t' would be a study in place of which one"):
        search(new_study="t")
