"""Loading: new heads are told from the backbone, and what is no backbone is refused."""

import string
from pathlib import Path

import pytest
import torch
import transformers
from tiny import save_model

from autopeft.backbones import load_backbone, model_path, read_backbone, read_config, reset_head
from autopeft.errors import BackboneError
from autopeft.tasks.preprocessor import load_preprocessor

from .architectures import MAMBA, find, save

torch.set_num_threads(1)


def test_a_real_minilm(minilm_folder: Path) -> None:
    backbone = load_backbone(
        str(minilm_folder),
        modality="text",
        num_labels=2,
        problem="classification",
        config_overrides={"num_hidden_layers": 2},
    )
    shape = backbone.layout.shape
    assert shape.sites == ("q", "k", "v", "o", "up", "down")
    assert (shape.hidden, shape.heads, shape.intermediate, len(shape.layers)) == (384, 12, 1536, 2)
    assert backbone.head == ("classifier",)
    assert backbone.task_type == "SEQ_CLS"
    assert backbone.max_positions == 512
    embeddings = (30522 + 512 + 2) * 384 + 2 * 384
    layer = 4 * (384 * 384 + 384) + 2 * 384 * 1536 + 1536 + 384 + 4 * 384
    assert shape.parameters == embeddings + 2 * layer + 384 * 384 + 384  # and the pooler


@pytest.mark.parametrize("num_labels", [1, 2, 5, 7])
@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "ViT", "GPT-2", "T5"])
def test_the_head_is_new_and_does_not_count(name: str, num_labels: int, tmp_path: Path) -> None:
    """Whether the checkpoint has no head, one of another width, or one of the same width."""
    architecture = find(name)
    counts = set()
    for body_only in (True, False):
        path = save(architecture, tmp_path / str(body_only), body_only=body_only)
        backbone = load_backbone(
            path,
            modality=architecture.modality,
            num_labels=num_labels,
            problem="regression" if num_labels == 1 else "classification",
        )
        assert backbone.head == architecture.head
        assert backbone.model.config.num_labels == num_labels
        counts.add(backbone.layout.shape.parameters)
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("name", "positions"),
    [
        ("BERT", 32),
        ("RoBERTa", 31),
        ("GPT-2", 32),
        ("OPT", 32),
        ("Llama", 32),
        ("ViT", None),
        ("BLOOM", None),
    ],
)
def test_most_positions(name: str, positions: int | None, tmp_path: Path) -> None:
    """As many tokens as the model says it takes can be read, and no more where positions are learnt."""
    architecture = find(name)
    path = save(architecture, tmp_path)
    backbone = load_backbone(path, modality=architecture.modality, num_labels=2, problem="classification")
    assert backbone.max_positions == positions
    if positions is None:
        return
    with torch.no_grad():
        backbone.model(input_ids=torch.full((1, positions), 5))
        if name in ("BERT", "RoBERTa", "GPT-2", "OPT"):
            with pytest.raises((IndexError, RuntimeError)):
                backbone.model(input_ids=torch.full((1, positions + 1), 5))


@pytest.mark.parametrize("name", ["T5", "BART"])
def test_texts_end_where_an_encoder_with_a_decoder_looks(name: str, tmp_path: Path) -> None:
    """Its classifier reads the state at the end-of-text token: tokenizers put it there, also behind what is cut."""
    path = save(find(name), tmp_path)
    words = ["the", "film", "story", "was", "good", "bad"]
    if name == "T5":
        scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((f"▁{word}", -2.0) for word in words)]
        tokenizer = transformers.T5Tokenizer(vocab=scored, extra_ids=0)
    else:
        pieces = ["<pad>", "</s>", "<s>", "<unk>", "<mask>", "Ġ", *string.ascii_lowercase]
        tokenizer = transformers.BartTokenizer(vocab={p: i for i, p in enumerate(pieces)}, merges=[])
    tokenizer.save_pretrained(path)
    backbone = load_backbone(path, modality="text", num_labels=2, problem="classification")
    texts = ["the film was good", "bad", "the story was the story of the film"]
    encoded = load_preprocessor(path, "text")(texts, truncation=True, max_length=8)
    batch = tokenizer.pad(dict(encoded), return_tensors="pt")
    assert batch["input_ids"].shape == (3, 8)
    with torch.no_grad():
        together = backbone.model(**batch).logits
        for i, ids in enumerate(encoded["input_ids"]):
            assert ids[-1] == 1
            alone = backbone.model(input_ids=torch.tensor([ids])).logits
            torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-5)


def test_a_backbone_without_a_classifier(tmp_path: Path) -> None:
    transformers.MambaConfig(**MAMBA).save_pretrained(tmp_path)
    with pytest.raises(BackboneError) as raised:
        load_backbone(str(tmp_path), modality="text", num_labels=2, problem="classification")
    assert str(raised.value) == f"transformers has no text classifier on a mamba model ('{tmp_path}')."


def test_sites_by_hand_are_passed_on(tmp_path: Path) -> None:
    path = save(find("ConvNeXt"), tmp_path)
    by_hand = {"up": "pwconv1", "down": "pwconv2"}
    backbone = load_backbone(path, modality="image", num_labels=2, problem="classification", sites=by_hand)
    assert backbone.layout.shape.sites == ("up", "down")


# Without a task


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "T5", "ViT", "Swin"])
def test_reading_says_what_loading_says(name: str, tmp_path: Path) -> None:
    architecture = find(name)
    path = save(architecture, tmp_path)
    loaded = load_backbone(path, modality=architecture.modality, num_labels=2, problem="classification")
    (tmp_path / "model.safetensors").unlink()
    assert read_backbone(path) == (type(loaded.model).__name__, loaded.layout)


def test_reading_what_has_no_classifier(tmp_path: Path) -> None:
    transformers.MambaConfig(**MAMBA).save_pretrained(tmp_path)
    name, layout = read_backbone(str(tmp_path))
    assert name == "MambaModel"
    assert layout.shape.sites == ("in", "x")


def test_reading_the_starter() -> None:
    name, layout = read_backbone(model_path("starter"))
    assert (name, len(layout.layers)) == ("ViTForImageClassification", 6)
    assert layout.shape.parameters == 676_992


def test_reading_a_large_model_takes_no_memory(tmp_path: Path) -> None:
    transformers.LlamaConfig(
        hidden_size=8192, num_hidden_layers=80, num_attention_heads=64, intermediate_size=28672
    ).save_pretrained(tmp_path)
    _, layout = read_backbone(str(tmp_path))
    assert layout.shape.parameters > 60e9
    assert len(layout.layers) == 80


def test_reading_with_sites_by_hand(tmp_path: Path) -> None:
    path = save(find("BERT"), tmp_path)
    assert read_backbone(path, {"k": "attention.self.query"})[1].shape.sites == ("k", "v", "o", "up", "down")
    with pytest.raises(BackboneError, match="the site 'q' was not found"):
        read_backbone(path, {"q": "attention.self.nothing"})


@pytest.mark.parametrize(
    "config", ["{}", '{"model_type": "no-such-model"}', '{"model_type": "clip", "text_config": 1}']
)
def test_reading_what_is_no_model(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(BackboneError) as raised:
        read_backbone(str(tmp_path))
    assert is_one_sentence(raised.value)


def test_a_head_is_reset_from_the_global_generator(tmp_path: Path) -> None:
    architecture = find("RoBERTa")
    path = save(architecture, tmp_path)
    backbone = load_backbone(path, modality="text", num_labels=2, problem="classification")

    def head(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        reset_head(backbone.model, backbone.head)
        found = [backbone.model.get_submodule(p) for p in backbone.head]
        return torch.cat([p.detach().flatten().clone() for m in found for p in m.parameters()])

    first = head(1)
    assert torch.equal(head(1), first)
    assert not torch.equal(head(2), first)
    assert 0.01 < float(first[first != 0].std()) < 0.03


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./nowhere", "there is no model folder './nowhere'."),
        ("/no/where", "there is no model folder '/no/where'."),
        ("a/b/c", "there is no model folder 'a/b/c'."),
        ("~/surely/not", "there is no model folder '~/surely/not'."),
    ],
)
def test_a_path_that_is_not_there(model: str, message: str) -> None:
    with pytest.raises(BackboneError) as raised:
        model_path(model)
    assert str(raised.value) == message


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(BackboneError, match=r"is a file; give the folder that holds config\.json"):
        model_path(str(tmp_path / "model.bin"))


def test_folders_are_made_absolute_and_hub_ids_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_path("mine") == str(tmp_path / "mine")
    assert model_path("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"


def is_one_sentence(error: BackboneError) -> bool:
    return "\n" not in str(error) and "Traceback" not in str(error)


@pytest.mark.parametrize(
    "config",
    [None, "{}", "not json", '{"model_type": "no-such-model"}', "[]", '{"model_type": "bert"}'],
    ids=["no file", "empty", "no JSON", "unknown type", "a list", "no weights"],
)
def test_a_folder_that_holds_no_model(config: str | None, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(BackboneError) as raised:
        load_backbone(str(tmp_path), modality="text", num_labels=2, problem="classification")
    assert is_one_sentence(raised.value)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_damaged_weights(damage: str, tmp_path: Path) -> None:
    path = save(find("BERT"), tmp_path)
    weights = tmp_path / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(BackboneError) as raised:
        load_backbone(path, modality="text", num_labels=2, problem="classification")
    assert is_one_sentence(raised.value)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    path = save(find("BERT"), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(BackboneError) as raised:
        load_backbone(path, modality="text", num_labels=2, problem="classification")
    assert is_one_sentence(raised.value)


def test_weights_of_another_model(tmp_path: Path) -> None:
    path = save(find("BERT"), tmp_path / "bert")
    other = save(find("DistilBERT"), tmp_path / "distilbert")
    (Path(other) / "model.safetensors").rename(Path(path) / "model.safetensors")
    with pytest.raises(BackboneError, match=r"lacks \d+ % of the weights of a BertModel"):
        load_backbone(path, modality="text", num_labels=2, problem="classification")


@pytest.mark.parametrize(("name", "modality"), [("ViT", "text"), ("BERT", "image")])
def test_a_model_of_the_other_modality(name: str, modality: str, tmp_path: Path) -> None:
    path = save(find(name), tmp_path)
    with pytest.raises(BackboneError) as raised:
        load_backbone(path, modality=modality, num_labels=2, problem="classification")  # type: ignore[arg-type]
    assert is_one_sentence(raised.value)


def test_an_override_that_the_configuration_does_not_have(tmp_path: Path) -> None:
    path = save(find("BERT"), tmp_path)
    with pytest.raises(BackboneError, match="has no field 'num_layer'"):
        load_backbone(
            path, modality="text", num_labels=2, problem="classification", config_overrides={"num_layer": 1}
        )


def test_a_hub_id_without_a_network() -> None:
    with pytest.raises(BackboneError) as raised:
        read_config("surely/nobody-has-this-model")
    assert is_one_sentence(raised.value)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_language_model_keeps_its_own_head(kind: str, tmp_path: Path) -> None:
    folder = str(save_model(kind, tmp_path, ["to be or not to be"]))
    backbone = load_backbone(folder, modality="text", problem="causal-lm", num_labels=0)
    assert backbone.head == ()
    assert backbone.task_type == "CAUSAL_LM"
    assert not any(p.requires_grad for p in backbone.model.parameters())
    body = backbone.model.base_model
    assert backbone.layout.shape.parameters == sum(p.numel() for p in body.parameters())


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_with_a_decoder_keeps_its_own_head(kind: str, tmp_path: Path) -> None:
    folder = str(save_model(kind, tmp_path, ["to be or not to be"], around="$A </s>"))
    backbone = load_backbone(folder, modality="text", problem="seq2seq", num_labels=0)
    assert (backbone.head, backbone.task_type) == ((), "SEQ_2_SEQ_LM")
    shape = backbone.layout.shape
    assert len(shape.layers) == 4
    assert {"cross_q", "q", "down"} <= set(shape.sites)
    assert "a decoder of its own" in shape.refused["input"]


def test_a_language_model_without_its_head(tmp_path: Path) -> None:
    folder = save_model("llama", tmp_path, ["to be or not to be"])
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(BackboneError, match=r"lacks weights of a LlamaForCausalLM \('lm_head.weight'\)"):
        load_backbone(str(folder), modality="text", problem="causal-lm", num_labels=0)


def test_an_encoder_is_no_causal_language_model(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertLMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(BackboneError) as raised:
        load_backbone(str(tmp_path), modality="text", problem="causal-lm", num_labels=0)
    assert is_one_sentence(raised.value)
    assert "its tokens see those that come after them" in str(raised.value)


def test_a_model_that_cannot_be_for_the_problem(tmp_path: Path) -> None:
    path = save(find("DistilBERT"), tmp_path)
    with pytest.raises(
        BackboneError, match="transformers has no causal language model on a distilbert model"
    ):
        load_backbone(path, modality="text", problem="causal-lm", num_labels=0)
    with pytest.raises(
        BackboneError, match="has no sequence-to-sequence model on a distilbert model"
    ) as raised:
        load_backbone(path, modality="text", problem="seq2seq", num_labels=0)
    assert "--problem" not in str(raised.value)
    folder = str(save_model("t5", tmp_path / "t5", ["to be"], around="$A </s>"))
    with pytest.raises(BackboneError, match=r"on a t5 model .* It is one for --problem seq2seq\."):
        load_backbone(folder, modality="text", problem="causal-lm", num_labels=0)
