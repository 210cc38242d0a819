"""What is written evaluates to the same value again."""

import ast
import dataclasses
import json
from typing import Any

import peft
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft.tuners.lora.config import CordaConfig

from autopeft.export.inline import Import, import_lines
from autopeft.export.literal import broken, docstring, literal

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def evaluated(value: Any, indent: int = 0) -> Any:
    imports: set[Import] = set()
    text = literal(value, imports, indent)
    names: dict[str, Any] = {}
    exec(f"{import_lines(imports)}\nfound = {text}", names)
    return names["found"]


@given(PLAIN, st.integers(0, 8))
def test_plain_data(value: Any, indent: int) -> None:
    assert evaluated(value, indent) == value


PATHS = [f"bert.encoder.layer.{i}.attention.self.{name}" for i in range(2) for name in ("query", "value")]


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(
            r=4,
            target_modules=PATHS,
            rank_pattern={PATHS[0]: 7},
            alpha_pattern={PATHS[0]: 2.5},
            modules_to_save=["classifier"],
            task_type="SEQ_CLS",
            use_dora=True,
            init_lora_weights="pissa",
        ),
        peft.LoraConfig(r=8, init_lora_weights="eva", eva_config=peft.EvaConfig(rho=1.0)),
        peft.LoraConfig(init_lora_weights="corda", corda_config=CordaConfig(corda_method="kpm")),
        peft.AdaLoraConfig(total_step=30, target_modules=PATHS, init_r=6, target_r=3),
        peft.IA3Config(target_modules=PATHS, feedforward_modules=[]),
        peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3),
        peft.MissConfig(init_weights="bat", target_modules=PATHS),
        peft.VBLoRAConfig(target_modules=PATHS, vector_length=8),
    ],
    ids=lambda config: type(config).__name__,
)
def test_a_configuration_of_peft(config: Any) -> None:
    again = evaluated(config)
    assert type(again) is type(config)
    assert json.dumps(again.to_dict(), default=sorted) == json.dumps(config.to_dict(), default=sorted)
    assert dataclasses.asdict(again) == dataclasses.asdict(config)


def test_only_what_is_not_a_default_is_written_but_rank_and_alpha_are() -> None:
    imports: set[Import] = set()
    assert literal(peft.LoraConfig(target_modules=["b", "a"]), imports) == (
        "LoraConfig(r=8, target_modules=['a', 'b'], lora_alpha=8)"
    )
    assert imports == {Import("peft", "LoraConfig")}


def test_what_is_long_is_a_line_for_each_part() -> None:
    assert broken("f(", ["model", "sep='-'"], ")", 4) == "f(model, sep='-')"
    long = literal(PATHS, set(), 4)
    assert long == "[\n" + "".join(f"        {path!r},\n" for path in PATHS) + "    ]"
    assert broken("f(", ["model", f"paths={literal(PATHS, set(), 8)}"], ")", 4) == (
        "f(\n        model,\n        paths=[\n"
        + "".join(f"            {path!r},\n" for path in PATHS)
        + "        ],\n    )"
    )


@pytest.mark.parametrize(
    "text", ['a"""; import os; """', "a\\", 'a"', "a\0b\x1b", "\n\\N{x} \ud800", '""""""']
)
def test_a_docstring_holds_what_is_in_it(text: str) -> None:
    (statement,) = ast.parse(docstring(text)).body
    assert isinstance(statement, ast.Expr)
    assert ast.literal_eval(statement.value).rstrip(" ") == text
