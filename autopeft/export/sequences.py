"""The part of a script that reads, trains by and scores examples with a target for each token."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autopeft.backbones import Backbone
from autopeft.export.inline import Import
from autopeft.tasks.causal_lm import encode_answers, encode_texts
from autopeft.tasks.metrics import METRICS
from autopeft.tasks.seq2seq import encode_pairs
from autopeft.tasks.sequences import Known, token_loss
from autopeft.tasks.task import SourceKind, Task
from autopeft.tasks.token_classification import encode_tags


@dataclass(frozen=True)
class Part:
    """What of a script depends on the problem.

    Attributes:
        text: What encodes, and `load_preprocessor`.
        score: The function `score` of a split's name, inside of `main`.
        loss: An expression for the loss of (logits, labels).
        wanted: Functions and classes of ours that it calls.
        encoded: The function or class that encodes: (data, preprocessor) to a split as it is trained on.
        imports: What it needs from elsewhere.
        constants: Further constants of the script.
    """

    text: str
    score: str
    loss: str
    wanted: tuple[Callable[..., Any], ...]
    encoded: str = "Encoded"
    imports: frozenset[Import] = frozenset()
    constants: Mapping[str, Any] = field(default_factory=dict)


def of_chats(task: Task) -> bool:
    """Whether the examples are chats."""
    return task.settings.problem == "causal-lm" and not isinstance(task.train.targets[0], str)


def sequence_part(task: Task, backbone: Backbone, batch_size: int) -> Part:
    """The part of a problem with a target for each token.

    Args:
        task: Its data.
        backbone: Without modules.
        batch_size: Examples that are scored at once.
    """
    settings = task.settings
    measure = METRICS[settings.metric].measure
    assert measure is not None
    constants: dict[str, Any] = {"LABELS": list(settings.labels), "EVALUATION_BATCH": batch_size}
    encode: Callable[..., Any]
    if settings.problem == "token-classification":
        encode, call = encode_tags, 'list(data["tokens"]), list(data["tags"]), tokenizer, limit'
    elif settings.problem == "seq2seq":
        encode, call = (
            encode_pairs,
            'list(data["source"]), list(data["target"]), tokenizer, limit, DECODER_START',
        )
        constants["DECODER_START"] = backbone.model.config.decoder_start_token_id
    elif of_chats(task):
        encode, call = encode_answers, 'chats(data["prompt"]), chats(data["completion"]), tokenizer, limit'
    elif settings.label is not None:
        encode, call = encode_answers, 'list(data["prompt"]), list(data["completion"]), tokenizer, limit'
    else:
        documents = settings.source is not SourceKind.TEXT
        encode, call = encode_texts, f'list(data["text"]), tokenizer, limit, documents={documents}'
    text = _READING.replace("CALL", f"{encode.__name__}({call})") + "\n" + LOAD_TOKENIZER
    return Part(
        text=f"{_CHATS}\n\n{text}" if of_chats(task) else text,
        score=_SCORE.replace("METRIC", measure.__name__),
        loss="token_loss",
        wanted=(encode, token_loss, Known, measure),
        encoded="encoded",
        constants=constants,
    )


_CHATS = '''
def chats(rows):
    """Who says what, in each row."""
    return [tuple((message["role"], message["content"]) for message in row) for row in rows]
'''

_READING = '''
def encoded(data, tokenizer):
    """One split: token ids with their targets, padded batch by batch."""
    limit = min(MAX_LENGTH, tokenizer.model_max_length)
    return CALL
'''

LOAD_TOKENIZER = """
def load_preprocessor():
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
"""
"""Of a script about text: `load_preprocessor`."""

_SCORE = """
    known = Known(LABELS, preprocessor, MAX_LENGTH)

    def score(split):
        order = torch.argsort(data[split].lengths, descending=True, stable=True)  # the longest first
        return float(METRIC(runner, batches(split, order, EVALUATION_BATCH), known))
"""
