"""Modules that cannot be together are refused when the space is read, with the reason."""

import pytest

from autopeft.dsl import read_space
from autopeft.errors import SpaceError


def read(first: str, second: str) -> None:
    text = f"name: s\nmodules:\n  a: {first}\n  b: {second}\ntraining: {{learning_rate: 0.001}}\n"
    read_space(text, "s.yaml")


HRA, SHIRA = "{type: hra, sites: [q], rank: 2}", "{type: shira, sites: [q], rank: 2}"


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (HRA, SHIRA, "both multiply with the weight itself"),
        (
            "{type: lora, sites: [q], rank: 1, init: {choice: [default, pissa]}}",
            "{type: oft, sites: {subset: [q, v]}, block_size: 2}",
            "lora with init pissa takes a part out of the weight, and oft does more with the weight than add to it",
        ),
        (
            "{type: prompt_tuning, tokens: 2}",
            "{type: prefix_tuning, tokens: 2}",
            "both put tokens before the input",
        ),
        (
            "{type: vblora, sites: [q], rank: 2, num_vectors: 4, vector_length: 4}",
            "{type: vblora, sites: [v], rank: 2, num_vectors: 4, vector_length: 4}",
            "are both vblora, whose places share parameters",
        ),
        ("{type: ia3, sites: [q]}", "{type: ia3, sites: all}", "is of the same kind as 'a'"),
    ],
)
def test_refused_with_the_reason(first: str, second: str, reason: str) -> None:
    with pytest.raises(SpaceError) as raised:
        read(first, second)
    assert str(raised.value).startswith("s.yaml:4:6: ")
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (HRA, SHIRA.replace("[q]", "[v]")),
        (HRA.replace("rank", "layers: [0], rank"), SHIRA.replace("rank", "layers: [1], rank")),
        (f"{{one_of: [{HRA}, {SHIRA}]}}", "{type: lora, sites: [q], rank: 1}"),
        ("{type: lora, sites: [q], rank: 1, init: pissa}", "{type: vera, sites: [q], rank: 2}"),
        ("{type: prompt_tuning, tokens: 2}", "{type: lora, sites: [q], rank: 1}"),
        (
            "{type: bottleneck, position: serial, size: 1}",
            "{type: bottleneck, position: parallel, size: 1}",
        ),
    ],
)
def test_what_can_be_together_is_read(first: str, second: str) -> None:
    read(first, second)
