"""Files with one fault each. Their first line is the whole message; the second may name the model that refuses them."""

from dataclasses import replace
from pathlib import Path

import pytest
from shapes import BERT, VIT
from typer.testing import CliRunner

from autopeft.cli.space import app
from autopeft.dsl.finding import find_space
from autopeft.errors import InputError
from autopeft.nouns import BackboneShape, LayerShape, Place

FOLDER = Path(__file__).parent / "broken"
FILES = sorted(FOLDER.glob("*.yaml"))

_MAMBA_LAYER = {
    "in": Place("linear", 64, 256),
    "x": Place("linear", 128, 36),
    "dt": Place("linear", 4, 128, bias=128),
    "norm": Place("norm", 64, 64),
}
MODELS = {
    "bert": BERT,
    "starter": replace(VIT, input=None),
    "no-prefix": replace(
        BERT, layers=(LayerShape({**BERT.layers[0].places, "attention": Place("block", 768, 768)}),) * 12
    ),
    "gpt2": replace(BERT, layers=(LayerShape({"qkv": Place("linear", 768, 2304, transposed=True)}),) * 12),
    "mamba": BackboneShape(
        parameters=100_000,
        hidden=64,
        heads=0,
        intermediate=0,
        layers=(LayerShape(_MAMBA_LAYER),) * 4,
        refused={"out": "peft refuses the out_proj of Mamba"},
    ),
}


def said(file: Path, word: str) -> str:
    """What stands behind `# word: ` at the top of a file."""
    lines = file.read_bytes().decode("utf-8", errors="replace").splitlines()[:2]
    return next((line.removeprefix(f"# {word}: ") for line in lines if line.startswith(f"# {word}: ")), "")


def test_there_are_enough() -> None:
    assert len(FILES) >= 30
    assert all(said(file, "expect") for file in FILES)


@pytest.mark.parametrize("file", [f for f in FILES if not said(f, "model")], ids=lambda f: f.stem)
def test_check_says_what_is_wrong(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    result = CliRunner().invoke(app, ["check", file.name])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {said(file, 'expect')}\n"


@pytest.mark.parametrize("file", [f for f in FILES if said(f, "model")], ids=lambda f: f.stem)
def test_binding_says_what_is_wrong(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    space = find_space(file.name)  # it is right as long as there is no model
    with pytest.raises(InputError) as raised:
        space.bind(MODELS[said(file, "model")], 10**18)
    assert str(raised.value) == said(file, "expect")
