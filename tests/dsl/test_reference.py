"""The language's reference is that of the grammar, and what it says is so."""

import random
import re

import pytest
from shapes import transformer

from autopeft.dsl import read_space
from autopeft.dsl.describe import describe

from .write_reference import PAGE, filled

TEXT = PAGE.read_text(encoding="utf-8")


def test_is_up_to_date() -> None:
    """`python -m tests.dsl.write_reference` makes it so."""
    assert filled(TEXT) == TEXT


def test_a_page_without_a_section_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places for the section 'types'"):
        filled(TEXT.replace("<!-- types -->", ""))


def test_its_example_is_a_space_with_all_of_its_alternatives() -> None:
    block, *_ = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    bound = read_space(block, "example").bind(transformer(64, 4, 256, parameters=1_000_000), 10**6)
    said = " ".join(describe(bound.configuration(a), 4) for a in bound.sample(random.Random(0), 100))
    for word in ("lora", "ia3", "prefix", "parallel", "pissa", "dora", "batch_size 16"):
        assert word in said


def test_its_example_of_allocators_is_read() -> None:
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if "type: spt" in b)
    space = read_space(block, "example")
    assert space.allocation is not None
    assert [one.type for one in space.allocation.options] == ["uniform", "spt", "ist", "diffora"]


def test_its_space_without_modules_is_one() -> None:
    *_, block = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    space = read_space(block, "example").plain()
    assert {"threads", "depth", "rate", "kind", "momentum"} == set().union(
        *(space.configuration(a) for a in space.sample(random.Random(0), 20))
    )
    assert "momentum" not in space.configuration(space.assignment({"depth": 1, "rate": 0.1, "kind": "b"}))


@pytest.mark.parametrize("form", re.findall(r"^\| `(\{[^`]*\})` \|", TEXT, re.MULTILINE))
def test_the_forms_in_its_tables_are_read(form: str) -> None:
    field = {"subset": "sites", "float": "alpha", "tied": "alpha"}.get(form[1:].partition(":")[0], "rank")
    fields = {"sites": "all", "rank": "1", "alpha": "2"} | {field: form}
    listed = ", ".join(f"{name}: {value}" for name, value in fields.items())
    assert read_space(
        f"name: s\nmodules: {{a: {{type: lora, {listed}}}}}\ntraining: {{learning_rate: 0.01}}\n", "s"
    )
