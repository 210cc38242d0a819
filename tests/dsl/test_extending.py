"""A space that is another one with parts of it changed."""

from pathlib import Path

import pytest

from autopeft.dsl import Choice, Members, ModuleSpec, OneOf, Space, Subset, Value, read_space
from autopeft.dsl.finding import find_space
from autopeft.errors import InputError, SpaceError
from autopeft.registry import space_text

BASE = """\
name: base
source: mine
layers: {subset: all}
modules:
  lora: {type: lora, sites: [q, v], rank: {choice: [1, 2]}, alpha: {tied: rank, times: 2}}
  prefix: {type: prefix, size: 4}
training:
  learning_rate: {float: [0.001, 0.1], log: true}
  weight_decay: 0.1
constraints: [trainable <= 1%]
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path / "change.yaml"


def changed(file: Path, change: str) -> Space:
    return read_space(f"name: change\nextends: base.yaml\n{change}", str(file))


def test_what_is_not_named_stays(base: Path) -> None:
    space, whole = changed(base, ""), read_space(BASE, "base.yaml")
    assert space.name == "change"
    assert (space.modules, space.training, space.layers) == (whole.modules, whole.training, whole.layers)
    assert (space.source, space.constraints) == (whole.source, whole.constraints)


def test_modules_and_training_are_joined_field_by_field(base: Path) -> None:
    space = changed(
        base,
        "modules: {lora: {rank: {choice: [8]}, dora: true}, more: {type: ia3, sites: [k]}}\n"
        "training: {weight_decay: 0.2}\n",
    )
    whole = read_space(BASE, "base.yaml").modules["lora"]
    assert isinstance(whole, ModuleSpec)
    assert space.modules == {
        "lora": ModuleSpec(
            "lora", sites=["q", "v"], rank=Choice((8,)), alpha=whole.fields["alpha"], dora=Value(True)
        ),
        "prefix": ModuleSpec("prefix", size=4),
        "more": ModuleSpec("ia3", sites=["k"]),
    }
    assert list(space.modules) == ["lora", "prefix", "more"]
    assert space.training["weight_decay"] == Value(0.2)
    assert "learning_rate" in space.training


def test_all_else_is_replaced_whole(base: Path) -> None:
    space = changed(
        base,
        "layers: [0]\nconstraints: [sites >= 2]\ntraining: {learning_rate: 0.01}\n"
        "modules: {lora: {sites: {subset: [k]}}, prefix: {one_of: [{type: frozen}, {type: prefix, size: 2}]}}\n",
    )
    assert space.layers == Members((0,))
    assert [c.measure for c in space.constraints] == ["sites"]
    assert space.training["learning_rate"] == Value(0.01)
    assert isinstance(space.modules["prefix"], OneOf)
    lora = space.modules["lora"]
    assert isinstance(lora, ModuleSpec)
    assert lora.sites == Subset(("k",))


def test_a_module_of_another_type_is_another_module(base: Path) -> None:
    space = changed(base, "modules: {prefix: {type: bias, sites: all}}\n")
    assert space.modules["prefix"] == ModuleSpec("bias", sites=Members())


def test_null_takes_away(base: Path) -> None:
    space = changed(
        base,
        "layers: null\nconstraints:\nmodules: {prefix: null, lora: {alpha: }}\ntraining: {weight_decay: null}\n",
    )
    assert space.layers == Members()
    assert space.constraints == ()
    assert list(space.training) == ["learning_rate"]
    assert list(space.modules) == ["lora"]
    assert "alpha" not in space.modules["lora"].fields  # type: ignore[union-attr]


def test_the_text_is_complete(base: Path) -> None:
    """A study's record does not change when the other file does."""
    space = changed(base, "modules: {prefix: {size: 8}}\n")
    assert "extends" not in space.text
    (base.parent / "base.yaml").unlink()
    assert read_space(space.text, "record") == space


def test_a_shipped_space_by_its_name_even_from_a_file_called_like_it(tmp_path: Path) -> None:
    file = tmp_path / "lora.yaml"
    file.write_text("name: mine\nextends: lora\nmodules: {lora: {rank: 4}}\n")
    space = find_space(str(file))
    assert space.modules["lora"].fields["rank"] == Value(4)  # type: ignore[union-attr]
    assert space.layers == read_space(space_text("lora"), "lora").layers


def test_an_error_in_the_other_file_is_told_there(base: Path) -> None:
    (base.parent / "base.yaml").write_text(BASE.replace("rank: {choice", "rank: {choise"))
    with pytest.raises(SpaceError, match=r"base\.yaml:5:44: unknown domain 'choise'"):
        changed(base, "")


def test_a_long_chain_ends(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / f"s{i}.yaml").write_text(f"name: s\nextends: s{i + 1}.yaml\n")
    with pytest.raises(SpaceError, match="more than 5 spaces extend each other"):
        find_space(str(tmp_path / "s0.yaml"))


def test_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_space("tiny").name == "tiny"
    with pytest.raises(InputError, match=r"there is no search space 'tinny': .* Did you mean 'tiny'\?"):
        find_space("tinny")
    (tmp_path / "huge.yaml").write_bytes(b"#" * 500_000)
    with pytest.raises(SpaceError, match=r"huge\.yaml: more than 400,000 bytes"):
        find_space("huge.yaml")
