"""Causal language modelling: from texts, prompts with completions, or chats to blocks of tokens with their targets.

An example of a split is what is read only (the input) and what is learnt (the target): a prompt and its completion, each a text or
a chat; of plain text the target is all there is. The loss is on the targets alone, and of a chat on the assistant's words.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from autopeft.tasks.sequences import NO_TARGET, EncodedSequences

Chat: TypeAlias = tuple[tuple[str, str], ...]
"""Messages: who speaks (`system`, `user`, `assistant`) and what is said."""

ANSWERS = "assistant"


def encode_texts(
    texts: Sequence[str], tokenizer: Any, max_length: int, *, documents: bool
) -> EncodedSequences:
    """Join texts and cut the whole into blocks, as `run_clm` of transformers does; the last block may be shorter.

    Args:
        texts: In their order.
        tokenizer: The backbone's.
        max_length: Tokens of a block.
        documents: Whether each text is one of its own: it gets what the tokenizer puts around a text, and the end-of-text
            token behind it. Else they are lines of one text: each block begins with what the tokenizer puts before a text.
    """
    if documents:
        before: list[int] = []
        end = tokenizer.eos_token_id
        rows = [_ended(ids, end) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]
    else:
        before = _before_a_text(tokenizer)
        rows = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    stream = [token for row in rows for token in row]
    size = max_length - len(before)
    blocks = [[*before, *stream[start : start + size]] for start in range(0, len(stream), size)]
    if len(blocks) > 1 and len(blocks[-1]) < 2:
        del blocks[-1]  # one token has none to predict
    return EncodedSequences(blocks, [[*block[1:], NO_TARGET] for block in blocks], _padding(tokenizer))


def encode_answers(
    prompts: Sequence[str | Chat], completions: Sequence[str | Chat], tokenizer: Any, max_length: int
) -> EncodedSequences:
    """One example a row, in which only the answers are learnt; what is longer is cut at its end.

    A prompt and its completion are joined as they are, and the end-of-text token follows. A chat is written out by the
    tokenizer's template.

    Args:
        prompts: What is given.
        completions: What is to follow; of the same kind as the prompts.
        tokenizer: The backbone's.
        max_length: Most tokens of an example.

    Raises:
        ValueError: The tokenizer has no chat template, or one that rewrites what was said before.
    """
    inputs, targets = [], []
    for prompt, completion in zip(prompts, completions, strict=True):
        if isinstance(prompt, str):
            pieces = [
                ([*_before_a_text(tokenizer), *_bare(prompt, tokenizer)], False),
                (_ended(_bare(completion, tokenizer), tokenizer.eos_token_id), True),
            ]
        else:
            chat = chat_pieces(prompt, completion, tokenizer)  # type: ignore[arg-type]
            pieces = [(_bare(text, tokenizer), learnt) for text, learnt in chat]
        ids = [token for tokens, _ in pieces for token in tokens]
        learnt = [token if is_learnt else NO_TARGET for tokens, is_learnt in pieces for token in tokens]
        inputs.append(ids[:max_length])
        targets.append([*learnt[1:max_length], NO_TARGET])  # the last token predicts what is beyond the end
    return EncodedSequences(inputs, targets, _padding(tokenizer))


def chat_pieces(prompt: Chat, completion: Chat, tokenizer: Any) -> list[tuple[str, bool]]:
    """A chat as its template writes it, cut where an answer of the completion begins or ends: (text, whether it is an answer).

    Raises:
        ValueError: There is no template, it refuses the chat, or it writes the same words in another way once others follow.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            "the tokenizer has no chat template, which says how messages become text: give prompts and completions as texts, "
            "or a model whose tokenizer has one"
        )
    messages = [{"role": role, "content": content} for role, content in (*prompt, *completion)]
    pieces: list[tuple[str, bool]] = []
    said = ""
    for i in range(len(prompt), len(messages)):
        if messages[i]["role"] != ANSWERS:
            continue
        before = _written(messages[:i], tokenizer, answer_follows=True)
        after = _written(messages[: i + 1], tokenizer, answer_follows=False)
        if not before.startswith(said) or not after.startswith(before):
            raise ValueError(
                "the tokenizer's chat template writes earlier messages in another way once an answer follows: give every answer "
                "a row of its own, as a prompt and a completion"
            )
        pieces += [(before[len(said) :], False), (after[len(before) :], True)]
        said = after
    return pieces


def _written(messages: list[dict[str, str]], tokenizer: Any, *, answer_follows: bool) -> str:
    from jinja2 import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer_follows)
        )
    except TemplateError as error:
        raise ValueError(f"the tokenizer's chat template refuses a chat: {error}") from None


def _bare(text: Any, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _ended(ids: Iterable[int], end: int | None) -> list[int]:
    found = list(ids)
    return found if end is None or found[-1:] == [end] else [*found, end]


def _before_a_text(tokenizer: Any) -> list[int]:
    end = tokenizer.eos_token_id
    return [token for token in tokenizer("")["input_ids"] if token != end or end == tokenizer.bos_token_id]


def _padding(tokenizer: Any) -> int:
    return int(tokenizer.pad_token_id)
