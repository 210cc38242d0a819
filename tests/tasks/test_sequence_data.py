"""From files to examples with a target for each token: what is recognised, what is refused, what is held out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from tiny import make_tokenizer

from autopeft.errors import BackboneError, DataError, InputError
from autopeft.tasks.batches import encode
from autopeft.tasks.load import load_task, resolve_task
from autopeft.tasks.task import SourceKind, Task, TaskSettings

CHAT = [{"role": "user", "content": "why"}, {"role": "assistant", "content": "so"}]


def jsonl(path: Path, row: dict[str, Any], n: int = 20) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(n)))
    return str(path)


def same_again(task: Task) -> None:
    settings = TaskSettings.from_json(json.loads(json.dumps(task.settings.to_json())))
    again = load_task(settings)
    assert again.settings == task.settings
    for split in ("train", "validation", "test", "confirmation"):
        one, other = getattr(task, split), getattr(again, split)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.inputs == other.inputs
            assert one.targets.tolist() == other.targets.tolist()


@pytest.mark.parametrize(
    ("row", "problem", "columns", "metric"),
    [
        ({"text": "to be"}, "causal-lm", ("text", None), "loss"),
        ({"prompt": "to", "completion": " be"}, "causal-lm", ("prompt", "completion"), "loss"),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "causal-lm", ("prompt", "completion"), "loss"),
        ({"messages": CHAT}, "causal-lm", ("messages", None), "loss"),
        ({"id": 3, "Messages": CHAT}, "causal-lm", ("Messages", None), "loss"),
        ({"tokens": ["to", "Ann"], "ner_tags": ["O", "B-PER"]}, "token-classification", ("tokens", "ner_tags"), "entity_f1"),
        ({"words": ["to", "be"], "pos_tags": ["TO", "VB"]}, "token-classification", ("words", "pos_tags"), "token_accuracy"),
        ({"source": "to", "target": "be"}, "seq2seq", ("source", "target"), "loss"),
        ({"mr": "to", "ref": "be"}, "seq2seq", ("mr", "ref"), "loss"),
        ({"id": "1", "document": "to", "summary": "be"}, "seq2seq", ("document", "summary"), "loss"),
    ],
)  # fmt: skip
def test_columns_say_the_problem(
    tmp_path: Path, row: dict[str, Any], problem: str, columns: tuple[str, str | None], metric: str
) -> None:
    task = resolve_task(jsonl(tmp_path / "a.jsonl", row), confirmation_fraction=0.5)
    assert task.settings.problem == problem
    assert (task.settings.text, task.settings.label) == columns
    assert task.settings.metric == metric
    assert task.confirmation is not None
    assert len(task.train) + len(task.validation) + len(task.confirmation) == 20
    same_again(task)


def test_columns_by_other_names(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", {"question": "to", "answer": "be"})
    for problem in ("causal-lm", "seq2seq"):
        task = resolve_task(file, problem=problem, text="question", label="answer")
        assert (task.train.inputs[0], task.train.targets[0]) == ("to", "be")
    task = resolve_task(file, problem="causal-lm", text="question")
    assert (task.settings.label, task.train.targets[0]) == (None, "to")
    words = jsonl(tmp_path / "b.jsonl", {"form": ["to", "be"], "part": ["A", "B"]})
    assert resolve_task(words, text="form", label="part").settings.problem == "token-classification"


def test_classification_stays_classification(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": i % 2} for i in range(12)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert resolve_task(str(tmp_path / "a.jsonl")).settings.problem == "classification"
    (tmp_path / "b.csv").write_text("source,target,label\n" + "a,b,0\nc,d,1\n" * 6)
    with pytest.raises(DataError, match="none has a usual name for a text"):
        resolve_task(str(tmp_path / "b.csv"))


def test_plain_text_is_split_where_it_stands(tmp_path: Path) -> None:
    lines = [f"line {i}\n" for i in range(100)]
    (tmp_path / "a.txt").write_text("".join(lines), newline="")
    task = resolve_task(str(tmp_path / "a.txt"), confirmation_fraction=0.5)
    assert task.settings.source is SourceKind.TEXT
    assert task.confirmation is not None
    parts = (task.train, task.validation, task.confirmation)
    assert [len(part) for part in parts] == [80, 10, 10]
    assert [line for part in parts for line in part.inputs] == lines
    same_again(task)


def test_neighbours_of_plain_text(tmp_path: Path, shared_data: Path) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\r\n\r\nlast")
    task = resolve_task(str(tmp_path))
    assert task.train.inputs == ("train\n", "\n", "last")
    assert task.test is not None
    assert task.test.inputs[0] == "test\n"
    real = resolve_task(str(shared_data / "wikitext2" / "valid.txt"))
    assert len(real.train) + len(real.validation) == 3760


CONLL = "-DOCSTART- -X- O O\n\nEU NNP B-ORG\nrejects VBZ O\n\nPeter NNP B-PER\nBlackburn NNP I-PER\n\n" * 4


@pytest.mark.parametrize(
    ("name", "problem"), [("a.conll", None), ("a.bio", None), ("a.txt", "token-classification")]
)
def test_a_word_a_line(tmp_path: Path, name: str, problem: str | None) -> None:
    (tmp_path / name).write_text(CONLL)
    task = resolve_task(str(tmp_path / name), problem=problem)
    assert task.settings.labels == ("O", "B-ORG", "B-PER", "I-PER")
    assert task.settings.metric == "entity_f1"
    assert task.num_labels == 4
    both = dict(zip(task.train.inputs, task.train.targets, strict=True))
    assert both[("EU", "rejects")] == (1, 0)
    assert both[("Peter", "Blackburn")] == (2, 3)
    same_again(task)


def test_tags_of_the_hub_are_numbers_with_names(tmp_path: Path) -> None:
    import pyarrow.parquet

    tags = ClassLabel(names=["O", "B-PER", "I-PER", "B-LOC"])
    features = Features({"tokens": List(Value("string")), "ner_tags": List(tags)})
    rows = {"tokens": [["Ann", "is"]] * 8, "ner_tags": [[1, 0]] * 8}
    pyarrow.parquet.write_table(Dataset.from_dict(rows, features).data.table, tmp_path / "train.parquet")
    task = resolve_task(str(tmp_path))
    assert task.settings.labels == ("O", "B-PER", "I-PER", "B-LOC")
    assert task.train.targets[0] == (1, 0)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"prompt": "a", "completion": " "}], {}, "row 1 of 'a.jsonl' has no text in column 'completion'"),
        ([{"prompt": "a", "completion": 3}], {}, "row 1 .* 'completion', but a value of type int"),
        ([{"messages": CHAT[:1]}], {}, "row 1 .* has no message of the assistant"),
        ([{"prompt": CHAT[:1], "completion": CHAT[:1]}], {}, "row 1 .* of the assistant in column 'completion'"),
        ([{"prompt": CHAT[:1], "completion": "so"}], {}, "row 1 .* has no list of messages in column 'completion'"),
        ([{"messages": [{"role": "user"}]}], {}, "row 1 .* has no list of messages .* each needs a role and a content"),
        ([{"tokens": ["a", "b"], "tags": ["O"]}], {}, "every word of 'a.jsonl' has the tag 'O'"),
        ([{"tokens": ["a", "b"], "tags": ["O", "X", "O"]}], {}, "row 1 of 'a.jsonl' has 2 words, but 3 tags"),
        ([{"tokens": [], "tags": []}], {}, "row 1 of 'a.jsonl' has no list of tags"),
        ([{"tokens": ["a"], "ner_tags": ["O"], "pos_tags": ["X"]}], {}, "several may be meant.*--label-column"),
        ([{"a": "x", "b": "y"}], {"problem": "seq2seq"}, "none have usual names for seq2seq.*--text-column"),
        ([{"a": "x", "b": "y"}], {"problem": "seq2seq", "text": "c"}, "has no column 'c'"),
        ([{"source": "a", "target": "b", "c": "d"}], {"problem": "seq2seq", "text_pair": "c", "text": "source"}, "no second text"),
        ([{"text": f"a{i}", "label": f"b{i}"} for i in range(9)], {}, "are no classes.*--problem causal-lm or seq2seq"),
    ],
)  # fmt: skip
def test_bad_rows(tmp_path: Path, rows: list[dict[str, Any]], options: dict[str, Any], message: str) -> None:
    lines = rows if len(rows) > 1 else rows * 8
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    with pytest.raises(DataError, match=message):
        resolve_task(str(tmp_path / "a.jsonl"), **options)


def test_other_refusals(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n" * 8)
    file = str(tmp_path / "a.txt")
    with pytest.raises(InputError, match="plain text, which has no columns for classification"):
        resolve_task(file, problem="classification")
    with pytest.raises(
        InputError, match=r"'accuracy' is for classification, but this is causal-lm: use loss, perplexity"
    ):
        resolve_task(file, metric="accuracy")
    with pytest.raises(DataError, match=r"line 1 of 'a.txt' has one field \('one'\)"):
        resolve_task(file, problem="token-classification")
    with pytest.raises(DataError, match="both text, or both tables"):
        resolve_task(file, validation=jsonl(tmp_path / "b.jsonl", {"text": "a"}))
    with pytest.raises(InputError, match="seq2seq needs texts"):
        resolve_task("starter", problem="seq2seq")
    tags = jsonl(tmp_path / "c.jsonl", {"tokens": ["to", "be"], "tags": ["TO", "VB"]})
    with pytest.raises(InputError, match=r"is for tags such as B-PER.*use token_accuracy"):
        resolve_task(tags, metric="entity_f1")


def test_a_tag_that_training_never_shows(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text(CONLL)
    (tmp_path / "test.conll").write_text("Rome NNP B-LOC\n\nEU NNP O\n")
    with pytest.raises(DataError, match=r"row 1 of 'test.conll' has the tag 'B-LOC'"):
        resolve_task(str(tmp_path))


def test_what_cannot_be_encoded_says_why(tmp_path: Path) -> None:
    texts = ["to be or not to be"]
    long = resolve_task(
        jsonl(tmp_path / "a.jsonl", {"prompt": "to be " * 20, "completion": "x"}), max_length=8
    )
    with pytest.raises(
        DataError, match=r"nothing is left to be learnt of the 16 examples.*8 tokens: raise --max-length"
    ):
        encode(long.train, long.settings, make_tokenizer(texts))
    chats = resolve_task(jsonl(tmp_path / "b.jsonl", {"messages": CHAT}))
    with pytest.raises(BackboneError, match="has no chat template"):
        encode(chats.train, chats.settings, make_tokenizer(texts, chat=False))
    pairs = resolve_task(jsonl(tmp_path / "c.jsonl", {"source": "to", "target": "be"}))
    with pytest.raises(BackboneError, match="no decoder_start_token_id"):
        encode(pairs.train, pairs.settings, make_tokenizer(texts))


def test_documents_of_a_table_and_lines_of_a_file(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(["to be or not"])
    (tmp_path / "a.txt").write_text("to be\n" * 10)
    lines = resolve_task(str(tmp_path / "a.txt"))
    documents = resolve_task(jsonl(tmp_path / "a.jsonl", {"text": "to be"}))
    assert "</s>" not in tokenizer.decode(encode(lines.train, lines.settings, tokenizer).inputs[0])  # type: ignore[union-attr]
    assert (
        tokenizer.decode(encode(documents.train, documents.settings, tokenizer).inputs[0]).count("</s>") == 16
    )  # type: ignore[union-attr]
    assert isinstance(documents.train.targets, np.ndarray)
