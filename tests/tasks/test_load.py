"""From data on disk to a task: what is found, what is decided, and the same again elsewhere."""

import csv
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PillowImage

from autopeft.errors import AutopeftError, DataError, InputError, UnknownNameError
from autopeft.tasks import hub
from autopeft.tasks.load import load_task, resolve_task
from autopeft.tasks.task import SourceKind, Task, TaskSettings

ROWS = [{"text": f"text number {i}", "label": "yes" if i % 3 else "no"} for i in range(30)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format of the extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case ".parquet":
            write_parquet(path, Dataset.from_list(rows))
        case ".tsv":
            lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        case ".csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    return path


def write_parquet(path: Path, dataset: Dataset) -> Path:
    import pyarrow.parquet

    pyarrow.parquet.write_table(dataset.data.table, path)
    return path


def write_images(folder: Path, per_class: int, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for shade, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = np.full((6, 5, 3), 40 * shade + i, dtype=np.uint8)
            PillowImage.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def assert_same(one: Task, other: Task) -> None:
    assert one.settings == other.settings
    for split in ("train", "validation", "test"):
        a, b = getattr(one, split), getattr(other, split)
        assert (a is None) == (b is None)
        if a is not None:
            assert all(np.array_equal(x, y) for x, y in zip(a.inputs, b.inputs, strict=True))
            np.testing.assert_array_equal(a.targets, b.targets)


@pytest.mark.parametrize(
    ("name", "train", "validation", "test", "problem", "labels"),
    [
        ("rte", 2490, 277, None, "classification", ("entailment", "not_entailment")),
        ("sst2", 67349, 872, None, "classification", ("0", "1")),
        ("stsb", 5749, 1500, None, "regression", ()),
        ("cb", 250, 56, None, "classification", ("contradiction", "entailment", "neutral")),
    ],
)
def test_real_data_by_convention(
    shared_data: Path,
    name: str,
    train: int,
    validation: int,
    test: int | None,
    problem: str,
    labels: tuple[str, ...],
) -> None:
    task = resolve_task(str(shared_data / name))
    assert (len(task.train), len(task.validation), task.test) == (train, validation, test)
    assert task.settings.problem == problem
    assert task.settings.labels == labels
    assert task.num_labels == max(1, len(labels))
    settings = TaskSettings.from_json(json.loads(json.dumps(task.settings.to_json())))
    assert_same(load_task(settings), task)


def test_tsv_knows_no_quotes(shared_data: Path) -> None:
    task = resolve_task(str(shared_data / "rte"))
    assert task.train.inputs[0] == (
        "No Weapons of Mass Destruction Found in Iraq Yet.",
        "Weapons of Mass Destruction Found in Iraq.",
    )
    assert sum('"' in first for first, _ in task.train.inputs) > 100


def test_a_split_is_held_out_and_a_labelled_test_is_used(shared_data: Path) -> None:
    task = resolve_task(str(shared_data / "banking77"))
    assert (len(task.train), len(task.validation)) == (8002, 2001)
    assert task.test is not None
    assert len(task.test) == 3080
    assert task.num_labels == 77
    assert set(np.unique(task.validation.targets)) == set(range(77))


def test_an_unlabelled_test_file_is_left_out(shared_data: Path) -> None:
    assert (shared_data / "cb" / "test.jsonl").exists()
    assert resolve_task(str(shared_data / "cb")).settings.test is None


def test_real_images(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "flowers17" / "flowers17_128px.zip") as archive:
        kept = [
            n for n in archive.namelist() if n.split("/")[1] in ("c1", "c2", "c10") and n.endswith(".jpg")
        ]
        archive.extractall(tmp_path, kept)
    task = resolve_task(str(tmp_path))
    assert task.settings.source is SourceKind.IMAGES
    assert task.settings.labels == ("c1", "c10", "c2")
    assert task.test is not None
    assert len(task.train) + len(task.validation) + len(task.test) == len(kept)
    assert_same(load_task(task.settings), task)


@pytest.mark.parametrize("extension", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_reads_the_same(tmp_path: Path, extension: str) -> None:
    task = resolve_task(str(write(tmp_path / f"reviews{extension}", ROWS)), validation_fraction=0.3)
    assert (len(task.train), len(task.validation), task.test) == (21, 9, None)
    assert task.settings.labels == ("no", "yes")
    texts = {row["text"]: row["label"] for row in ROWS}
    assert {*task.train.inputs, *task.validation.inputs} == set(texts)  # 21 + 9 = 30: also disjoint
    for split in (task.train, task.validation):
        for text, target in zip(split.inputs, split.targets, strict=True):
            assert isinstance(text, str)
            assert texts[text] == task.settings.labels[target]
    assert_same(load_task(task.settings), task)


@pytest.mark.parametrize("extension", [".csv", ".tsv", ".json", ".jsonl"])
def test_text_stays_what_it_is(tmp_path: Path, extension: str) -> None:
    texts = ["NA", "null", "007", 'a "quoted" word', "naïve café\u2028☃", "nan", "1.50", "true"]
    rows = [{"text": text, "label": i % 2} for i, text in enumerate(texts)]
    path = write(tmp_path / f"odd{extension}", rows)
    task = resolve_task(str(path), validation=str(write(tmp_path / f"other{extension}", ROWS_01)))
    assert task.train.inputs == tuple(texts)


ROWS_01 = [{"text": f"text {i}", "label": i % 2} for i in range(6)]


def test_csv_fields_may_hold_commas_quotes_lines_and_much_text(tmp_path: Path) -> None:
    texts = ["a,b", 'say "x"', "two\nlines", "word " * 50_000]
    path = write(tmp_path / "a.csv", [{"text": text, "label": i % 2} for i, text in enumerate(texts)])
    task = resolve_task(str(path), validation=str(write(tmp_path / "b.csv", ROWS_01)))
    assert task.train.inputs == tuple(texts)


def test_json_lines_in_a_json_file_and_a_byte_order_mark(tmp_path: Path) -> None:
    lines = "\ufeff" + "\n\n".join(json.dumps(row) for row in ROWS)
    (tmp_path / "a.json").write_text(lines, encoding="utf-8")
    assert resolve_task(str(tmp_path / "a.json")).settings.labels == ("no", "yes")


@pytest.mark.parametrize("name", ["dev", "val", "validation", "valid"])
def test_neighbours_of_a_training_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / f"{name}.csv", ROWS[:7])
    write(tmp_path / "test.csv", ROWS[:5])
    by_folder, by_file = resolve_task(str(tmp_path)), resolve_task(str(tmp_path / "train.csv"))
    assert_same(by_folder, by_file)
    assert by_file.test is not None
    assert (len(by_file.train), len(by_file.validation), len(by_file.test)) == (30, 7, 5)
    assert by_file.settings.validation == str(tmp_path / f"{name}.csv")


def test_neighbours_of_another_file_are_not_taken(tmp_path: Path) -> None:
    write(tmp_path / "dev.csv", ROWS)
    task = resolve_task(str(write(tmp_path / "reviews.csv", ROWS)))
    assert task.settings.validation is None


def test_named_splits_win_over_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "dev.csv", ROWS[:7])
    other = write(tmp_path / "other.tsv", ROWS[:9])
    task = resolve_task(str(tmp_path), validation=str(other), test=str(tmp_path / "dev.csv"))
    assert task.test is not None
    assert (len(task.validation), len(task.test)) == (9, 7)


def test_settings_do_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "reviews.csv", ROWS)
    monkeypatch.chdir(tmp_path)
    task = resolve_task("reviews.csv")
    monkeypatch.chdir("/")
    assert_same(load_task(task.settings), task)


def test_a_link_to_a_file_without_extension(tmp_path: Path) -> None:
    blob = write(tmp_path / "blob.csv", ROWS).rename(tmp_path / "blob")
    (tmp_path / "reviews.csv").symlink_to(blob)
    assert len(resolve_task(str(tmp_path / "reviews.csv")).train) == 24


@pytest.mark.parametrize(
    ("columns", "text", "text_pair", "label"),
    [
        (("text", "label"), "text", None, "label"),
        (("Sentence", "Label"), "Sentence", None, "Label"),
        (("content", "class", "label"), "content", None, "label"),
        (("idx", "question", "sentence", "label"), "question", "sentence", "label"),
        (("question1", "question2", "labels"), "question1", "question2", "labels"),
        (("hypothesis", "premise", "target"), "premise", "hypothesis", "target"),
        (("text_a", "text_b", "category"), "text_a", "text_b", "category"),
        (("text", "intent"), "text", None, "intent"),
        (("text", "emotion"), "text", None, "emotion"),
    ],
)
def test_columns_by_convention(
    tmp_path: Path, columns: tuple[str, ...], text: str, text_pair: str | None, label: str
) -> None:
    rows = [{c: (i % 2 if c == label else f"{c} {i}") for c in columns} for i in range(8)]
    found = resolve_task(str(write(tmp_path / "a.csv", rows))).settings
    assert (found.text, found.text_pair, found.label) == (text, text_pair, label)


def test_columns_by_option(tmp_path: Path) -> None:
    rows = [{"a": f"a{i}", "b": f"b{i}", "c": i % 2, "text": f"t{i}", "label": "x"} for i in range(8)]
    path = str(write(tmp_path / "a.csv", rows))
    task = resolve_task(path, text="a", text_pair="b", label="c")
    assert ("a0", "b0") in {*task.train.inputs, *task.validation.inputs}
    assert resolve_task(path, text="a", label="c").settings.text_pair is None


@pytest.mark.parametrize(
    ("labels", "problem", "names"),
    [
        (["b", "a"], "classification", ("a", "b")),
        (["10", "9"], "classification", ("9", "10")),
        ([10, 9], "classification", ("9", "10")),
        ([1.0, 0.0], "classification", ("0", "1")),
        ([True, False], "classification", ("False", "True")),
        ([-1, 1], "classification", ("-1", "1")),
        ([i / 7 for i in range(30)], "regression", ()),
        ([str(i / 7) for i in range(30)], "regression", ()),
    ],
)
def test_problem_and_classes(tmp_path: Path, labels: list[Any], problem: str, names: tuple[str, ...]) -> None:
    rows = [{"text": f"t{i}", "label": labels[i % len(labels)]} for i in range(30)]
    task = resolve_task(str(write(tmp_path / "a.jsonl", rows)))
    assert task.settings.problem == problem
    assert task.settings.labels == names
    assert task.settings.metric == ("accuracy" if names else "pearson")
    assert task.train.targets.dtype == (np.int64 if names else np.float64)


def test_whole_numbers_are_a_regression_on_request(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": i} for i in range(12)]
    path = str(write(tmp_path / "a.csv", rows))
    with pytest.raises(DataError, match=r"12 different values in 12 rows.*--problem regression"):
        resolve_task(path)
    task = resolve_task(path, problem="regression", metric="spearman")
    assert sorted([*task.train.targets, *task.validation.targets]) == list(range(12))
    assert resolve_task(path, problem="classification").num_labels == 12


def test_one_label_written_in_two_ways(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS_01)
    write(tmp_path / "dev.csv", [{"text": "a", "label": "1.0"}, {"text": "b", "label": "0.0"}])
    np.testing.assert_array_equal(resolve_task(str(tmp_path)).validation.targets, [1, 0])


def test_a_rare_class_prevents_stratification_only(tmp_path: Path) -> None:
    rows = [*ROWS, {"text": "once", "label": "maybe"}]
    task = resolve_task(str(write(tmp_path / "a.csv", rows)))
    assert len(task.train) + len(task.validation) == 31


def test_parquet_with_declared_classes_and_hidden_test_labels(tmp_path: Path) -> None:
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["zero", "a_one"])})
    train = {"sentence": [f"s{i}" for i in range(10)], "label": [i % 2 for i in range(10)]}
    write_parquet(tmp_path / "train.parquet", Dataset.from_dict(train, features=features))
    hidden = {"sentence": ["x", "y"], "label": [-1, -1]}
    write_parquet(tmp_path / "test.parquet", Dataset.from_dict(hidden, features=features))
    task = resolve_task(str(tmp_path))
    assert task.settings.labels == ("zero", "a_one")
    assert task.test is None
    for text, target in zip(task.train.inputs, task.train.targets, strict=True):
        assert int(str(text)[1:]) % 2 == target


def test_parquet_with_images(tmp_path: Path) -> None:
    pictures = [PillowImage.new("RGB", (4, 4), (i, i, i)) for i in range(10)]
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    dataset = Dataset.from_dict({"image": pictures, "label": [i % 2 for i in range(10)]}, features=features)
    task = resolve_task(str(write_parquet(tmp_path / "a.parquet", dataset)))
    assert (task.settings.modality, task.settings.image) == ("image", "image")
    assert all(isinstance(source, bytes) for source in task.train.inputs)


def test_image_folders(tmp_path: Path) -> None:
    flat = resolve_task(str(write_images(tmp_path / "flat", 10)))
    assert (len(flat.train), len(flat.validation), flat.test) == (16, 4, None)
    assert flat.settings.labels == ("cat", "dog")
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        write_images(tmp_path / "split" / split, count)
    (tmp_path / "split" / "train" / "cat" / "Thumbs.db").write_bytes(b"no image")
    split = resolve_task(str(tmp_path / "split"))
    assert split.test is not None
    assert (len(split.train), len(split.validation), len(split.test)) == (10, 4, 6)
    assert_same(split, resolve_task(str(tmp_path / "split" / "train")))
    assert_same(load_task(split.settings), split)


def test_moving_an_image_to_another_class_changes_the_fingerprint(tmp_path: Path) -> None:
    settings = resolve_task(str(write_images(tmp_path / "a", 10))).settings
    (tmp_path / "a" / "cat" / "3.png").rename(tmp_path / "a" / "dog" / "30.png")
    with pytest.raises(DataError, match="have changed"):
        load_task(settings)


def test_a_part_of_validation_is_held_back(tmp_path: Path) -> None:
    rows = [f"film {i}\t{'yes' if i % 5 else 'no'}" for i in range(100)]
    (tmp_path / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    whole = resolve_task(str(tmp_path / "train.tsv"))
    assert whole.confirmation is None
    task = resolve_task(str(tmp_path / "train.tsv"), confirmation_fraction=0.5)
    assert task.confirmation is not None
    assert task.train.inputs == whole.train.inputs
    assert not set(task.validation.inputs) & set(task.confirmation.inputs)
    assert {*task.validation.inputs, *task.confirmation.inputs} == set(whole.validation.inputs)
    assert np.bincount(task.confirmation.targets).tolist() == [2, 8]  # stratified
    again = load_task(TaskSettings.from_json(json.loads(json.dumps(task.settings.to_json()))))
    assert again.confirmation is not None
    assert again.confirmation.inputs == task.confirmation.inputs


def test_of_almost_nothing_nothing_is_held_back(tmp_path: Path) -> None:
    for name, rows in (("train", 8), ("dev", 3)):
        lines = [f"{name} {i}\t{'yes' if i % 2 else 'no'}" for i in range(rows)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    task = resolve_task(str(tmp_path / "train.tsv"), confirmation_fraction=0.5)
    assert (len(task.validation), task.confirmation) == (3, None)


def test_settings_of_before_there_was_a_confirmation(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "".join(f"{i}\t{i % 2}\n" for i in range(20)))
    told = resolve_task(str(tmp_path / "train.tsv")).settings.to_json()
    del told["confirmation_fraction"]
    assert load_task(TaskSettings.from_json(told)).confirmation is None
    del told["data"]
    with pytest.raises(KeyError):
        TaskSettings.from_json(told)


def test_the_starter_holds_back_whole_sources() -> None:
    from autopeft.tasks.starter import source_of_image

    whole = resolve_task("starter").validation
    task = resolve_task("starter", confirmation_fraction=0.5)
    assert task.confirmation is not None
    assert len(task.validation) == len(task.confirmation) == 1_000
    kept = {image.tobytes() for image in task.validation.inputs}  # type: ignore[union-attr]
    is_kept = np.array([image.tobytes() in kept for image in whole.inputs])  # type: ignore[union-attr]
    sources = source_of_image("validation")
    assert not set(sources[is_kept]) & set(sources[~is_kept])
    assert np.bincount(task.confirmation.targets).tolist() == [100] * 10


def test_starter() -> None:
    pytest.importorskip("autopeft.tasks.starter", reason="the starter data are not there")
    task = resolve_task("starter")
    assert task.settings.source is SourceKind.STARTER
    assert task.settings.modality == "image"
    assert task.num_labels == 10
    assert task.test is not None
    assert_same(load_task(task.settings), task)
    with pytest.raises(InputError, match="their own"):
        resolve_task("starter", test="other.csv")


class TestHub:
    """No network: what the library would give is put in its place."""

    @pytest.fixture
    def mrpc(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
        def split(n: int, labelled: bool = True) -> Dataset:
            features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
            labels = [i % 2 if labelled else -1 for i in range(n)]
            return Dataset.from_dict(
                {"text": [f"t{i}" for i in range(n)], "label": labels}, features=features
            )

        asked: list[tuple[str, str | None]] = []
        found = DatasetDict(
            {"train": split(9), "validation": split(4), "test": split(5, labelled=False), "extra": split(6)}
        )

        def load(name: str, configuration: str | None) -> DatasetDict:
            asked.append((name, configuration))
            return found

        monkeypatch.setattr("datasets.load_dataset", load)
        return asked

    def test_splits_classes_and_configuration(self, mrpc: list[tuple[str, str | None]]) -> None:
        task = resolve_task("nyu-mll/glue:mrpc")
        assert set(mrpc) == {("nyu-mll/glue", "mrpc")}
        assert (len(task.train), len(task.validation), task.test) == (9, 4, None)
        assert task.settings.labels == ("no", "yes")
        assert task.settings.validation == "validation"
        assert_same(load_task(task.settings), task)

    def test_named_splits(self, mrpc: list[tuple[str, str | None]]) -> None:
        task = resolve_task("somebody/data", validation="extra", test="validation")
        assert task.test is not None
        assert (len(task.validation), len(task.test)) == (6, 4)
        with pytest.raises(DataError, match="no split 'nope': it has train, validation, test, extra"):
            resolve_task("somebody/data", validation="nope")
        with pytest.raises(DataError, match="same data"):
            resolve_task("somebody/data", validation="train")

    def test_no_network(self) -> None:
        with pytest.raises(DataError, match=r"no file or folder here.*cannot be loaded .*need no network"):
            hub.load_hub("somebody/data")


def bad(tmp_path: Path, name: str, content: str | bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "holds no rows"),
        ("a.csv", "text,text\na,b\n", "'text' twice"),
        ("a.csv", "text,label\na,1\nb,0,9\n", "row 2 of 'a.csv' has 3 fields.*2 columns"),
        ("a.csv", 'text,label\n"a,1\n', "not a csv file"),
        ("a.csv", b"text,label\n\xff\xfe,1\n", "not UTF-8"),
        ("a.doc", "text\n", "'.doc' is none of .csv, .tsv, .json, .jsonl, .parquet"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text"', "line 2 of 'a.jsonl' is not json"),
        ("a.json", "[1, 2", "not json"),
        ("a.json", "[" * 100_000, "not json"),
        ("a.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", "line 1 of 'a.jsonl' is not json"),
        (
            "a.jsonl",
            '{"text": "\\ud83d\\ude00", "label": 1}\n{"text": "\\ud83d", "label": 2}',
            "row 2 .* half",
        ),
        ("a.jsonl", '{"text": "a", "label": 1e999}\n{"text": "b", "label": 1}', "row 1 .* no label"),
        ("a.json", "[1, 2]", "row 1 of 'a.json' is not an object"),
        ("a.parquet", "hello", "not a parquet file"),
        ("a.csv", "gj04,1,Our friends\ngj04,0,won't buy\n", "'gj04', '1', 'Our friends'.*--label-column"),
        ("a.csv", "text,class,score\na,1,2\nb,0,1\n", r"several.*\(class, score\).*--label-column"),
        ("a.csv", "body,label\na,1\nb,0\n", "'body', 'label'.*none.*--text-column.*--text-pair.*--image"),
        ("a.csv", "text,content,label\na,b,1\nc,d,0\n", "several may be the input"),
        ("a.csv", "text,label\na,1\n ,0\n", "row 2 of 'a.csv' has no text in column 'text'"),
        ("a.csv", "text,label\na,1\nb,\n", "row 2 of 'a.csv' has no label in column 'label'"),
        ("a.jsonl", '{"text": "a", "label": NaN}\n{"text": "b", "label": 1}', "row 1 .* no label"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": null, "label": 0}', "row 2 .* no text"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b", "label": 0}', "row 1 .* no label"),
        ("a.jsonl", '{"text": 3, "label": 1}\n{"text": "b", "label": 0}', "row 1 .* type int"),
        ("a.jsonl", '{"text": "a", "label": [1]}\n{"text": "b", "label": [0]}', "row 1 .* a list"),
        ("a.csv", "text,label\na,1\nb,1\nc,1\nd,1\n", "every row of 'a.csv' has the label '1'"),
        ("a.csv", "text,label\na,1\nb,0\nc,1\n", "3 rows are too few"),
        ("a.csv", "text,label\na,1\n", "every row of .a.csv. has the label .1."),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        resolve_task(bad(tmp_path, name, content))


def test_missing_files_name_a_near_one(tmp_path: Path) -> None:
    write(tmp_path / "reviews.csv", ROWS)
    with pytest.raises(DataError, match=r"Did you mean 'reviews.csv'"):
        resolve_task(str(tmp_path / "reveiws.csv"))
    with pytest.raises(DataError, match="no file or folder"):
        resolve_task(str(tmp_path / "reviews.csv"), validation=str(tmp_path / "nope.csv"))
    task = resolve_task(str(tmp_path / "reviews.csv"))
    (tmp_path / "reviews.csv").unlink()
    with pytest.raises(DataError, match="no file or folder"):
        load_task(task.settings)


@pytest.mark.parametrize("data", ["stater", "somebody/data", "somebody/data:part"])
def test_what_is_neither_here_nor_reachable(data: str) -> None:
    with pytest.raises(
        DataError, match="no file or folder here, and as a data set of the Hugging Face hub"
    ) as error:
        resolve_task(data)
    assert ("'starter'" in error.value.hint) == (data == "stater")


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(DataError, match="File name too long"):
        resolve_task("x" * 5000)


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is empty"):
        resolve_task(str(tmp_path))
    write(tmp_path / "reviews.csv", ROWS)
    with pytest.raises(DataError, match=r"it holds reviews.csv. To use one of its files"):
        resolve_task(str(tmp_path))
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "train.tsv", ROWS)
    with pytest.raises(DataError, match=r"several training files \(train.csv, train.tsv\)"):
        resolve_task(str(tmp_path))
    write(tmp_path / "dev.csv", ROWS)
    write(tmp_path / "val.csv", ROWS)
    with pytest.raises(DataError, match=r"lie dev.csv, val.csv: name one of them by --validation"):
        resolve_task(str(tmp_path / "train.csv"))


def test_images_side_by_side(tmp_path: Path) -> None:
    shutil.copytree(write_images(tmp_path / "a", 3) / "cat", tmp_path / "b")
    with pytest.raises(DataError, match="side by side"):
        resolve_task(str(tmp_path / "b"))


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (write_images(tmp_path / "a", 5) / "cat" / "2.png").write_text("hello")
    with pytest.raises(DataError, match=r"2\.png' as an image"):
        resolve_task(str(tmp_path / "a"))


def test_unseen_labels_are_named(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "dev.csv", [*ROWS[:3], {"text": "a", "label": "maybe"}])
    with pytest.raises(DataError, match=r"row 4 of 'dev.csv' has the label 'maybe'"):
        resolve_task(str(tmp_path))


def test_declared_but_unseen_labels_are_named(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b", "c"])})
    for name, labels in (("train", [0, 1, 0, 1]), ("dev", [0, 2])):
        rows = {"text": ["x"] * len(labels), "label": labels}
        write_parquet(tmp_path / f"{name}.parquet", Dataset.from_dict(rows, features=features))
    with pytest.raises(DataError, match=r"'dev.parquet' has the label 'c'"):
        resolve_task(str(tmp_path))


def test_validation_lacks_a_column_or_rows(tmp_path: Path) -> None:
    train = str(write(tmp_path / "a.csv", ROWS))
    with pytest.raises(DataError, match=r"'b.csv' has no column 'text'"):
        resolve_task(train, validation=str(write(tmp_path / "b.csv", [{"x": 1, "label": "yes"}] * 3)))
    with pytest.raises(DataError, match=r"'c.csv' has 1 row"):
        resolve_task(train, validation=str(write(tmp_path / "c.csv", ROWS[:1])))
    with pytest.raises(DataError, match=r"'d.csv' has no label column 'label'"):
        resolve_task(train, test=str(write(tmp_path / "d.csv", [{"text": "a"}] * 3)))
    with pytest.raises(DataError, match="same data"):
        resolve_task(train, validation=train)
    with pytest.raises(DataError, match="must be a file"):
        resolve_task(train, validation=str(tmp_path))


def test_a_regression_needs_numbers(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.csv", ROWS))
    with pytest.raises(DataError, match=r"row 1 .*'no'.* finite numbers"):
        resolve_task(path, problem="regression")
    constant = str(write(tmp_path / "b.csv", [{"text": "a", "label": 1.5}] * 9))
    with pytest.raises(DataError, match="nothing to learn"):
        resolve_task(constant, problem="regression")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"label": "labl"},
            DataError,
            "no column 'labl'.*--label-column.*'text', 'label'.*Did you mean 'label'",
        ),
        ({"text": "nope"}, DataError, "--text-column"),
        ({"image": "text"}, DataError, "holds no images"),
        ({"text": "text", "image": "text"}, DataError, "twice"),
        ({"text_pair": "text"}, DataError, "name the first by --text-column"),
        ({"text": "label", "label": "label"}, DataError, "twice"),
        ({"metric": "accurracy"}, UnknownNameError, "Did you mean 'accuracy'"),
        ({"metric": "pearson"}, InputError, "accuracy, f1, matthews"),
        ({"problem": "ranking"}, UnknownNameError, "classification, regression"),
        ({"validation_fraction": 1.0}, InputError, "between 0 and 1"),
        ({"split_seed": -1}, InputError, "split seed"),
        ({"max_length": 1}, InputError, "max"),
    ],
)
def test_bad_options(
    tmp_path: Path, options: dict[str, Any], error: type[AutopeftError], message: str
) -> None:
    path = str(write(tmp_path / "a.csv", ROWS))
    with pytest.raises(error, match=message):
        resolve_task(path, **options)


def test_changed_data_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ROWS)
    settings = resolve_task(str(path)).settings
    write(path, [*ROWS, ROWS[0]])
    with pytest.raises(DataError, match="have changed since the study began"):
        load_task(settings)
    write(path, ROWS)
    assert load_task(settings).settings == settings


def test_the_file_that_has_changed_is_named(tmp_path: Path) -> None:
    train, dev = write(tmp_path / "train.csv", ROWS), write(tmp_path / "dev.csv", ROWS)
    settings = TaskSettings.from_json(json.loads(json.dumps(resolve_task(str(train)).settings.to_json())))
    assert set(settings.files) == {str(train), str(dev)}
    write(dev, [*ROWS, ROWS[0]])
    with pytest.raises(DataError, match=f"the data of '{dev}' have changed"):
        load_task(settings)
    before = replace(settings, files={})  # of a study from before files had fingerprints
    with pytest.raises(DataError, match=f"the data of '{train}' have changed"):
        load_task(before)


def test_settings_name_their_split(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.csv", ROWS))
    one, other = resolve_task(path), resolve_task(path, split_seed=1)
    assert one.validation.inputs != other.validation.inputs
    assert_same(load_task(replace(one.settings, split_seed=1)), other)
