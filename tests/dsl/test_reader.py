"""What a space's text means. What is refused, with every message, is in `broken/` and `test_broken.py`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.dsl import (
    Choice,
    Condition,
    Constraint,
    Float,
    Integer,
    Members,
    ModuleSpec,
    OneOf,
    Per,
    Space,
    Subset,
    SubSpace,
    Tied,
    Value,
    build_space,
    read_space,
)
from autopeft.errors import SpaceError

GOOD = """\
name: demo
source: my own
layers: {subset: all, min: 2, max: 4, contiguous: true}
modules:
  serial: {type: bottleneck, position: serial, size: {choice: [0, 1, hidden / 2], priors: [1, 2, 1]}}
  adapter:
    one_of:
      - type: lora
        sites: {subset: [q, v]}
        rank: {per: [site, layer], of: {integer: [1, 8], log: true}}
        alpha: {tied: rank, times: 4}
        init: {choice: [default, pissa]}
        dora: {choice: [false, true], when: {init: [default]}}
      - {type: ia3, sites: all, layers: [0, 2], when: {serial.size: '>= 1'}}
      - modules:
          prefix: {type: prefix, size: {integer: [0, 12], step: 3}}
          entries: {type: sparse, sites: [up], density: {float: [0.01, 0.1], step: 0.01}, mask: random}
        when: {serial.size: [1, 384]}
      - one_of: [{type: frozen}, {type: bias, sites: all}]
        priors: [1, 3]
    priors: [4, 2, 1, 1]
training:
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
  batch_size: {choice: [16, 32], when: {adapter.type: lora}}
constraints: [trainable <= 0.5%, adapter_bytes <= 2 MB, sites >= 2]
"""


def test_every_form_of_the_language() -> None:
    prefix = ModuleSpec("prefix", size=Integer(0, 12, step=3))
    entries = ModuleSpec("sparse", sites=["up"], density=Float(0.01, 0.1, step=0.01), mask="random")
    written = Space(
        name="demo",
        source="my own",
        layers=Subset(None, 2, 4, contiguous=True),
        modules={
            "serial": ModuleSpec(
                "bottleneck", position="serial", size=Choice((0, 1, "hidden / 2"), priors=(1, 2, 1))
            ),
            "adapter": OneOf(
                (
                    ModuleSpec(
                        "lora",
                        sites=Subset(["q", "v"]),
                        rank=Per(("layer", "site"), Integer(1, 8, log=True)),
                        alpha=Tied("rank", 4.0),
                        init=Choice(("default", "pissa")),
                        dora=Choice((False, True), when=(Condition("init", "in", ("default",)),)),
                    ),
                    ModuleSpec(
                        "ia3",
                        sites=Members(),
                        layers=[0, 2],
                        when=(Condition("serial.size", ">=", (1,)),),
                    ),
                    SubSpace(
                        {"prefix": prefix, "entries": entries}, (Condition("serial.size", "in", (1, 384)),)
                    ),
                    OneOf((ModuleSpec("frozen"), ModuleSpec("bias", sites="all")), (1, 3)),
                ),
                priors=(4, 2, 1, 1),
            ),
        },
        training={
            "learning_rate": Float(1e-4, 1e-2, log=True),
            "batch_size": Choice((16, 32), when=(Condition("adapter.type", "in", ("lora",)),)),
        },
        constraints=(
            Constraint("trainable", "<=", "0.5%"),
            Constraint("adapter_bytes", "<=", "2 MB"),
            Constraint("sites", ">=", "2"),
        ),
    )
    assert read_space(GOOD, "s.yaml") == written
    assert read_space(GOOD, "s.yaml").text == GOOD


def test_plain_values_are_decisions_already_made() -> None:
    text = (
        "name: plain\nlayers: [0, 2]\nmodules: {a: {type: lora, sites: [q], rank: 4, alpha: 8, dora: true}}\n"
        "training: {learning_rate: 0.001}"
    )
    space = read_space(text, "s.yaml")
    assert space.layers == Members((0, 2))
    assert space.modules["a"] == ModuleSpec(
        "lora", sites=["q"], rank=Value(4), alpha=Value(8), dora=Value(True)
    )
    assert space.training == {"learning_rate": Value(0.001)}


def a_space(rate: str) -> Space:
    return read_space(
        f"name: s\nmodules: {{a: {{type: ia3, sites: [q]}}}}\ntraining: {{learning_rate: {rate}}}\n", "s.yaml"
    )


@pytest.mark.parametrize("number", ["1e-3", "1.0e-3", "0.001", ".001", "1.E-3"])
def test_numbers_as_people_write_them(number: str) -> None:
    """YAML 1.1 takes 1e-3 for text."""
    assert a_space(number).training["learning_rate"] == Value(0.001)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#" * 100_001, "s.yaml: 100,001 characters; a search space has at most 100,000."),
        (
            "name: de\x00mo",
            "s.yaml: this is not YAML: unacceptable character #x0000: special characters are not allowed.",
        ),
        (
            GOOD.replace("hidden / 2", "9" * 5000),
            "s.yaml:5:70: found '999999999999999999999999999999999999999999999999999999999999...', expected a whole "
            "number from 0, or an expression (+ - * / //) over hidden, heads, intermediate, layers "
            "(at modules.serial.size.choice[2]).",
        ),
        (
            GOOD.replace("hidden / 2", "9" * 20),
            "s.yaml:5:70: found '99999999999999999999', expected a whole number from 0, or an expression "
            "(+ - * / //) over hidden, heads, intermediate, layers (at modules.serial.size.choice[2]).",
        ),
        (
            "name: s\nmodules:\n"
            + "".join(f"  m{i}: {{type: ia3, sites: [q]}}\n" for i in range(101))
            + "training: {learning_rate: 1}\n",
            "s.yaml:3:3: more than 100 modules (at modules).",
        ),
    ],
    ids=["long", "null", "digits", "digits that fit", "modules"],
)
def test_hostile_texts(text: str, message: str) -> None:
    with pytest.raises(SpaceError) as raised:
        read_space(text, "s.yaml")
    assert str(raised.value) == message


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 12),
    st.text(st.sampled_from("{}[]:,-&*!|>'\"%@`#? \n\t0a.e~"), max_size=6),
)
def test_any_damage_is_read_or_refused(start: int, length: int, text: str) -> None:
    message = "s.yaml: it was read"
    try:
        read_space(GOOD[:start] + text + GOOD[start + length :], "s.yaml")
    except SpaceError as error:
        message = str(error)
    assert message.startswith("s.yaml:")
    assert "\n" not in message


def test_a_space_of_python_is_checked_as_a_file_is() -> None:
    rate = {"learning_rate": Float(1e-4, 1e-2, log=True)}
    built = build_space(
        "mine", {"a": ModuleSpec("lora", sites=["q"], rank=2)}, rate, constraints=["sites >= 1"]
    )
    assert built.constraints == (Constraint("sites", ">=", "1"),)
    assert built == read_space(built.text, "mine.yaml")
    with pytest.raises(SpaceError, match=r"^<mine>:\d+:\d+: unknown site 'qq'"):
        build_space("mine", {"a": ModuleSpec("lora", sites=["qq"], rank=2)}, rate)
    with pytest.raises(SpaceError, match=r"^<mine>: found 'sites > 1', expected a constraint such as"):
        build_space("mine", {"a": ModuleSpec("lora", sites=["q"], rank=2)}, rate, constraints=["sites > 1"])


@pytest.mark.parametrize("damage", ["h\n\nidden", "'two\n\n  lines'"])
def test_an_error_is_one_line_whatever_it_shows(damage: str) -> None:
    with pytest.raises(SpaceError) as raised:
        read_space(GOOD.replace("hidden", damage, 1), "s.yaml")
    assert "\n" not in str(raised.value)
