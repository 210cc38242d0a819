"""Recipes: what is written is read back, and whatever is not right is told by its field."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from autopeft.errors import InputError
from autopeft.nouns import Configuration, Module
from autopeft.recipe import Recipe, read_recipe, write_recipe

LORA = Module("lora", 4, (0, 2), (("alpha", 8), ("dora", True), ("sites", ("q", "v"))))
RECIPE = Recipe(
    description="lora 4",
    found={"study": "s", "trial": 3},
    backbone={"model": "m", "path": "/m", "overrides": {}, "parameters": 1000},
    task={"data": "d"},
    configuration=Configuration.of([LORA], 3e-3, {"weight_decay": 0.1}, {"type": "spt", "threshold": 5.0}),
    plan=Configuration.of([LORA], 3e-3),
    training={"epochs": 2, "batch_size": 8},
    seed=1,
    metric="accuracy",
    score=0.75,
    tolerance=0.01,
    trainable=64,
    further={"test_score": 0.7},
    environment={"torch": "2.13.0", "threads": 1},
)


@pytest.mark.parametrize("place", ["folder", "some/file.json"])
def test_it_comes_back(tmp_path: Path, place: str) -> None:
    file = write_recipe(RECIPE, tmp_path / place)
    assert file == tmp_path / place / "recipe.json" if place == "folder" else tmp_path / place
    assert read_recipe(tmp_path / place) == RECIPE
    assert read_recipe(file) == RECIPE


def test_what_counts_as_the_same() -> None:
    assert RECIPE.came_back(0.759)
    assert not RECIPE.came_back(0.761)
    assert RECIPE.within == 0.01  # not a share below 1


def changed(path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(RECIPE.to_json())
    *parents, last = path.split("/")
    inside: Any = content
    for name in parents:
        inside = inside[int(name) if name.isdecimal() else name]
    if value is None:
        del inside[last]
    else:
        inside[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("format", "x", "its 'format' is not 'autopeft recipe'"),
        ("version", 2, "a recipe of version 2, and this autopeft reads version 1. Use the autopeft that wrote it"),
        ("seed", None, "it has no 'seed'"),
        ("seed", "1", "its 'seed' is \"1\", and not a whole number"),
        ("sed", 1, "an unknown field 'sed'. Did you mean 'seed'?"),
        ("result/score", "good", "its 'result.score' is \"good\", and not a number"),
        ("result/scores", 1, "an unknown field 'result.scores'"),
        ("backbone/path", None, "it has no 'backbone.path'"),
        ("backbone/trust_remote_code", True, "an unknown field 'backbone.trust_remote_code'"),
        ("configuration/learning_rate", True, "its 'configuration.learning_rate' is true"),
        ("configuration/learning_rate", -1, "its 'configuration.learning_rate' is -1: allowed are"),
        ("configuration/weight_decay", "a", "its 'configuration.weight_decay' is \"a\""),
        ("configuration/warmup", 0.1, "an unknown field 'configuration.warmup'"),
        ("configuration/modules/0/type", "lorra", "unknown module type 'lorra'"),
        ("configuration/modules/0/size", "4", "its 'configuration.modules[0].size' is \"4\""),
        ("configuration/modules/0/size", 4.5, "its 'configuration.modules[0].size' is 4.5, and not a whole"),
        ("configuration/modules/0/layers", ["a"], "its 'configuration.modules[0].layers' are not whole numbers"),
        ("configuration/modules/0/sites", ["ffn"], "unknown site of lora 'ffn'"),
        ("configuration/modules/0/dora", "yes", "its 'configuration.modules[0].dora' is \"yes\", and not true or false"),
        ("configuration/modules/0/init", "magic", "its 'configuration.modules[0].init' is \"magic\", and not one of"),
        ("configuration/modules/0/rslra", True, "an unknown field 'configuration.modules[0].rslra'"),
        ("configuration/modules", [3], "its 'configuration.modules[0]' is 3, and not an object"),
        ("configuration/allocation/type", "spot", "unknown allocator 'spot'"),
        ("configuration/allocation/thresold", 1, "Did you mean 'threshold'?"),
        ("plan/modules/0/size", None, "its 'plan' is no configuration"),
    ],
)  # fmt: skip
def test_what_is_not_right_is_told(tmp_path: Path, path: str, value: Any, words: str) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(changed(path, value)))
    with pytest.raises(InputError) as raised:
        read_recipe(file)
    assert str(raised.value).startswith(f"cannot use '{file}': ")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"), [("{", "cannot read"), ("[]", "it is no recipe"), ("\xff", "cannot read")]
)
def test_what_is_no_recipe(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "recipe.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=words):
        read_recipe(file)
    with pytest.raises(InputError, match=r"there is no recipe '.*nowhere"):
        read_recipe(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"there is no recipe '.*empty.recipe\.json'"):
        read_recipe(tmp_path / "empty")
