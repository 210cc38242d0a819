"""Texts, answers and chats as blocks of tokens: what is learnt of them, and what is not."""

from typing import Any

import pytest
from tiny import make_tokenizer

from autopeft.tasks.causal_lm import chat_pieces, encode_answers, encode_texts
from autopeft.tasks.sequences import NO_TARGET, EncodedSequences

TEXTS = ["to be or not to be\n", "\n", "that is the question\n"] * 4
ASK = (("user", "to be?"),)
CHAT = (("system", "be"), ("user", "to be?"), ("assistant", "or not"), ("user", "that?"), ("assistant", "is"))


@pytest.fixture(scope="module")
def plain() -> Any:
    return make_tokenizer(TEXTS)


@pytest.fixture(scope="module")
def begins() -> Any:
    """Puts a token before a text, as Llama's does."""
    return make_tokenizer(TEXTS, around="<s> $A")


def learnt(encoded: EncodedSequences, tokenizer: Any, row: int = 0) -> str:
    return str(tokenizer.decode([token for token in encoded.targets[row] if token != NO_TARGET]))


def test_lines_are_one_text_cut_into_blocks(plain: Any) -> None:
    encoded = encode_texts(TEXTS, plain, 10, documents=False)
    assert {len(block) for block in encoded.inputs[:-1]} == {10}
    assert 2 <= len(encoded.inputs[-1]) <= 10
    assert plain.decode([token for block in encoded.inputs for token in block]) == "".join(TEXTS)
    for block, targets in zip(encoded.inputs, encoded.targets, strict=True):
        assert targets == [*block[1:], NO_TARGET]


def test_each_block_of_lines_begins_as_a_text_does(begins: Any) -> None:
    encoded = encode_texts(TEXTS, begins, 10, documents=False)
    assert {block[0] for block in encoded.inputs} == {begins.bos_token_id}
    assert {len(block) for block in encoded.inputs[:-1]} == {10}
    assert begins.decode([t for block in encoded.inputs for t in block], skip_special_tokens=True) == "".join(
        TEXTS
    )


def test_documents_end_and_are_packed(plain: Any, begins: Any) -> None:
    documents = ["to be", "or not", "to be"]
    for tokenizer, between in ((plain, "</s>"), (begins, "</s><s>")):
        (block,) = encode_texts(documents, tokenizer, 90, documents=True).inputs
        start = "<s>" if tokenizer is begins else ""
        assert tokenizer.decode(block) == start + between.join(documents) + "</s>"


def test_only_answers_are_learnt(begins: Any) -> None:
    encoded = encode_answers(["to be", "that"], [" or not", " is"], begins, 90)
    assert begins.decode(encoded.inputs[0]) == "<s>to be or not</s>"
    assert learnt(encoded, begins) == " or not</s>"
    assert encoded.targets[0][-1] == NO_TARGET
    first = encoded.targets[0].index(next(t for t in encoded.targets[0] if t != NO_TARGET))
    assert encoded.targets[0][first] == encoded.inputs[0][first + 1]  # each position predicts the next token
    assert all(len(a) == len(b) for a, b in zip(encoded.inputs, encoded.targets, strict=True))


def test_what_is_too_long_is_cut_at_its_end(plain: Any) -> None:
    encoded = encode_answers(["to be or not to be"], [" that is the question"], plain, 8)
    assert len(encoded.inputs[0]) == len(encoded.targets[0]) == 8
    assert encoded.targets[0][-1] == NO_TARGET


def test_every_answer_of_a_chat_is_learnt(plain: Any) -> None:
    encoded = encode_answers([()], [CHAT], plain, 90)
    whole = "<|user|>be<|user|>to be?<|assistant|>or not</s><|user|>that?<|assistant|>is</s>"
    assert plain.decode(encoded.inputs[0]) == whole
    assert learnt(encoded, plain) == "or not</s>is</s>"


def test_of_a_chat_with_a_prompt_only_the_completion_is_learnt(plain: Any) -> None:
    encoded = encode_answers([CHAT[:4]], [CHAT[4:]], plain, 90)
    assert learnt(encoded, plain) == "is</s>"
    assert "or not" in plain.decode(encoded.inputs[0])


def test_what_follows_the_last_answer_is_left_out(plain: Any) -> None:
    pieces = chat_pieces((), (*CHAT, ("user", "question")), plain)
    assert "".join(text for text, _ in pieces).endswith("is</s>")


def test_chats_need_a_template() -> None:
    with pytest.raises(ValueError, match="has no chat template"):
        encode_answers([ASK], [(("assistant", "or not"),)], make_tokenizer(TEXTS, chat=False), 90)


def test_templates_that_cannot_be_followed() -> None:
    tokenizer = make_tokenizer(TEXTS)
    tokenizer.chat_template = "{{ messages | length }}" + tokenizer.chat_template  # rewrites its beginning
    with pytest.raises(ValueError, match="in another way once an answer follows"):
        chat_pieces((), CHAT, tokenizer)
    tokenizer.chat_template = "{{ raise_exception('no system message') }}"
    with pytest.raises(ValueError, match="refuses a chat: no system message"):
        chat_pieces((), CHAT, tokenizer)
