"""Tiny random language models with tokenizers that are trained on a test's own texts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'assistant' %}<|assistant|>{{ m.content }}</s>{% else %}<|user|>{{ m.content }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SMALL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def make_tokenizer(texts: Iterable[str], *, size: int = 320, around: str = "$A", chat: bool = True) -> Any:
    """A byte-level tokenizer, as GPT-2's.

    Args:
        texts: What it is trained on.
        size: Of the vocabulary; 256 bytes and the special tokens are always in it.
        around: What it puts around a text: `<s> $A` for Llama's habit, `$A </s>` for T5's.
        chat: Whether it has a chat template.
    """
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    if chat:
        tokenizer.chat_template = TEMPLATE
    return tokenizer


def config(kind: str, vocabulary: int) -> Any:
    """The configuration of a model of two layers, 16 wide."""
    match kind:
        case "gpt2":
            return transformers.GPT2Config(
                vocab_size=vocabulary, n_embd=16, n_layer=2, n_head=2, n_positions=96, **_SMALL
            )
        case "llama":
            return transformers.LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=96,
                **_SMALL,
            )
        case "roberta":
            return transformers.RobertaConfig(
                vocab_size=vocabulary,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=98,
                **_SMALL,
            )
        case "t5":
            return transformers.T5Config(
                vocab_size=vocabulary,
                d_model=16,
                d_kv=8,
                d_ff=32,
                num_layers=2,
                num_heads=2,
                pad_token_id=0,
                eos_token_id=2,
                decoder_start_token_id=0,
            )
        case "bart":
            return transformers.BartConfig(
                vocab_size=vocabulary,
                d_model=16,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=32,
                decoder_ffn_dim=32,
                max_position_embeddings=96,
                decoder_start_token_id=2,
                forced_eos_token_id=None,
                **_SMALL,
            )
    raise ValueError(kind)


AUTO = {
    "gpt2": transformers.AutoModelForCausalLM,
    "llama": transformers.AutoModelForCausalLM,
    "roberta": transformers.AutoModel,
    "t5": transformers.AutoModelForSeq2SeqLM,
    "bart": transformers.AutoModelForSeq2SeqLM,
}


def save_model(kind: str, folder: Path, texts: Iterable[str], **tokenizer: Any) -> Path:
    """A model with random weights and its tokenizer, in a folder."""
    made = make_tokenizer(texts, **tokenizer)
    torch.manual_seed(0)
    bar = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    AUTO[kind].from_config(config(kind, len(made))).save_pretrained(folder)
    if bar:
        transformers.utils.logging.enable_progress_bar()
    made.save_pretrained(folder)
    return folder
