"""A workbench on a tiny random BERT with a real tokenizer."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench

WIDTH, INNER, LAYERS = 16, 24, 2


@pytest.fixture(scope="session")
def small_bert(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Path:
    """The folder of a random BERT whose activation function is a ReLU."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = AutoTokenizer.from_pretrained(str(minilm_folder))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=INNER,
        max_position_embeddings=64,
        hidden_act="relu",
        initializer_range=0.3,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, small_bert: Path) -> Workbench:
    return prepare(tmp_path_factory.mktemp("data"), small_bert)


def prepare(folder: Path, model: Path, **overrides: str) -> Workbench:
    torch.set_num_threads(1)
    words = ("good", "bad")
    rows = [f"this film is {words[i % 2]}{' indeed' * (i % 5)}\t{words[i % 2]}" for i in range(48)]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    task = resolve_task(str(folder / "train.tsv"), max_length=32)
    return Workbench.prepare(str(model), overrides, task.settings, Training(epochs=1, batch_size=8))
