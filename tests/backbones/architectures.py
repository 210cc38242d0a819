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
CLIP_TEXT: dict[str, Any] = {**TEXT, "eos_token_id": 1, "bos_token_id": 2}
CLIP_IMAGE: dict[str, Any] = {
    **IMAGE,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}
DEBERTA: dict[str, Any] = {
    **TEXT,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
SEQ2SEQ: dict[str, Any] = {
    **OLD,
    "bos_token_id": 2,
    "decoder_start_token_id": 2,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
}
WHISPER: dict[str, Any] = {**SEQ2SEQ, "num_mel_bins": 8, "max_source_positions": 8, "max_target_positions": 8}
T5: dict[str, Any] = {
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 40,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
MAMBA: dict[str, Any] = {**OLD, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
SEPARATE = "q k v o up down"
GATED = "q k v o gate up down"
FUSED = "qkv o up down"
CROSS = "q k v o cross_q cross_k cross_v cross_o up down"
CROSS_GATED = "q k v o cross_q cross_k cross_v cross_o gate up down"


@dataclass(frozen=True)
class Architecture:
    """A tiny model and what autopeft finds in it.

    Attributes:
        name: As people call it.
        takes: What it takes.
        config: Its configuration.
        sites: The sites that some layer has, separated by spaces; empty where it is refused.
        prefix: Numbers per prefix token, each that there is; empty where it takes none.
        head: Paths of the modules that are trained with every configuration.
        refused: The sentence that says why it is not supported.
        layers: How many.
        heads: Attention heads.
        model: Its class; None: the classifier of texts or images, which `load_backbone` loads.
    """

    name: str
    takes: Literal["text", "image", "audio", "image and text"]
    config: Any
    sites: str
    prefix: tuple[int, ...]
    head: tuple[str, ...] = ("classifier",)
    refused: str = ""
    layers: int = 2
    heads: int = 4
    model: Any = None

    @property
    def modality(self) -> Literal["text", "image"]:
        """What `load_backbone` is asked for."""
        assert self.model is None
        return "text" if self.takes == "text" else "image"


SEQ2SEQ_HEAD = ("classification_head.dense", "classification_head.out_proj")
TWO_PART_HEAD = ("classifier.dense", "classifier.out_proj")
ARCHITECTURES = [
    Architecture("ViT", "image", t.ViTConfig(**IMAGE), SEPARATE, (16,)),
    Architecture("DeiT", "image", t.DeiTConfig(**IMAGE), SEPARATE, (16,)),
    Architecture("BEiT", "image", t.BeitConfig(**IMAGE), SEPARATE, (16,)),
    Architecture(
        "DINOv2",
        "image",
        t.Dinov2Config(**{k: v for k, v in IMAGE.items() if k != "intermediate_size"}, mlp_ratio=2),
        SEPARATE,
        (16,),
    ),
    Architecture("BERT", "text", t.BertConfig(**TEXT), SEPARATE, (16,)),
    Architecture("RoBERTa", "text", t.RobertaConfig(**TEXT), SEPARATE, (16,), TWO_PART_HEAD),
    Architecture("XLM-RoBERTa", "text", t.XLMRobertaConfig(**TEXT), SEPARATE, (16,), TWO_PART_HEAD),
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
        (16,),
        ("classifier", "pre_classifier"),
    ),
    Architecture(
        "DeBERTa-v2",
        "text",
        t.DebertaV2Config(**DEBERTA, conv_kernel_size=3, conv_act="gelu"),
        SEPARATE,
        (),
        ("classifier", "pooler.dense"),
    ),
    Architecture(
        "DeBERTa-v3", "text", t.DebertaV2Config(**DEBERTA), SEPARATE, (), ("classifier", "pooler.dense")
    ),
    Architecture(
        "ELECTRA", "text", t.ElectraConfig(**TEXT, embedding_size=8), SEPARATE, (16,), TWO_PART_HEAD
    ),
    Architecture("ALBERT", "text", t.AlbertConfig(**TEXT, embedding_size=8), SEPARATE, (16,), layers=1),
    Architecture("MPNet", "text", t.MPNetConfig(**TEXT), SEPARATE, (), TWO_PART_HEAD),
    Architecture(
        "ModernBERT",
        "text",
        t.ModernBertConfig(**TEXT, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2),
        FUSED,
        (16,),
        ("classifier", "head.dense", "head.norm"),
    ),
    Architecture("GPT-2", "text", t.GPT2Config(**GPT), FUSED, (16,), ("score",)),
    Architecture("GPT-J", "text", t.GPTJConfig(**GPT, rotary_dim=4), SEPARATE, (), ("score",)),
    Architecture(
        "GPT-NeoX",
        "text",
        t.GPTNeoXConfig(**{**TEXT, "eos_token_id": 1, "bos_token_id": 1}),
        FUSED,
        (16,),
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
        (16,),
        ("score",),
    ),
    Architecture(
        "BLOOM", "text", t.BloomConfig(**OLD, hidden_size=16, n_layer=2, n_head=4), FUSED, (), ("score",)
    ),
    Architecture(
        "Falcon",
        "text",
        t.FalconConfig(**OLD, hidden_size=16, num_hidden_layers=2, num_attention_heads=4),
        FUSED,
        (),
        ("score",),
    ),
    Architecture("Llama", "text", t.LlamaConfig(**DECODER), GATED, (8,), ("score",)),
    Architecture("Mistral", "text", t.MistralConfig(**DECODER), GATED, (8,), ("score",)),
    Architecture("Qwen2", "text", t.Qwen2Config(**DECODER), GATED, (8,), ("score",)),
    Architecture("Qwen3", "text", t.Qwen3Config(**DECODER, head_dim=8), GATED, (16,), ("score",)),
    Architecture("Phi", "text", t.PhiConfig(**DECODER), SEPARATE, (8,), ("score",)),
    Architecture("Phi-3", "text", t.Phi3Config(**DECODER), FUSED, (8,), ("score",)),
    Architecture("Gemma", "text", t.GemmaConfig(**DECODER, head_dim=8), GATED, (16,), ("score",)),
    Architecture("Gemma 2", "text", t.Gemma2Config(**DECODER, head_dim=8), GATED, (16,), ("score",)),
    Architecture(
        "Gemma 3",
        "text",
        t.Gemma3TextConfig(**DECODER, head_dim=8, sliding_window=8),
        GATED,
        (16,),
        ("score",),
    ),
    Architecture(
        "Mixtral",
        "text",
        t.MixtralConfig(**DECODER, num_local_experts=2, num_experts_per_tok=1),
        "q k v o",
        (8,),
        ("score",),
    ),
    Architecture(
        "Jamba",
        "text",
        t.JambaConfig(
            **DECODER,
            attn_layer_period=2,
            attn_layer_offset=1,
            num_experts=1,
            num_experts_per_tok=1,
            mamba_d_state=4,
            mamba_dt_rank=2,
        ),
        "q k v o gate up down in x",
        (8,),
        ("score",),
    ),
    Architecture("Mamba", "text", t.MambaConfig(**MAMBA), "in x", (), (), heads=0, model=t.MambaModel),
    Architecture(
        "Mamba 2",
        "text",
        t.Mamba2Config(**MAMBA, head_dim=8, num_heads=4, n_groups=2, chunk_size=4),
        "in",
        (),
        (),
        heads=0,
        model=t.Mamba2Model,
    ),
    Architecture("T5", "text", t.T5Config(**T5), CROSS, (16,), SEQ2SEQ_HEAD, layers=4),
    Architecture(
        "Flan-T5",
        "text",
        t.T5Config(**{**T5, "d_kv": 8}, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        CROSS_GATED,
        (32,),
        SEQ2SEQ_HEAD,
        layers=4,
    ),
    Architecture(
        "BART",
        "text",
        t.BartConfig(**SEQ2SEQ, max_position_embeddings=32),
        CROSS,
        (16,),
        SEQ2SEQ_HEAD,
        layers=4,
    ),
    Architecture(
        "Whisper", "audio", t.WhisperConfig(**WHISPER), CROSS, (16,), (), layers=4, model=t.WhisperModel
    ),
    Architecture(
        "Whisper, encoder",
        "audio",
        t.WhisperConfig(**WHISPER),
        SEPARATE,
        (16,),
        (),
        model=t.WhisperForAudioClassification,
    ),
    Architecture(
        "AST",
        "audio",
        t.ASTConfig(
            **{k: v for k, v in IMAGE.items() if k != "image_size"},
            max_length=16,
            num_mel_bins=8,
            frequency_stride=4,
            time_stride=4,
        ),
        SEPARATE,
        (16,),
        (),
        model=t.ASTForAudioClassification,
    ),
    Architecture(
        "Wav2Vec 2",
        "audio",
        t.Wav2Vec2Config(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=24,
            conv_dim=[8, 8],
            conv_kernel=[4, 4],
            conv_stride=[2, 2],
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            vocab_size=40,
        ),
        SEPARATE,
        (16,),
        (),
        model=t.Wav2Vec2Model,
    ),
    Architecture(
        "CLIP",
        "image and text",
        t.CLIPConfig(text_config=CLIP_TEXT, vision_config=CLIP_IMAGE, projection_dim=8),
        SEPARATE,
        (16, 8),
        (),
        layers=5,
        model=t.CLIPModel,
    ),
    Architecture(
        "Swin",
        "image",
        t.SwinConfig(
            image_size=16,
            patch_size=2,
            embed_dim=8,
            depths=[2, 1],
            num_heads=[2, 4],
            window_size=4,
            mlp_ratio=2.0,
        ),
        SEPARATE,
        (8, 16),
        layers=3,
    ),
    Architecture(
        "ConvNeXt",
        "image",
        t.ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[2, 2], image_size=16),
        "",
        (),
        refused="no site was found in the layers of a ConvNextForImageClassification: the blocks in "
        "convnext.encoder.stages.1.layers hold the linear maps pwconv1, pwconv2; name them by hand, such as "
        "--sites up=pwconv1.",
    ),
    Architecture(
        "ResNet",
        "image",
        t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
        "",
        (),
        refused="no layers were found in a ResNetForImageClassification: it has no list of blocks with linear maps.",
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
    """A batch of three; of texts, ten tokens each, the second is shorter and padded."""
    generator = torch.Generator().manual_seed(1)
    config = architecture.config

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(3, *shape, generator=generator)

    if architecture.takes == "image":
        return {"pixel_values": noise(3, config.image_size, config.image_size)}
    ids = torch.randint(3, 40, (3, 10), generator=generator)
    if architecture.takes == "audio":
        if isinstance(config, t.Wav2Vec2Config):
            return {"input_values": noise(64)}
        if isinstance(config, t.ASTConfig):
            return {"input_values": noise(config.max_length, config.num_mel_bins)}
        spectrum = {"input_features": noise(config.num_mel_bins, 2 * config.max_source_positions)}
        return spectrum | ({"decoder_input_ids": ids[:, :5]} if architecture.model is t.WhisperModel else {})
    mask = torch.ones_like(ids)
    ids[1, 6:] = mask[1, 6:] = 0
    text = {"input_ids": ids, "attention_mask": mask}
    if config.is_encoder_decoder or architecture.takes == "image and text":
        ids[1, 5] = ids[0, 9] = ids[2, 9] = 1  # these pool at the end-of-text token
    if architecture.takes == "image and text":
        size = config.vision_config.image_size
        return {**text, "pixel_values": noise(3, size, size)}
    return text
