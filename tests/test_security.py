"""What docs/security.md promises of the code: no pickles, no shell, no SQL or code made of texts; hostile models and data."""

import ast
import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Audio, Dataset, Features, Value
from PIL import Image
from tiny import save_model

from autopeft.adapters.folder import load_adapter
from autopeft.backbones import load_backbone, read_backbone
from autopeft.backbones.load import model_path
from autopeft.errors import BackboneError, DataError, InputError
from autopeft.store import parse_url
from autopeft.tasks.images import open_image
from autopeft.tasks.load import resolve_task
from autopeft.tasks.preprocessor import load_preprocessor
from autopeft.tasks.table import read_table

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    p
    for folder in ("autopeft", "objectives", "dashboard", "benchmarks")
    for p in sorted((ROOT / folder).rglob("*.py"))
]
PICKLING = {
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
}
CALLED = {"eval", "exec", "compile", "__import__"}  # as bare names: a module's .eval() is torch's
YAML_THAT_CONSTRUCTS = {
    "load",
    "load_all",
    "full_load",
    "unsafe_load",
    "Loader",
    "FullLoader",
    "UnsafeLoader",
}
SQL = {"text", "exec_driver_sql", "literal_column", "DDL"}


def faults(source: str) -> Iterator[str]:
    """What in a source must not be there."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {m}" for m in modules if m.partition(".")[0] in PICKLING)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "yaml" and node.attr in YAML_THAT_CONSTRUCTS:
                yield f"uses yaml.{node.attr}"
            if (node.value.id, node.attr) in {("os", "system"), ("os", "popen")}:
                yield f"uses os.{node.attr}"
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        named = {k.arg: k.value for k in node.keywords}
        if name in CALLED:
            yield f"calls {name}"
        if ast.unparse(node.func) in ("torch.load", "torch.save"):
            safe = named.get("weights_only")
            if attribute == "save" or not (isinstance(safe, ast.Constant) and safe.value is True):
                yield f"calls torch.{attribute}"
        for option in ("shell", "allow_pickle", "trust_remote_code"):
            given = named.get(option)
            if given is not None and not (isinstance(given, ast.Constant) and given.value is False):
                yield f"sets {option}"
        if (name or attribute) in SQL and node.args:
            built = node.args[0]
            formatted = isinstance(built, ast.Call) and getattr(built.func, "attr", "") == "format"
            if isinstance(built, ast.JoinedStr | ast.BinOp) or formatted:
                yield f"makes SQL of texts for {name or attribute}"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("from pickle import loads", "imports pickle"),
        ("import torch\ntorch.load(p)", "calls torch.load"),
        ("torch.load(p, weights_only=False)", "calls torch.load"),
        ("yaml.load(t, Loader=yaml.Loader)", "uses yaml.load"),
        ("subprocess.run(c, shell=True)", "sets shell"),
        ("np.load(p, allow_pickle=True)", "sets allow_pickle"),
        ("auto.from_pretrained(p, trust_remote_code=trusted)", "sets trust_remote_code"),
        ("eval(x)", "calls eval"),
        ("connection.execute(text(f'SELECT {name}'))", "makes SQL of texts for text"),
        ("connection.exec_driver_sql('SELECT ' + name)", "makes SQL of texts for exec_driver_sql"),
    ],
)
def test_faults_are_seen(source: str, fault: str) -> None:
    assert fault in list(faults(source))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_sources_have_none(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


# -- models ----------------------------------------------------------------------------------------------------------


class Trap:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = ["good bad"] * 20
    return save_model("roberta", tmp_path_factory.mktemp("model") / "plain", texts, around="<s> $A </s>")


@pytest.fixture
def model(plain: Path, tmp_path: Path) -> Path:
    """A copy of a model, with code beside it that leaves a mark."""
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\nclass X: pass\n")
    return folder


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def load(folder: Path) -> None:
    load_backbone(str(folder), modality="text", problem="classification", num_labels=2)


AUTO_MAP = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForSequenceClassification"), "evil.X")


def test_a_model_of_its_own_code_is_refused(model: Path, tmp_path: Path) -> None:
    change(model / "config.json", auto_map=AUTO_MAP, model_type="evil")
    for read in (load, lambda folder: read_backbone(str(folder))):
        with pytest.raises(BackboneError, match="needs code of its own, which is never run"):
            read(model)
    assert not (tmp_path / "mark").exists()


def test_nobody_is_asked_whether_to_run_a_tokenizers_code(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers asks on the terminal where the argument is left out."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *a: asked.append(a) or "y")
    change(model / "config.json", auto_map={"AutoTokenizer": ["evil.X", "evil.X"]}, model_type="evil")
    change(
        model / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["evil.X", "evil.X"]},
        tokenizer_class="Evil",
    )
    with contextlib.suppress(BackboneError):
        load_preprocessor(model, "text")
    assert asked == []
    assert not (tmp_path / "mark").exists()


def test_code_beside_a_model_that_is_known_is_left_alone(model: Path, tmp_path: Path) -> None:
    change(model / "config.json", auto_map=AUTO_MAP)
    load(model)
    assert not (tmp_path / "mark").exists()


def test_pickled_weights_are_refused_and_not_opened(model: Path, tmp_path: Path) -> None:
    torch.save({"a": Trap(tmp_path / "mark")}, model / "pytorch_model.bin")
    load(model)  # beside safetensors nobody needs them
    (model / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"its weights are pickled \(\.bin\)"):
        load(model)
    assert not (tmp_path / "mark").exists()


# -- adapters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../outside", "/etc", "peft-0-lora/../..", 7, None, "owner/on-the-hub"])
def test_an_adapter_stays_in_its_folder(model: Path, tmp_path: Path, name: Any) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({"modules.x": torch.zeros(1)}, folder / "autopeft_model.safetensors")
    content = {"configuration": {"modules": [], "learning_rate": 0.1}, "head": [], "peft": [name]}
    (folder / "autopeft_config.json").write_text(json.dumps(content))
    from transformers import AutoModelForSequenceClassification

    loaded = AutoModelForSequenceClassification.from_pretrained(model)
    with pytest.raises(InputError, match=r"is not whole: '.*' of it has no adapter_model\.safetensors"):
        load_adapter(loaded, folder)


# -- data and paths --------------------------------------------------------------------------------------------------


def test_postscript_that_calls_itself_a_picture_is_not_opened(tmp_path: Path) -> None:
    """Pillow would hand it to Ghostscript."""
    Image.new("RGB", (4, 4)).save(tmp_path / "real.eps")
    (tmp_path / "real.eps").rename(tmp_path / "picture.jpg")
    with pytest.raises(DataError, match="cannot read"):
        open_image(tmp_path / "picture.jpg")


def test_sound_in_a_table_is_not_opened(tmp_path: Path) -> None:
    """datasets would fetch the address as it decodes."""
    import pyarrow.parquet

    names = ["http://192.0.2.1/a.wav"] * 10
    features = Features({"sound": Audio(), "text": Value("string"), "label": Value("int64")})
    table = {"sound": [{"path": n, "bytes": None} for n in names], "text": [f"t{i}" for i in range(10)]}
    plain = Dataset.from_dict({**table, "label": [i % 2 for i in range(10)]})
    schema = features.arrow_schema
    pyarrow.parquet.write_table(plain.data.table.cast(schema), tmp_path / "a.parquet")
    found = read_table(tmp_path / "a.parquet")
    assert found.columns["sound"][0]["path"] == names[0]
    assert resolve_task(str(tmp_path / "a.parquet")).settings.text == "text"


@pytest.mark.parametrize("read", [model_path, parse_url, resolve_task])
def test_a_home_that_nobody_has(read: Any) -> None:
    with pytest.raises(InputError, match="what '~' stands for there is not known"):
        read("~nobody-of-this-name/x.db" if read is parse_url else "~nobody-of-this-name/x")


@pytest.mark.parametrize(
    "name", ["a\0b", "x" * 5000, "../" * 2000 + "x", "\ud800"], ids=["nul", "long", "deep", "half"]
)
def test_a_path_that_no_file_can_have(name: str) -> None:
    for read in (resolve_task, lambda path: load(Path(model_path(path)))):
        with pytest.raises(InputError):
            read(name)
