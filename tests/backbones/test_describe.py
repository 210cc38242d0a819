"""A layout as JSON, and layers that are alike."""

import json

import torch
import transformers as t

from autopeft.backbones.describe import architecture_table, describe_layout, like_layers
from autopeft.backbones.layout import Layout, find_layout

from .architectures import TEXT, find


def layout_of(name: str) -> Layout:
    with torch.device("meta"):
        model = t.AutoModel.from_config(find(name).config)
    return find_layout(model, sum(p.numel() for p in model.parameters()))


def test_everything_is_plain_json() -> None:
    found = json.loads(json.dumps(describe_layout(layout_of("GPT-2"))))
    assert list(found) == [
        *("parameters", "hidden", "heads", "intermediate", "layers", "input", "refused", "unnamed"),
    ]
    assert [layer["path"] for layer in found["layers"]] == ["h.0", "h.1"]
    places = found["layers"][1]["places"]
    assert list(places) == ["qkv", "o", "up", "down", "attention", "ffn", "norm"]
    assert places["qkv"] == {
        "kind": "linear",
        "inputs": 16,
        "outputs": 48,
        "bias": 48,
        "prefix_width": 0,
        "transposed": True,
        "paths": ["h.1.attn.c_attn"],
    }
    assert places["ffn"]["paths"] == ["h.1.mlp.c_fc", "h.1.mlp.c_proj"]
    assert places["norm"]["paths"] == ["h.1.ln_1", "h.1.ln_2"]
    assert (places["norm"]["inputs"], places["norm"]["bias"]) == (32, 32)
    assert found["input"]["paths"] == ["wte"]
    assert describe_layout(layout_of("ViT"))["input"] is None
    assert list(describe_layout(layout_of("Mamba"))["refused"]) == ["dt", "out"]


def test_runs_of_layers_that_are_alike() -> None:
    assert like_layers(layout_of("BERT")) == [range(2)]
    assert like_layers(layout_of("T5")) == [range(2), range(2, 4)]
    assert like_layers(layout_of("CLIP")) == [range(2), range(2, 5)]
    assert like_layers(layout_of("Swin")) == [range(2), range(2, 3)]
    assert like_layers(layout_of("ModernBERT")) == [range(1), range(1, 2)]
    assert like_layers(layout_of("Jamba")) == [range(1), range(1, 2)]


def test_two_lists_of_equal_layers_are_two_runs() -> None:
    with torch.device("meta"):
        model = t.AutoModel.from_config(
            t.VisionTextDualEncoderConfig.from_vision_text_configs(find("ViT").config, t.BertConfig(**TEXT))
        )
    runs = like_layers(find_layout(model, 1))
    assert runs == [range(2), range(2, 4)]


def test_the_table_has_the_families_that_are_promised() -> None:
    names = {row["name"] for row in architecture_table() if row["lora"] == "yes"}
    assert names >= {
        *("BERT", "RoBERTa", "DeBERTa-v3", "DistilBERT", "ViT", "GPT-2", "OPT", "Llama", "Qwen2", "Qwen3"),
        *("Gemma", "T5", "Flan-T5", "BART", "Whisper", "AST", "CLIP", "Mamba", "Swin"),
    }
