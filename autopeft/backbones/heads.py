"""What loads a model with the head that a problem needs, and what peft calls such a problem."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from autopeft.nouns import Problem

Modality: TypeAlias = Literal["text", "image"]


@dataclass(frozen=True)
class Head:
    """The end of a model that makes it fit for a problem.

    Attributes:
        auto: The class of transformers that loads a model with it.
        known: The table of transformers with the configurations that the class knows.
        task_type: What peft calls the problem; None where it has no name for it.
        title: For messages.
    """

    auto: str
    known: str
    task_type: str | None
    title: str


_TEXTS = Head(
    "AutoModelForSequenceClassification",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "SEQ_CLS",
    "text classifier",
)
_IMAGES = Head(
    "AutoModelForImageClassification",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    None,
    "image classifier",
)
_OF_TEXT: dict[Problem, Head] = {
    "causal-lm": Head(
        "AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING", "CAUSAL_LM", "causal language model"
    ),
    "token-classification": Head(
        "AutoModelForTokenClassification",
        "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
        "TOKEN_CLS",
        "token classifier",
    ),
    "seq2seq": Head(
        "AutoModelForSeq2SeqLM",
        "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
        "SEQ_2_SEQ_LM",
        "sequence-to-sequence model",
    ),
}


def find_head(modality: Modality, problem: Problem) -> Head:
    """The head for a problem; images have the one."""
    return _IMAGES if modality == "image" else _OF_TEXT.get(problem, _TEXTS)
