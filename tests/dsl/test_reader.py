"""Every error of the language, whole: place, what was found, what is allowed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.budget import Budget
from autopeft.dsl import read_space
from autopeft.errors import SpaceError

GOOD = """\
name: demo
layers: {subset: all}
modules:
  serial: {type: bottleneck, position: serial, size: {choice: [0, 1, hidden]}}
  adapter:
    type: lora
    sites: {subset: [q, v], min: 1}
    rank: {choice: [1, 2]}
    alpha: {tied: rank, times: 2}
training:
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
constraints: [trainable <= 0.5%]
"""
MODULES = GOOD[GOOD.index("modules:") : GOOD.index("training:")]
ADAPTER = GOOD[GOOD.index("  adapter:") : GOOD.index("training:")]

# (text of the good space, what a person wrote in its place, the whole error)
BROKEN = [
    (
        "    rank:",
        "    rnak:",
        "s.yaml:8:5: unknown field 'rnak': allowed are type, rank, sites, alpha (at modules.adapter.rnak). Did you mean 'rank'?",
    ),
    (
        "    type: lora",
        "    tpye: lora",
        "s.yaml:6:5: the field 'type' is missing: allowed are bottleneck, prefix, lora (at modules.adapter).",
    ),
    (
        "constraints:",
        "constraint:",
        "s.yaml:12:1: unknown field 'constraint': allowed are name, source, layers, modules, training, constraints (at constraint). Did you mean 'constraints'?",
    ),
    (
        "type: lora",
        "type: lroa",
        "s.yaml:6:11: unknown module type 'lroa': allowed are bottleneck, prefix, lora (at modules.adapter.type). Did you mean 'lora'?",
    ),
    (
        "    type: lora\n",
        "",
        "s.yaml:6:5: the field 'type' is missing: allowed are bottleneck, prefix, lora (at modules.adapter).",
    ),
    (
        "{subset: all}",
        "&x {subset: all}",
        "s.yaml:2:9: anchors and aliases are not part of the language; write the value again.",
    ),
    (
        "{float: [1.0e-4, 1.0e-2], log: true}",
        "*x",
        "s.yaml:11:18: anchors and aliases are not part of the language; write the value again.",
    ),
    ("{subset: all}", "[" * 21 + "]" * 21, "s.yaml:2:28: nested deeper than 20 levels."),
    ("training:", "name: again\ntraining:", "s.yaml:10:1: the field 'name' is there twice."),
    (
        "[1, 2]",
        "[]",
        "s.yaml:8:20: found an empty list, expected a list such as [1, 2, 4] (at modules.adapter.rank.choice).",
    ),
    (
        "min: 1",
        "min: 0",
        "s.yaml:7:34: found '0', expected a whole number from 1 to 2 (at modules.adapter.sites.min).",
    ),
    (
        "min: 1",
        "min: 3",
        "s.yaml:7:34: found '3', expected a whole number from 1 to 2 (at modules.adapter.sites.min).",
    ),
    (
        "min: 1",
        "min: one",
        "s.yaml:7:34: found 'one', expected a whole number from 1 to 2 (at modules.adapter.sites.min).",
    ),
    (
        "[q, v]",
        "[q, vv]",
        "s.yaml:7:25: unknown site 'vv': allowed are q, k, v, qkv, o, up, gate, down (at modules.adapter.sites.subset[1]). Did you mean 'v'?",
    ),
    ("[q, v]", "[q, q]", "s.yaml:7:25: 'q' is there twice (at modules.adapter.sites.subset[1])."),
    (
        "position: serial",
        "position: seriell",
        "s.yaml:4:40: unknown position 'seriell': allowed are serial, parallel (at modules.serial.position). Did you mean 'serial'?",
    ),
    ("position: serial, ", "", "s.yaml:4:11: the field 'position' is missing (at modules.serial)."),
    (
        "[0, 1, hidden]",
        "[0, -1, hidden]",
        "s.yaml:4:67: found '-1', expected a whole number from 0 (absent), one of hidden, heads, intermediate, layers, or {choice: [...]} of these (at modules.serial.size.choice[1]).",
    ),
    (
        "[0, 1, hidden]",
        "[0, 1.5, hidden]",
        "s.yaml:4:67: found '1.5', expected a whole number from 0 (absent), one of hidden, heads, intermediate, layers, or {choice: [...]} of these (at modules.serial.size.choice[1]).",
    ),
    (
        "[0, 1, hidden]",
        "[0, 1, hiden]",
        "s.yaml:4:70: found 'hiden', expected a whole number from 0 (absent), one of hidden, heads, intermediate, layers, or {choice: [...]} of these (at modules.serial.size.choice[2]). Did you mean 'hidden'?",
    ),
    (
        "[0, 1, hidden]",
        "[0, true, hidden]",
        "s.yaml:4:67: found 'true', expected a whole number from 0 (absent), one of hidden, heads, intermediate, layers, or {choice: [...]} of these (at modules.serial.size.choice[1]).",
    ),
    (
        "[0, 1, hidden]",
        "[0, " + "9" * 5000 + "]",
        "s.yaml:4:67: found '999999999999999999999999999999999999999999999999999999999999...', expected a whole number from 0 (absent), one of hidden, heads, intermediate, layers, or {choice: [...]} of these (at modules.serial.size.choice[1]).",
    ),
    (
        "[0, 1, hidden]",
        "[0, 1, 1]",
        "s.yaml:4:63: the same value is there twice (at modules.serial.size.choice).",
    ),
    (
        "tied: rank",
        "tied: size",
        "s.yaml:9:19: found 'size': alpha can be tied to 'rank' (at modules.adapter.alpha.tied).",
    ),
    (
        "{tied: rank, times: 2}",
        "0",
        "s.yaml:9:12: found '0', expected a number above 0 (at modules.adapter.alpha).",
    ),
    (
        "[1.0e-4, 1.0e-2]",
        "[1.0e-2, 1.0e-4]",
        "s.yaml:11:26: expected [lowest, highest] (at training.learning_rate.float).",
    ),
    (
        "[1.0e-4, 1.0e-2]",
        "[0, 1.0e-2]",
        "s.yaml:11:27: found '0', expected a number above 0 (at training.learning_rate.float[0]).",
    ),
    (
        "[1.0e-4, 1.0e-2]",
        "[1, 2, 3]",
        "s.yaml:11:26: expected [lowest, highest] (at training.learning_rate.float).",
    ),
    (
        "[1.0e-4, 1.0e-2]",
        "[low, 1.0e-2]",
        "s.yaml:11:27: found 'low', expected a number above 0 (at training.learning_rate.float[0]).",
    ),
    (
        "log: true",
        "log: 10",
        "s.yaml:11:49: found '10', expected true or false (at training.learning_rate.log).",
    ),
    (
        "trainable <= 0.5%",
        "seconds <= 5",
        "s.yaml:12:15: found 'seconds <= 5', expected a constraint such as 'trainable <= 0.5%' (at constraints[0]).",
    ),
    (
        "trainable <= 0.5%",
        "trainable <= 500%",
        "s.yaml:12:15: the budget '500%' is outside 0 % to 100 % of the backbone (at constraints[0]).",
    ),
    (
        "[trainable <= 0.5%]",
        "trainable <= 0.5%",
        "s.yaml:12:14: found 'trainable <= 0.5%', expected a list such as [trainable <= 0.5%] (at constraints).",
    ),
    (
        "name: demo",
        "name: Demo space",
        "s.yaml:1:7: found 'Demo space', expected a name of lower-case letters, digits, '-' and '_' (at name).",
    ),
    ("name: demo\n", "", "s.yaml:1:1: the field 'name' is missing."),
    (
        MODULES,
        "modules:\n",
        "s.yaml:3:1: found nothing, expected modules such as 'adapter: {type: lora, rank: 8}' (at modules).",
    ),
    (
        MODULES,
        "modules: [lora]\n",
        "s.yaml:3:10: found a list, expected modules such as 'adapter: {type: lora, rank: 8}' (at modules).",
    ),
    (
        "  adapter:",
        "  My Adapter:",
        "s.yaml:5:3: 'My Adapter' is no module name: use lower-case letters, digits, '-' and '_' (at modules.My Adapter).",
    ),
    (
        ADAPTER,
        "  adapter: lora\n",
        "s.yaml:5:12: found 'lora', expected a module with a type: bottleneck, prefix, lora (at modules.adapter).",
    ),
    (
        "training:",
        "  again: {type: lora, sites: [q], rank: 1}\ntraining:",
        "s.yaml:10:10: 'again' is of the same kind as 'adapter': one of each is allowed (at modules.again).",
    ),
    (
        "{subset: all}",
        "[first]",
        "s.yaml:2:10: found 'first', expected a layer's number from 0 (at layers[0]).",
    ),
    ("{subset: all}", "[1, 1]", "s.yaml:2:13: '1' is there twice (at layers[1])."),
    (
        "{subset: all}",
        "5",
        "s.yaml:2:9: found '5', expected a list such as [0, 1] or the word all (at layers).",
    ),
    (
        "{subset: all}",
        "{subset: all",
        "s.yaml:3:8: this is not YAML: while parsing a flow mapping: expected ',' or '}', but got ':'.",
    ),
    (
        "    rank:",
        "\trank:",
        "s.yaml:8:1: this is not YAML: while scanning for the next token: found character '\\t' that cannot start any token.",
    ),
    (
        "training:",
        "---\ntraining:",
        "s.yaml:10:1: this is not YAML: expected a single document in the stream: but found another document.",
    ),
    ("name: demo", "? [a, b]\n: demo", "s.yaml:1:3: a field's name must be plain text."),
    (
        GOOD,
        "- a\n- b\n",
        "s.yaml:1:1: found a list, expected a mapping with the keys name, source, layers, modules, training, constraints.",
    ),
    (GOOD, "# nothing\n", "s.yaml: the file is empty."),
    (GOOD, "#" * 100_001, "s.yaml: 100,001 characters; a search space has at most 100,000."),
    (
        "demo",
        "de\x00mo",
        "s.yaml: this is not YAML: unacceptable character #x0000: special characters are not allowed.",
    ),
    (
        "{float: [1.0e-4, 1.0e-2], log: true}",
        "",
        "s.yaml:11:3: found nothing, expected a number above 0 (at training.learning_rate).",
    ),
]


@pytest.mark.parametrize(("good", "broken", "message"), BROKEN)
def test_says_where_and_what_and_what_is_allowed(good: str, broken: str, message: str) -> None:
    assert good in GOOD
    with pytest.raises(SpaceError) as raised:
        read_space(GOOD.replace(good, broken, 1), "s.yaml")
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


def test_reads_every_field() -> None:
    space = read_space(GOOD, "s.yaml")
    serial, adapter = space.modules
    assert (space.name, space.text) == ("demo", GOOD)
    assert (space.layers.of, space.layers.fixed, space.layers.minimum) == (None, False, 1)
    assert (serial.type, serial.position, serial.sizes) == ("bottleneck", "serial", (0, 1, "hidden"))
    assert adapter.sites is not None
    assert (adapter.sites.of, adapter.sites.fixed, adapter.sites.minimum) == (("q", "v"), False, 1)
    assert (adapter.sizes, adapter.alpha, adapter.alpha_times_rank) == ((1, 2), None, 2.0)
    rate = space.learning_rate
    assert (rate.low, rate.high, rate.log) == (1e-4, 1e-2, True)
    assert space.budgets == (Budget(fraction=0.005),)


def test_plain_values_are_decisions_already_made() -> None:
    text = "name: plain\nlayers: [0, 2]\nmodules: {a: {type: lora, sites: [q], rank: 4, alpha: 8}}\ntraining: {learning_rate: 0.001}"
    space = read_space(text, "s.yaml")
    assert (space.layers.of, space.layers.fixed) == ((0, 2), True)
    assert (space.modules[0].sizes, space.modules[0].alpha) == ((4,), 8.0)
    assert (space.learning_rate.low, space.learning_rate.high) == (1e-3, 1e-3)


def test_alpha_is_twice_the_rank_unless_said_otherwise() -> None:
    space = read_space(GOOD.replace("    alpha: {tied: rank, times: 2}\n", ""), "s.yaml")
    assert (space.modules[1].alpha, space.modules[1].alpha_times_rank) == (None, 2.0)


@pytest.mark.parametrize("number", ["1e-3", "1.0e-3", "0.001", ".001", "1.E-3"])
def test_numbers_as_people_write_them(number: str) -> None:
    """YAML 1.1 takes 1e-3 for text."""
    space = read_space(GOOD.replace("{float: [1.0e-4, 1.0e-2], log: true}", number), "s.yaml")
    assert space.learning_rate.low == 1e-3


def test_quoted_numbers_are_text() -> None:
    with pytest.raises(SpaceError, match=r"s.yaml:11:18: found '0.001', expected a number above 0"):
        read_space(GOOD.replace("{float: [1.0e-4, 1.0e-2], log: true}", "'0.001'"), "s.yaml")
