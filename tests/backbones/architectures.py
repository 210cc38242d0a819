"""Tiny random models of many architectures, by their configurations alone."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers as t

TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "vocab_size": 40,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
IMAGE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
}
DECODER: dict[str, Any] = {**TEXT, "num_key_value_heads": 2, "eos_token_id": 1, "bos_token_id": 2}
OLD: dict[str, Any] = {"vocab_size": 40, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
GPT: dict[str, Any] = {**OLD, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_inner": 24, "n_positions": 32}
SEPARATE = "q k v o up down"
GATED = "q k v o gate up down"
FUSED = "qkv o up down"


@dataclass(frozen=True)
class Architecture:
    """A tiny model and what autopeft finds in it.

    Attributes:
        name: As people call it.
        modality: What it takes.
        config: Its configuration.
        sites: The sites, separated by spaces; empty where it is refused.
        prefix: Numbers per prefix token; 0 where it takes none.
        head: Paths of the modules that are trained with every configuration.
        refused: The sentence that says why it is not supported.
        layers: How many.
    """

    name: str
    modality: Literal["text", "image"]
    config: Any
    sites: str
    prefix: int
    head: tuple[str, ...] = ("classifier",)
    refused: str = ""
    layers: int = 2


TWO_PART_HEAD = ("classifier.dense", "classifier.out_proj")
ARCHITECTURES = [
    Architecture("ViT", "image", t.ViTConfig(**IMAGE), SEPARATE, 16),
    Architecture("DeiT", "image", t.DeiTConfig(**IMAGE), SEPARATE, 16),
    Architecture("BEiT", "image", t.BeitConfig(**IMAGE), SEPARATE, 16),
    Architecture(
        "DINOv2",
        "image",
        t.Dinov2Config(**{k: v for k, v in IMAGE.items() if k != "intermediate_size"}, mlp_ratio=2),
        SEPARATE,
        16,
    ),
    Architecture("BERT", "text", t.BertConfig(**TEXT), SEPARATE, 16),
    Architecture("RoBERTa", "text", t.RobertaConfig(**TEXT), SEPARATE, 16, TWO_PART_HEAD),
    Architecture("XLM-RoBERTa", "text", t.XLMRobertaConfig(**TEXT), SEPARATE, 16, TWO_PART_HEAD),
    Architecture(
        "DistilBERT",
        "text",
        t.DistilBertConfig(
            dim=16,
            n_layers=2,
            n_heads=4,
            hidden_dim=24,
            vocab_size=40,
            max_position_embeddings=32,
            pad_token_id=0,
        ),
        SEPARATE,
        16,
        ("classifier", "pre_classifier"),
    ),
    Architecture(
        "DeBERTa-v2",
        "text",
        t.DebertaV2Config(
            **TEXT,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=8,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
        ),
        SEPARATE,
        0,
        ("classifier", "pooler.dense"),
    ),
    Architecture("ELECTRA", "text", t.ElectraConfig(**TEXT, embedding_size=8), SEPARATE, 16, TWO_PART_HEAD),
    Architecture("ALBERT", "text", t.AlbertConfig(**TEXT, embedding_size=8), SEPARATE, 16, layers=1),
    Architecture("MPNet", "text", t.MPNetConfig(**TEXT), SEPARATE, 0, TWO_PART_HEAD),
    Architecture(
        "ModernBERT",
        "text",
        t.ModernBertConfig(**TEXT, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2),
        FUSED,
        16,
        ("classifier", "head.dense", "head.norm"),
    ),
    Architecture("GPT-2", "text", t.GPT2Config(**GPT), FUSED, 16, ("score",)),
    Architecture("GPT-J", "text", t.GPTJConfig(**GPT, rotary_dim=4), SEPARATE, 0, ("score",)),
    Architecture(
        "GPT-NeoX",
        "text",
        t.GPTNeoXConfig(**{**TEXT, "eos_token_id": 1, "bos_token_id": 1}),
        FUSED,
        16,
        ("score",),
    ),
    Architecture(
        "OPT",
        "text",
        t.OPTConfig(
            **OLD,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=24,
            max_position_embeddings=32,
            word_embed_proj_dim=16,
        ),
        SEPARATE,
        16,
        ("score",),
    ),
    Architecture(
        "BLOOM", "text", t.BloomConfig(**OLD, hidden_size=16, n_layer=2, n_head=4), FUSED, 0, ("score",)
    ),
    Architecture(
        "Falcon",
        "text",
        t.FalconConfig(**OLD, hidden_size=16, num_hidden_layers=2, num_attention_heads=4),
        FUSED,
        0,
        ("score",),
    ),
    Architecture("Llama", "text", t.LlamaConfig(**DECODER), GATED, 8, ("score",)),
    Architecture("Mistral", "text", t.MistralConfig(**DECODER), GATED, 8, ("score",)),
    Architecture("Qwen2", "text", t.Qwen2Config(**DECODER), GATED, 8, ("score",)),
    Architecture("Qwen3", "text", t.Qwen3Config(**DECODER, head_dim=8), GATED, 16, ("score",)),
    Architecture("Gemma 2", "text", t.Gemma2Config(**DECODER, head_dim=8), GATED, 16, ("score",)),
    Architecture("Phi", "text", t.PhiConfig(**DECODER), SEPARATE, 8, ("score",)),
    Architecture("Phi-3", "text", t.Phi3Config(**DECODER), FUSED, 8, ("score",)),
    Architecture(
        "T5",
        "text",
        t.T5Config(
            d_model=16,
            d_kv=4,
            d_ff=24,
            num_layers=2,
            num_heads=4,
            vocab_size=40,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        ),
        "",
        0,
        refused="a T5ForSequenceClassification is an encoder with a decoder: "
        "use a model that is one of the two, such as BERT or GPT-2.",
    ),
    Architecture(
        "BART",
        "text",
        t.BartConfig(
            **{**OLD, "bos_token_id": 2},
            d_model=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            max_position_embeddings=32,
        ),
        "",
        0,
        refused="a BartForSequenceClassification is an encoder with a decoder: "
        "use a model that is one of the two, such as BERT or GPT-2.",
    ),
    Architecture(
        "Swin",
        "image",
        t.SwinConfig(
            image_size=16, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 4], window_size=4
        ),
        "",
        0,
        refused="the layers of a SwinForImageClassification (swin.encoder.layers) hold no linear maps that are "
        "known as qkv, q, k, v, o, gate, up, down, each once.",
    ),
    Architecture(
        "Swin, one block a stage",
        "image",
        t.SwinConfig(
            image_size=16, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 4], window_size=4
        ),
        "",
        0,
        refused="the layers of a SwinForImageClassification have different widths (8, 16); "
        "one width is supported.",
    ),
    Architecture(
        "ConvNeXt",
        "image",
        t.ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[2, 2], image_size=16),
        "",
        0,
        refused="the layers of a ConvNextForImageClassification (convnext.encoder.stages) hold no linear maps "
        "that are known as qkv, q, k, v, o, gate, up, down, each once.",
    ),
    Architecture(
        "ResNet",
        "image",
        t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
        "",
        0,
        refused="no transformer layers were found in a ResNetForImageClassification.",
    ),
]


def find(name: str) -> Architecture:
    """The architecture that people call so."""
    return next(a for a in ARCHITECTURES if a.name == name)


def save(architecture: Architecture, folder: Path, *, body_only: bool = True) -> str:
    """A checkpoint with random weights, without a head (or with one of another width), as a hub has them."""
    torch.manual_seed(0)
    auto = (
        t.AutoModelForSequenceClassification
        if architecture.modality == "text"
        else t.AutoModelForImageClassification
    )
    labels = {str(i): f"L{i}" for i in range(5)}
    fields = {**architecture.config.to_dict(), "architectures": [], "id2label": labels}
    fields["label2id"] = {name: int(i) for i, name in labels.items()}
    config = type(architecture.config).from_dict(fields)
    model = auto.from_config(config)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
        (model.base_model if body_only else model).save_pretrained(folder)
    return str(folder)


def inputs(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Three images, or three texts of ten tokens of which the second is shorter and padded."""
    generator = torch.Generator().manual_seed(1)
    if architecture.modality == "image":
        size = architecture.config.image_size
        return {"pixel_values": torch.randn(3, 3, size, size, generator=generator)}
    ids = torch.randint(3, 40, (3, 10), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 6:] = mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}
