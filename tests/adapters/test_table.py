"""The table of module types: every cell is what a run finds."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from autopeft.dsl.module_table import markdown, recorded
from autopeft.dsl.types import MODULE_TYPES

from .table import CASES, DOCS, VARIANTS, Variant, examine

torch.set_num_threads(1)
ROWS = {(row["type"], row["size"], str(row["options"])): row for row in recorded()}
CHECKS = (
    "identity",
    "trains",
    "comes off",
    "loads",
    "loads with peft",
    "count exact",
    "bytes exact",
    "packs",
)
ALONE = {"adalora", "prompt_tuning", "prefix_tuning"}  # and what changes the backbone's weights


@pytest.mark.parametrize(("variant", "family"), CASES, ids=lambda x: x if isinstance(x, str) else x.name)
def test_a_type_does_what_the_table_says(variant: Variant, family: str, tmp_path: Path) -> None:
    row = ROWS[variant.type, variant.size, str(variant.options)]
    found = examine(variant, family, tmp_path)
    assert {check: found[check] for check in CHECKS if check in found} == {
        check: row[check] for check in CHECKS if check in row
    }
    if family == variant.families[0]:
        assert found["parameters"] == row["parameters"]
    assert found["smaller"] == (variant.type == "adalora")  # its pruned ranks are not saved


def test_the_record_has_every_form_and_no_other() -> None:
    assert list(ROWS) == [(v.type, v.size, str(v.options)) for v in VARIANTS]
    assert [row["families"] for row in ROWS.values()] == [list(v.families) for v in VARIANTS]


def test_all_types_do_all_that_they_promise() -> None:
    for row in ROWS.values():
        known = MODULE_TYPES[row["type"]]
        changes = any(row["options"].get(name) in values for name, values in known.changes_base.items())
        promised = {check: True for check in CHECKS if check in row and check != "identity"}
        promised["packs"] = row["type"] not in ALONE and not changes
        assert {check: row[check] for check in promised} == promised, row
        assert len(row["families"]) >= 2, row
        if not {"init"} & set(row["options"]):
            assert row["identity"] == known.identity, row


def test_every_type_and_every_value_of_a_field_is_there() -> None:
    """Words and booleans one by one; numbers are arithmetic. LoftQ needs a package and a GPU; wavelets are alike."""
    for known in MODULE_TYPES.values():
        if known.name == "frozen":
            continue
        rows = [row for row in ROWS.values() if row["type"] == known.name]
        assert rows, known.name
        for name, field in known.fields.items():
            wanted: tuple[Any, ...] = field.words if field.kind == "word" else (True, False)
            if name == "wavelet_family" or field.kind not in ("word", "boolean"):
                continue
            there = {row["options"].get(name, field.default) for row in rows}
            assert there >= set(wanted) - {"loftq"}, (known.name, name)


def test_the_reference_is_made_from_the_record() -> None:
    assert DOCS.read_text(encoding="utf-8") == markdown(recorded())
    assert inspect.getdoc(markdown)
