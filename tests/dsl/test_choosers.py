"""Layers and sites that an assignment takes, and values that come from decisions."""

import pytest

from autopeft.dsl.choosers import Chooser, Slot
from autopeft.dsl.decisions import Needs

ALL = Chooser((0, 1, 2))
SWITCHES = Chooser((0, 1, 2), first=0, minimum=2, maximum=3)
WINDOW = Chooser((0, 1, 2, 3), first=0, minimum=2, maximum=3, window=True)


def test_what_is_taken() -> None:
    assert ALL.chosen([]) == (0, 1, 2)
    assert SWITCHES.chosen([True, False, True]) == (0, 2)
    assert WINDOW.chosen([1, 2]) == (1, 2)
    assert WINDOW.chosen([3, 3]) == (1, 2, 3)  # moved in


@pytest.mark.parametrize(
    ("chooser", "members", "taken"),
    [
        (SWITCHES, (0, 2), (0, 2)),
        (SWITCHES, (2,), (0, 2)),  # as few others as must be
        (WINDOW, (1, 3), (1, 2, 3)),  # what lies between comes with it
        (WINDOW, (3,), (2, 3)),
    ],
)
def test_what_is_written_is_taken(chooser: Chooser, members: tuple[int, ...], taken: tuple[int, ...]) -> None:
    values: list[object] = [None] * chooser.width
    chooser.write(members, values)
    assert chooser.chosen(values) == taken


def test_the_fewest_hold_every_member() -> None:
    for chooser in (ALL, SWITCHES, WINDOW):
        assert {m for members in chooser.fewest for m in members} == set(chooser.of)
    assert all(len(members) == 2 for members in (*SWITCHES.fewest, *WINDOW.fewest))


def test_counts() -> None:
    assert [SWITCHES.allows(n) for n in range(5)] == [False, False, True, True, False]
    assert ALL.allows(7)  # nothing is decided
    assert (ALL.width, SWITCHES.width, WINDOW.width) == (0, 3, 2)


def test_a_value_for_each_layer_or_site() -> None:
    by_layer = Slot(over=("layer",), indices={(0,): 0, (1,): 1})
    assert [by_layer.value([4, 8], layer, "q") for layer in (0, 1)] == [4, 8]
    by_both = Slot(over=("layer", "site"), indices={(0, "q"): 0, (0, "v"): 1})
    assert [by_both.value([4, 8], 0, site) for site in "qv"] == [4, 8]
    by_site = Slot(over=("site",), indices={("q",): 0, ("v",): 1}, times=0.3)
    assert [by_site.value([4, 10], 3, site) for site in "qv"] == [1.2, 3]


def test_a_condition_that_does_not_hold_gives_the_other_value() -> None:
    slot = Slot(indices={(): 0}, needs=(Needs(1, "in", ("pissa",)),), otherwise=False)
    assert slot.value([True, "pissa"]) is True
    assert slot.value([True, "default"]) is False
