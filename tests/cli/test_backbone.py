"""`autopeft backbone`: what was found in a model, told to a person and as JSON."""

import json
from pathlib import Path

import pytest
import transformers as t
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from autopeft.backbones import model_path, read_backbone
from autopeft.backbones.describe import architecture_table
from autopeft.cli import draw_backbone
from autopeft.cli.backbone import backbone, parse_sites
from autopeft.errors import InputError

app = typer.Typer()
app.command()(backbone)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def llama(tmp_path: Path) -> str:
    t.LlamaConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        vocab_size=40,
    ).save_pretrained(tmp_path)
    return str(tmp_path)


def cells(result: Result, first: str) -> list[str]:
    (line,) = [line for line in result.stdout.splitlines() if line.split()[:1] == [first]]
    return line.split()


def test_the_starter() -> None:
    result = run()
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "starter · ViTForImageClassification · 676,992 parameters" in result.stdout
    assert "hidden 96 · heads 4 · intermediate 384 · 6 layers" in result.stdout
    assert "Layers 0-5  vit.layers.0 to vit.layers.5" in result.stdout
    assert cells(result, "up") == ["up", "96", "384", "384", "mlp.fc1"]
    assert "takes a prefix of 2 x 96 a token" in result.stdout
    assert all(line == line.rstrip() for line in result.stdout.splitlines())


def test_a_folder_with_a_configuration_only(llama: str) -> None:
    result = run(llama)
    assert result.exit_code == 0
    assert cells(result, "k") == ["k", "16", "8", "–", "self_attn.k_proj"]
    assert cells(result, "norm")[:3] == ["norm", "32", "–"]
    assert "prefix_tuning alone goes before model.embed_tokens, 16 a token" in result.stdout


def test_as_json(llama: str) -> None:
    result = run(llama, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["model"], found["class"]) == (llama, "LlamaForSequenceClassification")
    assert len(found["layers"]) == 3
    assert found["layers"][2]["places"]["down"]["paths"] == ["model.layers.2.mlp.down_proj"]


def test_sites_by_hand(llama: str) -> None:
    result = run(llama, "--sites", "up=gate_proj", "--sites", "gate=mlp.up_proj")
    assert result.exit_code == 0
    assert cells(result, "up")[-1] == "mlp.gate_proj"
    assert cells(result, "gate")[-1] == "mlp.up_proj"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sites", "q"], "cannot read 'q': write SITE=PATH, such as q=attn.q_proj."),
        (["--sites", "q=a", "--sites", "q=b"], "the site 'q' is named twice: as 'a' and as 'b'."),
        (["--sites", "q=attn.q_prj"], "Did you mean 'q=self_attn.q_proj'?"),
        (["--sites", "qq=attn.q_proj"], "cannot name 'qq' by hand"),
    ],
)
def test_what_cannot_be_named(llama: str, words: list[str], said: str) -> None:
    result = run(llama, *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_a_model_that_is_not_there_as_json() -> None:
    result = run("./nowhere", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {"error": "there is no model folder './nowhere'."}


def test_refused_sites_and_maps_that_are_none(tmp_path: Path) -> None:
    t.MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=40).save_pretrained(tmp_path)
    result = run(str(tmp_path))
    assert result.exit_code == 0
    assert "no out  a MambaMixer or its fused kernels read the weights of out_proj" in result.stdout
    listed = run(str(tmp_path), "--sites", "in=mixer.x_proj")
    assert "no site  mixer.in_proj: name them with --sites SITE=PATH" in listed.stdout


def test_two_towers_are_two_tables(tmp_path: Path) -> None:
    t.T5Config(d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, vocab_size=40).save_pretrained(
        tmp_path
    )
    result = run(str(tmp_path))
    assert "Layers 0-1  transformer.encoder.block.0 to transformer.encoder.block.1" in result.stdout
    assert "Layers 2-3  transformer.decoder.block.0 to transformer.decoder.block.1" in result.stdout
    assert "no input  the classifier of an encoder with a decoder" in result.stdout


def test_the_tested_architectures() -> None:
    result = run("--tested")
    assert result.exit_code == 0
    for row in architecture_table():
        assert row["name"] in result.stdout
        assert row["notes"] in result.stdout
    assert json.loads(run("--tested", "--json").stdout) == architecture_table()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_cuts_nothing(width: int) -> None:
    name, layout = read_backbone(model_path("starter"))
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(draw_backbone.draw_backbone("starter", name, layout))
        console.print(draw_backbone.draw_tested(architecture_table()))
    assert "…" not in capture.get()


def test_reading_sites() -> None:
    assert parse_sites([" q = attn.q_proj ", "k=0"]) == {"q": "attn.q_proj", "k": "0"}
    for text in ("q=", "=attn", ""):
        with pytest.raises(InputError, match="write SITE=PATH"):
            parse_sites([text])
