"""The JSON Schema: what editors check says the same as the reader, as far as a schema can."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from autopeft.dsl import MODULE_TYPES, Space, write_space
from autopeft.dsl.document import Node, parse
from autopeft.dsl.reader import FIELDS
from autopeft.dsl.schema import DOMAINS, json_schema
from autopeft.dsl.schema import FIELDS as DESCRIBED
from autopeft.dsl.types import TRAINING
from autopeft.errors import SpaceError
from autopeft.registry import space_names, space_text

from .generated import plain_spaces, spaces
from .test_broken import FILES, said
from .test_reader import GOOD

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

# Faults between parts of a file, or in its bytes, which no schema sees.
BEYOND = {
    *("circle-of-decisions", "decision-never-there", "decision-of-truths-and-numbers", "decision-on-nothing"),
    *("allocator-condition", "allocator-of-what-is-not-there", "allocator-twice"),
    *("alias", "anchor", "key-twice", "two-documents", "nested-too-deep", "extends-itself"),
    *("circle-of-conditions", "circle-of-spaces-a", "circle-of-spaces-b", "circle-of-ties"),
    *("comparison-never-true", "comparison-of-a-word", "condition-never-true", "condition-on-a-size"),
    *("condition-on-another-alternative", "condition-on-many-places", "condition-on-nothing"),
    *("constraint-above-the-backbone", "constraint-in-unknown-units", "density-from-zero"),
    *("extends-nothing-known", "extends-the-missing", "extends-takes-away-nothing"),
    *("interval-upside-down", "log-with-step", "log-with-zero", "priors-all-zero", "priors-too-few"),
    *("subset-max-below-min", "subset-min-above-its-members"),
    *("tie-to-a-word", "tie-to-an-alternative", "tie-to-many-places"),
    *(
        "too-many-combinations",
        "two-at-the-same-sites",
        "two-prompts",
        "two-prompts-one-inside",
        "two-that-share-parameters",
        "two-that-hide-each-other",
        "two-of-one-weight",
    ),
}


def plain(node: Node) -> Any:
    """A document as an editor reads it."""
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def errors(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(plain(parse(text, "s.yaml")))]


def test_is_a_schema_and_the_shipped_one_is_up_to_date() -> None:
    """`autopeft space schema > search_spaces/schema.json` makes it so."""
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads((ROOT / "search_spaces" / "schema.json").read_text(encoding="utf-8")) == SCHEMA


def test_no_reference_leads_nowhere_and_no_definition_is_unused() -> None:
    named = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(SCHEMA)))
    assert named == set(SCHEMA["$defs"])


def test_all_of_the_grammar_is_in_it() -> None:
    assert tuple(DESCRIBED) == FIELDS
    assert tuple(SCHEMA["properties"]) == FIELDS
    assert set(SCHEMA["$defs"]["training"]["properties"]) == set(TRAINING)
    for name, known in MODULE_TYPES.items():
        fields = SCHEMA["$defs"][f"type.{name}"]["properties"]
        assert {known.size, *known.fields} - {""} <= set(fields)
        assert all("description" in field or "$ref" in field for field in fields.values())
    assert set(DOMAINS) == {"choice", "integer", "float", "tied", "per"}


@pytest.mark.parametrize("name", space_names())
def test_shipped_spaces_are_right_and_say_where_their_schema_is(name: str) -> None:
    assert errors(space_text(name)) == []
    assert space_text(name).startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda d: d.name)
def test_the_examples_of_the_documents_are_right(document: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
        assert errors(block) == []


def test_every_form_is_right() -> None:
    assert errors(GOOD) == []


@settings(max_examples=100, deadline=None)
@given(spaces())
def test_any_space_is_right(space: Space) -> None:
    assert errors(write_space(space)) == []


@settings(max_examples=100, deadline=None)
@given(plain_spaces())
def test_any_space_of_decisions_is_right(space: Space) -> None:
    assert errors(write_space(space)) == []


@pytest.mark.parametrize(
    "change",
    [
        "",
        "layers: null\nconstraints: null\n",
        "modules: {lora: {rank: 4}, more: {type: ia3, sites: [q]}, prefix: null}\n",
        "modules: {lora: {alpha: null}}\ntraining: {weight_decay: null}\n",
        "modules: {lora: {one_of: [{type: frozen}, {type: ia3, sites: all}]}}\n",
    ],
)
def test_a_changed_space_is_right(change: str) -> None:
    assert errors(f"name: mine\nextends: lora\n{change}") == []


@pytest.mark.parametrize("change", ["decisions: {depth: null, rate: {float: [0, 1]}}", "source: null"])
def test_changed_decisions_are_right(change: str) -> None:
    assert errors(f"name: mine\nextends: knobs.yaml\n{change}") == []


@pytest.mark.parametrize("file", [f for f in FILES if not said(f, "model")], ids=lambda f: f.stem)
def test_broken_files_are_wrong(file: Path) -> None:
    try:
        found = errors(file.read_bytes().decode())
    except (SpaceError, UnicodeDecodeError):
        return  # no YAML at all
    assert bool(found) == (file.stem not in BEYOND)


def test_most_broken_files_are_wrong() -> None:
    assert len(BEYOND) < len(FILES) / 2
    assert {file.stem for file in FILES} >= BEYOND
